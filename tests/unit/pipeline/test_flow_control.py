"""Flow control: who counts as open and who waits, the pace of a queue, and what is expected to come soon."""

from __future__ import annotations

import asyncio
import logging

import pytest

from app.messages.partitioner import Partitioner
from app.pipeline.splitting.flow_control import (
    LEAST_SECONDS,
    LOST_SECONDS,
    NO_BACKLOG,
    WINDOW_SECONDS,
    Backlog,
    FlowControl,
    FramesInFlight,
    OpenBatches,
    Pace,
)
from app.settings import Settings
from tests.virtual_time import EPOCH, run_in_virtual_time, unix_now

PARTITIONER = Partitioner(2)
OWN, OTHER = 0, 1


def ids(partition: int, count: int) -> list[str]:
    """Batch ids of a partition."""
    return [f"b{n}" for n in range(100) if PARTITIONER(f"b{n}") == partition][:count]


def counting(limit: int = 2, *known: str) -> OpenBatches:
    """A count of a worker that owns one of the two partitions, which knows some batches."""
    batches = OpenBatches(Settings(max_open_batches=limit), PARTITIONER, unix_now)
    batches.own({OWN: set(known)})
    return batches


async def waited(batches: OpenBatches, batch_id: str) -> float:
    """Seconds until there is room."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    await batches.room(batch_id)
    assert not batches.waiting
    return loop.time() - start


def test_own_batches_count_until_they_are_closed_however_late_that_is() -> None:
    async def main() -> None:
        batches, (one, two, three) = counting(), ids(OWN, 3)
        batches.opened(one, EPOCH + 5)
        assert batches.has_room(two)
        batches.opened(two, EPOCH + 5)
        assert not batches.has_room(three)
        asyncio.get_running_loop().call_later(77.0, batches.closed, one)
        assert await waited(batches, three) == 77.0
        assert len(batches) == 1

    run_in_virtual_time(main())


def test_other_workers_batches_count_until_their_deadline() -> None:
    async def main() -> None:
        batches, (one, two, three) = counting(), ids(OTHER, 3)
        batches.opened(one, EPOCH + 5)
        batches.opened(two, EPOCH + 6)
        batches.opened(one, EPOCH + 9)  # a supplement
        assert await waited(batches, three) == 6.0
        batches.opened(three, EPOCH + 20)
        assert await waited(batches, ids(OWN, 1)[0]) == 3.0

    run_in_virtual_time(main())


def test_a_supplement_of_a_batch_that_counts_already_never_waits() -> None:
    async def main() -> None:
        batches, (one, two) = counting(limit=1), ids(OWN, 2)
        batches.opened(one, EPOCH + 5)
        assert batches.has_room(one)
        assert not batches.has_room(two)
        batches.opened(one, EPOCH + 5)
        assert len(batches) == 1

    run_in_virtual_time(main())


def test_a_message_of_a_batch_that_its_owner_knows_opens_nothing_and_never_waits() -> None:
    async def main() -> None:
        late, one, two = ids(OWN, 3)
        batches = counting(1, late)
        batches.opened(late, EPOCH + 5)
        assert len(batches) == 0
        batches.opened(one, EPOCH + 5)
        assert batches.has_room(late)
        assert not batches.has_room(two)

    run_in_virtual_time(main())


def test_the_count_is_dropped_with_the_assignment_and_who_waits_goes_on() -> None:
    async def main() -> None:
        batches, (one, two) = counting(limit=1), ids(OWN, 2)
        batches.opened(one, EPOCH + 5)
        asyncio.get_running_loop().call_later(1.0, batches.clear)
        assert await waited(batches, two) == 1.0
        assert len(batches) == 0
        batches.own({})
        batches.opened(one, EPOCH + 5)  # another worker's now
        assert await waited(batches, two) == 4.0

    run_in_virtual_time(main())


def test_a_batch_that_is_closed_twice_or_was_never_counted_changes_nothing() -> None:
    async def main() -> None:
        batches, (one, two) = counting(), ids(OWN, 2)
        batches.closed(one)
        batches.opened(one, EPOCH)
        batches.closed(one)
        batches.closed(one)
        batches.closed(two)
        assert len(batches) == 0

    run_in_virtual_time(main())


def test_waiting_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def main() -> None:
        batches = counting(limit=1)
        for number, batch_id in enumerate(ids(OTHER, 20)):
            await batches.room(batch_id)
            batches.opened(batch_id, unix_now() + 5)
            assert len(batches) == 1, number

    run_in_virtual_time(main())
    assert caplog.text.count("Reading waits until batches close: 1 are open (AGG_MAX_OPEN_BATCHES)") == 2


# -- the pace of a queue


def lag(pace: Pace) -> float:
    """Seconds, without what floats add."""
    return round(pace.lag, 6)


def test_what_waits_is_served_at_the_pace_seen_since_the_queue_was_empty() -> None:
    backlog = Backlog()
    assert backlog.pace(0, 500, 100.0) == NO_BACKLOG
    assert lag(backlog.pace(2_000, 500, 100.1)) == 200.0  # nobody has left: as if one just had
    assert lag(backlog.pace(1_900, 600, 100.2)) == 3.8  # 100 in 0.2 s
    assert lag(backlog.pace(900, 1_400, 100.5)) == 0.5
    assert round(backlog.pace(900, 1_400, 100.5).rate) == 1_800
    assert backlog.pace(0, 2_300, 101.0) == NO_BACKLOG


def test_what_comes_before_time_has_gone_on_waits() -> None:
    backlog = Backlog()
    backlog.pace(0, 0, 100.0)
    assert backlog.pace(1_000, 0, 100.0) == Pace(1_000 * LEAST_SECONDS, 1 / LEAST_SECONDS)


def test_time_in_which_nothing_waited_is_no_part_of_the_pace() -> None:
    backlog = Backlog()
    backlog.pace(0, 0, 100.0)
    assert backlog.pace(0, 10, 200.0) == NO_BACKLOG
    assert lag(backlog.pace(100, 20, 200.1)) == 1.0


def test_a_pace_that_has_changed_is_seen_within_two_windows() -> None:
    backlog, left = Backlog(), 0
    backlog.pace(1_000, left, 100.0)
    for step in range(1, 31):  # 1,000 a second for three seconds, then none at all
        left += 100
        pace = backlog.pace(1_000, left, 100.0 + step / 10)
    assert lag(pace) == 1.0
    for step in range(1, 22):
        pace = backlog.pace(1_000, left, 103.0 + step / 10)
    assert pace.lag >= 1_000 * WINDOW_SECONDS


def test_a_clock_that_was_put_back_begins_anew() -> None:
    backlog = Backlog()
    backlog.pace(1_000, 0, 100.0)
    backlog.pace(1_000, 100, 50.0)
    assert lag(backlog.pace(1_000, 200, 50.1)) == 1.0


# -- frames in flight


def test_the_oldest_frame_that_has_not_been_taken_in_counts() -> None:
    in_flight = FramesInFlight()
    assert in_flight.age(100.0) == 0.0
    in_flight.sent(0, 7, 10, 100.0)
    in_flight.sent(1, 3, 10, 100.2)
    in_flight.sent(0, 8, 10, 100.3)
    assert in_flight.age(100.5) == 0.5
    in_flight.taken(0, 7)
    assert round(in_flight.age(100.5), 6) == 0.3
    in_flight.taken(1, 3)
    in_flight.taken(0, 9)
    assert in_flight.age(100.5) == 0.0


def test_a_frame_that_is_taken_in_before_its_sender_hears_of_it_is_not_expected() -> None:
    in_flight = FramesInFlight()
    in_flight.taken(0, 7)
    in_flight.sent(0, 7, 10, 100.0)
    assert in_flight.age(100.5) == 0.0


def test_nothing_is_expected_of_other_workers_nor_after_a_loss() -> None:
    in_flight = FramesInFlight()
    flow = FlowControl(counting(), in_flight, lambda: NO_BACKLOG, lambda: 100.0)
    flow.sent(OTHER, 7, 10)
    assert in_flight.age(100.5) == 0.0
    flow.sent(OWN, 7, 10)
    assert in_flight.age(100.5) == 0.5
    in_flight.clear()
    assert in_flight.age(100.5) == 0.0


def test_what_does_not_come_is_not_waited_for() -> None:
    in_flight = FramesInFlight()
    in_flight.sent(0, 7, 10, 100.0)
    assert in_flight.age(100.0 + LOST_SECONDS) == 0.0
    in_flight.sent(0, 8, 10, 200.0)
    assert in_flight.age(150.0) == 0.0  # a clock that was put back


def test_stations_under_way_are_counted_until_they_are_taken_in_or_given_up() -> None:
    in_flight = FramesInFlight()
    in_flight.sent(0, 7, 250.5, 100.0)
    in_flight.sent(1, 3, 100, 100.4)
    assert in_flight.stations(100.5) == 350.5
    in_flight.taken(0, 7)
    assert in_flight.stations(100.5) == 100
    assert in_flight.stations(100.4 + LOST_SECONDS) == 0
