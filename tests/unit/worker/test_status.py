"""What the web shows of a worker."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest

from app.application import create_app
from app.messages.message import InMessage
from app.observability.counters import Metrics, Statistics
from app.observability.prometheus import GAUGES
from app.settings import Settings
from app.settings.enums import TimeoutMode
from app.worker.status import WorkerStatus
from tables.model.events import Open, Source


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


# -- clocks, as `open` events tell of them -----------------------------------------------------------------------------

SENDER = "http://127.0.0.1:7001"
OWNERS = {Source("T", 0, 7): SENDER, Source("T", 1, 7): "http://127.0.0.1:7000"}


def status_at(assigned_at: float, appended_after: float | None) -> WorkerStatus:
    """A worker with an assignment since then, that has seen then that the message did not stand in its log."""
    worker: Any = SimpleNamespace(
        settings=Settings(),
        statistics=Statistics(Metrics(), time.time),
        url="http://127.0.0.1:7000",
        live=lambda: True,
        ready=lambda: True,
        reader=SimpleNamespace(appended_after=lambda _tp, _offset: appended_after),
        assignor=SimpleNamespace(
            assigned_at=assigned_at,
            owner_of=lambda topic, partition: OWNERS.get(Source(topic, partition, 7)),
        ),
    )
    return WorkerStatus(worker)


def take_open(status: WorkerStatus, source: Source, ahead: float = 30.0) -> Collection[str]:
    at = time.time() + ahead
    message = InMessage(status.settings.batch_events_topic, 0, 3, at, None, b"")
    status.opened(Open("b", source, at, at + 5.0, ("A",)), message)
    return status.peers.clocks_apart


def test_an_open_event_from_the_future_tells_of_the_clock_of_who_splits_its_source() -> None:
    now = time.time()
    assert take_open(status_at(now - 60, now - 1), Source("T", 0, 7)) == [SENDER]
    assert take_open(status_at(now - 60, now - 1), Source("T", 0, 7), ahead=0.0) == []


@pytest.mark.parametrize(("assigned", "seen"), [(60.0, None), (1.0, 2.0)])
def test_an_open_event_that_may_be_of_an_earlier_owner_tells_nothing(assigned: float, seen: float | None) -> None:
    now = time.time()
    status = status_at(now - assigned, None if seen is None else now - seen)
    assert take_open(status, Source("T", 0, 7)) == []


@pytest.mark.parametrize("source", [Source("T", 1, 7), Source("T", 9, 7)])
def test_our_own_open_events_and_those_of_nobody_accuse_nobody(source: Source) -> None:
    now = time.time()
    assert take_open(status_at(now - 60, now - 1), source) == []
