"""What is in memory is read in no time, but a busy machine may take its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.web import figures, paging, tallies
from app.web.routers import one_station
from tests.integration.support.patient import READINGS


@pytest.fixture(scope="session", autouse=True)
def patient_readings() -> Iterator[None]:
    """Give who reads a topic all the time that it needs."""
    with pytest.MonkeyPatch.context() as patch:
        searching = ((paging, "SEARCH_SECONDS"), (one_station, "SEARCH_SECONDS"), (tallies, "GIVE_UP"))
        for module, name in (*READINGS, *searching):
            patch.setattr(module, name, 600.0)
        # How long a figure is used again depends on how long it took: tests that change what it is made of see it anew.
        patch.setattr(figures, "SHARE_OF_TIME", 0.0)
        patch.setattr(figures, "ASK_AGAIN", 0.0)
        yield
