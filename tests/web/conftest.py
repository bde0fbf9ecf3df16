"""Topics in memory are read in no time, but a busy machine may take its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.web import backwards
from app.web.routers import letters


@pytest.fixture(scope="session", autouse=True)
def patient_readings() -> Iterator[None]:
    """Give who reads a topic all the time that it needs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backwards, "SECONDS", 600.0)
        for name in ("ANSWER_SECONDS", "REPLAY_SECONDS"):
            patch.setattr(letters, name, 600.0)
        yield
