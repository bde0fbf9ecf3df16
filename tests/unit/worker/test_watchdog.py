"""The watchdog ends a worker that stands still, and leaves one alone that is only slow."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from faust.types import TP

from app.kafka.offset_ledger import OffsetLedger
from app.settings import Settings
from app.worker.watchdog import LOST_AFTER, TROUBLED_AFTER, Watchdog, patience_of

SETTINGS = Settings(station_timeout=3, broker_patience=5)
PATIENCE = patience_of(SETTINGS)
STATIONS = TP(SETTINGS.station_events_topic, 0)
LOG = TP(SETTINGS.batch_events_topic, 0)


@dataclass
class FakeReader:
    """A consumer that has more to read."""

    ledger: OffsetLedger[TP] = field(default_factory=OffsetLedger)
    behind: bool = True
    age: float = 0.0

    def heartbeat_age(self) -> float:
        return self.age

    def is_behind(self, _: TP) -> bool:
        return self.behind


class FakePipeline:
    """A pipeline whose station agent has settled nothing, and which waits for no batch."""

    def __init__(self) -> None:
        self.frames: dict[tuple[int, int], int] = {(0, 7): 3}
        self.stations = SimpleNamespace(
            settled=0, stored_singles=0, unsettled=2, left=lambda *place: self.frames.get(place)
        )
        self.open_batches = SimpleNamespace(waiting=False)


@dataclass
class FakeApp:
    """What the watchdog looks at."""

    reader: FakeReader = field(default_factory=FakeReader)
    pipeline: FakePipeline = field(default_factory=FakePipeline)
    settings: Settings = SETTINGS
    session_timeout: float = 10.0
    failures: list[BaseException] = field(default_factory=list)

    def fail(self, error: BaseException) -> None:
        self.failures.append(error)


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
    app.pipeline.stations.settled += 1
    assert dog.stuck(PATIENCE) == []
    assert dog.stuck(PATIENCE + 0.1) == [LOG]


def test_a_frame_moves_with_its_own_outcomes_however_long_it_takes() -> None:
    app, dog = watched()
    for left in (2, 1):
        app.pipeline.frames[0, 7] = left
        assert dog.stuck(PATIENCE * (10 - left)) == [LOG]
    assert dog.stuck(PATIENCE * 10 + 0.1) == [STATIONS, LOG]


def test_a_frame_that_never_ends_is_seen_though_the_outcomes_of_others_come() -> None:
    app, dog = watched()
    stuck_at = None
    for second in range(int(3 * PATIENCE)):
        app.pipeline.stations.settled += 1
        app.pipeline.stations.stored_singles += 1
        if STATIONS in dog.stuck(float(second)):
            stuck_at = second
            break
    assert stuck_at is not None
    assert PATIENCE < stuck_at < PATIENCE + 5  # the outcomes of the two calls that were there before it count


def test_a_frame_that_waits_behind_others_is_not_stuck() -> None:
    app, dog = watched()
    app.pipeline.frames[0, 8] = 3
    app.pipeline.stations.unsettled = 1_000
    app.reader.ledger.done(STATIONS, 7)
    for minute in range(1_000):
        assert STATIONS not in dog.stuck(60.0 * minute)
        app.pipeline.stations.settled += 1


def test_the_patience_has_room_for_a_handler_of_stations_that_pass_through() -> None:
    handled = SETTINGS.model_copy(update={"station_result_handler": "a:b", "handler_timeout": 600.0})
    assert patience_of(handled) > PATIENCE + 4 * 600


def test_a_partition_that_has_been_read_to_its_end_may_rest() -> None:
    app, dog = watched()
    app.reader.behind = False
    assert dog.stuck(10 * PATIENCE) == []


def test_a_source_partition_that_is_not_read_because_batches_are_open_may_rest() -> None:
    app, dog = watched()
    source = TP(SETTINGS.source_topics[0], 0)
    app.reader.ledger.rebase(source, 7)
    assert dog.stuck(0.0) == []
    app.pipeline.open_batches.waiting = True
    assert source not in dog.stuck(10 * PATIENCE)
    app.pipeline.open_batches.waiting = False
    assert source in dog.stuck(11 * PATIENCE + 0.1)


def test_a_partition_that_is_done_further_is_not_stuck() -> None:
    app, dog = watched()
    for tp in (STATIONS, LOG):
        app.reader.ledger.done(tp, 7)
    assert dog.stuck(PATIENCE + 0.1) == []


def group_watched(*, age: float) -> tuple[FakeApp, Watchdog]:
    app, dog = watched()
    app.reader.age = age
    return app, dog


def look(dog: Watchdog, start: int, stop: int) -> None:
    """Once a second."""
    for second in range(start, stop):
        dog.look_at_group(float(second))


def test_a_worker_that_the_group_does_not_answer_is_in_trouble_and_then_ends() -> None:
    app, dog = group_watched(age=11.0)
    troubled, lost = int(TROUBLED_AFTER * app.session_timeout) + 1, int(LOST_AFTER * app.session_timeout) + 1
    look(dog, 0, troubled)
    assert dog.trouble is None
    look(dog, troubled, lost)
    assert dog.trouble is not None
    assert app.failures == []
    look(dog, lost, lost + 1)
    assert "has not answered this worker's heartbeats" in str(app.failures[0])


def test_a_heartbeat_that_comes_again_ends_the_trouble() -> None:
    app, dog = group_watched(age=11.0)
    look(dog, 0, 40)
    app.reader.age = 1.0
    look(dog, 40, 41)
    assert dog.trouble is None
    app.reader.age = 11.0
    look(dog, 41, 60)
    assert (dog.trouble, app.failures) == (None, [])


def test_a_worker_that_was_stopped_itself_gets_its_time_again() -> None:
    app, dog = group_watched(age=11.0)
    look(dog, 0, 40)
    app.reader.age = 500.0  # it was stopped, and goes on
    look(dog, 500, 549)
    assert app.failures == []


def test_a_start_may_take_longer() -> None:
    app, dog = group_watched(age=float("inf"))
    look(dog, 0, 120)
    assert (dog.trouble, app.failures) == (None, [])
    look(dog, 120, 125)
    assert app.failures
