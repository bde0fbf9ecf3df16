"""What the web shows of a worker."""

from __future__ import annotations

import re

import pytest

from app.application import create_app
from app.observability.prometheus import GAUGES
from app.settings import Settings
from app.settings.enums import TimeoutMode
from app.worker.status import WorkerStatus


@pytest.fixture(autouse=True)
def _keep_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.application.event_loop.use", lambda _: None)


def test_the_timeout_of_an_adaptive_worker_is_what_a_batch_would_get() -> None:
    settings = Settings(batch_timeout=20.0, timeout_mode=TimeoutMode.ADAPTIVE, timeout_max=10.0)
    assert WorkerStatus(create_app(settings)).batch_timeout() == 10.0


def test_the_timeout_of_any_other_worker_is_the_setting() -> None:
    assert WorkerStatus(create_app(Settings(batch_timeout=20.0))).batch_timeout() == 20.0


def test_every_gauge_is_exposed_even_before_the_start() -> None:
    status = create_app(Settings(max_batch_age=60.0, max_open_batches=7)).status
    text = status.exposition(None)[0].decode()
    shown = dict(re.findall(r"^batch_aggregator_(\w+) (\S+)$", text, re.MULTILINE))
    before = {"live": "1.0", "max_batch_age_seconds": "60.0", "max_open_batches": "7.0"}
    assert {name: shown[name] for name in GAUGES} == dict.fromkeys(GAUGES, "0.0") | before


@pytest.mark.parametrize(("host", "url"), [("::1", "http://[::1]:7000"), ("localhost", "http://localhost:7000")])
def test_the_banner_names_the_pages_whatever_the_address(host: str, url: str) -> None:
    assert str(create_app(Settings(web_host=host, web_port=7000)).web_server_url) == url
