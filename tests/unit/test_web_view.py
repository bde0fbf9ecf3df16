"""What the web shows of a worker."""

from __future__ import annotations

import pytest

from app.application import create_app
from app.choices import TimeoutMode
from app.settings import Settings
from app.web_view import WebView


@pytest.fixture(autouse=True)
def _keep_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.application.event_loop.use", lambda _: None)


def test_the_timeout_of_an_adaptive_worker_is_what_a_batch_would_get() -> None:
    settings = Settings(batch_timeout=20.0, timeout_mode=TimeoutMode.ADAPTIVE, timeout_max=10.0)
    assert WebView(create_app(settings)).batch_timeout == 10.0


def test_the_timeout_of_any_other_worker_is_the_setting() -> None:
    assert WebView(create_app(Settings(batch_timeout=20.0))).batch_timeout == 20.0
