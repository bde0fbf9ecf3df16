"""The watchdog ends a worker that stands still, and leaves one alone that is only slow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from faust.types import TP

from app.offsets import OffsetLedger
from app.settings import Settings
from app.watchdog import Watchdog, patience_of

SETTINGS = Settings(station_timeout=3, broker_patience=5)
PATIENCE = patience_of(station_timeout=3, broker_patience=5)
STATIONS = TP(SETTINGS.station_events_topic, 0)
LOG = TP(SETTINGS.batch_events_topic, 0)


@dataclass
class FakeReader:
    """A consumer that has more to read."""

    ledger: OffsetLedger[TP] = field(default_factory=OffsetLedger)
    behind: bool = True

    def is_behind(self, _: TP) -> bool:
        return self.behind


@dataclass
class FakeApp:
    """What the watchdog looks at."""

    reader: FakeReader = field(default_factory=FakeReader)
    settings: Settings = SETTINGS
    settled: int = 0


def watched() -> tuple[FakeApp, Watchdog]:
    app = FakeApp()
    for tp in (STATIONS, LOG):
        app.reader.ledger.rebase(tp, 7)
    dog = Watchdog(cast(Any, app))
    assert dog.stuck(0.0) == []
    return app, dog


def test_a_partition_with_more_to_read_that_does_not_move_is_stuck_after_the_patience() -> None:
    _, dog = watched()
    assert dog.stuck(PATIENCE) == []
    assert dog.stuck(PATIENCE + 0.1) == [STATIONS, LOG]


def test_a_frame_of_slow_stations_moves_with_each_outcome() -> None:
    app, dog = watched()
    app.settled += 1
    assert dog.stuck(PATIENCE) == []
    assert dog.stuck(PATIENCE + 0.1) == [LOG]


def test_a_partition_that_has_been_read_to_its_end_may_rest() -> None:
    app, dog = watched()
    app.reader.behind = False
    assert dog.stuck(10 * PATIENCE) == []


def test_a_partition_that_is_done_further_is_not_stuck() -> None:
    app, dog = watched()
    for tp in (STATIONS, LOG):
        app.reader.ledger.done(tp, 7)
    assert dog.stuck(PATIENCE + 0.1) == []
