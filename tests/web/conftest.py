"""What is in memory is read in no time, but a busy machine may take its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.web import backwards, paging, tallies
from app.web.routers import courses, letters, one_station


@pytest.fixture(scope="session", autouse=True)
def patient_readings() -> Iterator[None]:
    """Give who reads a topic all the time that it needs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backwards, "SECONDS", 600.0)
        for name in ("ANSWER_SECONDS", "REPLAY_SECONDS"):
            patch.setattr(letters, name, 600.0)
        for module in (courses, one_station):
            patch.setattr(module, "WITHIN", 600.0)
        for searching in (paging, one_station):
            patch.setattr(searching, "SEARCH_SECONDS", 600.0)
        patch.setattr(tallies, "GIVE_UP", 600.0)
        yield
