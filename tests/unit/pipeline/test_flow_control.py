"""Flow control: who counts as open and who waits, the pace of a queue, and what is expected to come soon."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.messages.partitioner import Partitioner
from app.pipeline.splitting.flow_control import (
    LEAST_LAG,
    LOST_SECONDS,
    MOST_LAG,
    PACE_SHARE,
    WINDOW_SECONDS,
    FlowControl,
    FramesInFlight,
    Load,
    Named,
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


def named(*messages: list[str]) -> Named:
    """The stations that messages name."""
    share = Named()
    for stations in messages:
        share.add(stations)
    return share


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
    assert caplog.text.count("Reading waits until batches close: 1 batch open (AGG_MAX_OPEN_BATCHES)") == 2


# -- the pace of callbacks


def looks(pace: Pace, start: float, *ended: int, duration: float, pending: float = 1_000, waiting: float = 900) -> None:
    """Look every tenth of a second at a pace of which so many callbacks have ended by then."""
    for number, count in enumerate(ended):
        pace.look(pending, waiting, (count, count * duration), start + number / 10)


def test_the_pace_is_that_of_callbacks_which_end_while_others_wait() -> None:
    pace = Pace(64)
    looks(pace, 100.0, 0, 0, duration=0.01)
    assert (pace.rate, pace.duration) == (0.0, 0.0)
    looks(pace, 100.2, 100, 200, 300, duration=0.01)
    assert round(pace.rate) == 750
    assert round(pace.duration, 9) == 0.01


def test_callbacks_that_begin_together_are_counted_over_a_few_of_them_and_each_place_is_taken_for_busy_before() -> None:
    pace = Pace(64)
    looks(pace, 100.0, 0, 0, 0, 0, 0, 64, duration=0.5)
    assert pace.rate == 128.0
    looks(pace, 100.6, *[64] * 4, *[64 + 64 * (step // 5) for step in range(5, 25)], duration=0.5)
    assert 100.0 < pace.rate <= 128.0


def test_a_pace_holds_on_while_none_waits_and_is_forgotten_when_nothing_was_pending_for_a_window() -> None:
    pace = Pace(64)
    looks(pace, 100.0, 0, 100, 200, duration=0.01)
    known = pace.rate
    pace.look(10, 0, (210, 2.1), 101.0)
    pace.look(0, 0, (220, 2.2), 101.5)
    assert pace.rate == known > 0
    pace.look(0, 0, (220, 2.2), 101.5 + WINDOW_SECONDS)
    assert (pace.rate, pace.duration) == (0.0, 0.0)


def test_where_none_ends_for_a_window_it_is_as_if_one_just_had() -> None:
    pace = Pace(64)
    looks(pace, 100.0, *[0] * 30, duration=2.0)
    assert 0.3 < pace.rate <= 1.0


def test_a_pace_that_has_changed_is_seen_within_two_windows() -> None:
    pace = Pace(64)
    looks(pace, 100.0, *[100 * step for step in range(31)], duration=0.01)
    assert round(pace.rate) == 1_000
    looks(pace, 103.1, *[3_000 + step for step in range(22)], duration=0.01)
    assert pace.rate < 20


def test_a_clock_that_was_put_back_begins_anew() -> None:
    pace = Pace(64)
    looks(pace, 100.0, 0, 100, duration=0.01)
    looks(pace, 50.0, 100, 150, duration=0.01)
    assert round(pace.rate) == 500


def test_a_pace_grows_to_what_has_ended_between_two_looks_where_none_waits_at_either() -> None:
    pace = Pace(64)
    for number in range(1, 4):
        pace.look(0, 0, (100 * number, 0.1 * number), 100.0 + number / 10)
    assert round(pace.rate) == 1_000
    pace.look(0, 0, (310, 0.31), 100.9)
    assert round(pace.rate) == 1_000, "fewer came"


# -- the load, and what it leaves room for

LOADS = st.builds(
    Load,
    pending=st.floats(0, 1e5),
    ahead=st.floats(0, 1e5),
    arriving=st.floats(0, 1e5),
    places=st.integers(1, 1_000),
    rate=st.just(0.0) | st.floats(0.01, 1e5),
    duration=st.floats(0, 100),
    lag=st.floats(LEAST_LAG, MOST_LAG),
)


def load(
    ahead: float = 0.0, *, pending: float | None = None, places: int = 64, rate: float = 0.0, duration: float = 0.0
) -> Load:
    return Load(ahead if pending is None else pending, ahead, 0.0, places, rate, duration, LEAST_LAG)


@given(LOADS, st.integers(1, 10_000), st.floats(0.1, 300))
def test_a_message_always_has_room_where_nothing_is_ahead_or_all_can_begin_at_once(
    some: Load, size: int, timeout: float
) -> None:
    assert some._replace(ahead=0.0).has_room(0, size, timeout)
    if some.ahead + size <= some.places:
        assert some.has_room(0, size, timeout)


@given(LOADS, st.integers(0, 10_000), st.integers(1, 10_000), st.floats(0.1, 300))
def test_while_the_pace_is_unknown_no_more_than_twice_the_places_are_opened(
    some: Load, share: int, size: int, timeout: float
) -> None:
    unknown = some._replace(rate=0.0)
    if unknown.has_room(share, size, timeout):
        assert unknown.ahead + share + size <= 2 * some.places or unknown.ahead + share == 0


@given(LOADS, st.integers(0, 10_000), st.integers(1, 10_000), st.floats(0.1, 300))
def test_at_a_pace_that_is_known_nothing_is_opened_that_would_not_be_done_in_half_of_its_time(
    some: Load, share: int, size: int, timeout: float
) -> None:
    total = some.ahead + share + size
    if some.rate and some.has_room(share, size, timeout) and total > some.places and total > size:
        assert total / some.rate <= timeout * PACE_SHARE + 1e-6


@given(LOADS, st.integers(0, 10_000), st.integers(1, 10_000), st.floats(0.1, 300), st.floats(1.0, 1e3))
def test_more_time_or_a_shorter_queue_never_takes_room_away(
    some: Load, share: int, size: int, timeout: float, more: float
) -> None:
    if some.has_room(share, size, timeout):
        assert some.has_room(share, size, timeout * more)
        shorter = some._replace(ahead=some.ahead / more, pending=some.pending / more)
        assert shorter.has_room(share, size, timeout)


def test_free_places_are_filled_by_a_message_that_is_larger_than_what_is_left_at_a_pace_that_is_known() -> None:
    assert not load(36).has_room(0, 100, 5.0)
    assert load(36, rate=128.0).has_room(0, 100, 5.0)
    assert not load(64, rate=128.0).has_room(0, 100, 5.0)


def test_a_station_has_a_call_that_runs_and_one_that_waits_unless_its_time_is_too_short_for_both() -> None:
    assert load().depth(1.0) == 2
    assert load(duration=0.5).depth(5.0) == 2
    assert load(duration=0.5).depth(1.0) == 1


class FakeCalls:
    """Calls of which stations have one running and one that waits."""

    def __init__(self, first: Load, *waiting: str) -> None:
        self.now = first
        self.waiting = set(waiting)
        self.begun = {station: asyncio.get_running_loop().time() for station in waiting}

    def load(self, lag: float) -> Load:
        return self.now._replace(lag=lag)

    def queued(self, station_id: str) -> int:
        return 2 if station_id in self.waiting else 0

    def lasting(self, seconds: float) -> set[str]:
        now = asyncio.get_running_loop().time()
        return {station for station, begun in self.begun.items() if now - begun > seconds}


def flow_of(calls: FakeCalls) -> FlowControl:
    batches = counting()
    batches.own({OWN: set(), OTHER: set()})
    return FlowControl(batches, FramesInFlight(), calls, unix_now)


def test_a_message_waits_while_most_of_its_stations_have_a_call_that_waits() -> None:
    async def main() -> None:
        calls = FakeCalls(load(1, pending=3), "A", "B")
        flow, loop = flow_of(calls), asyncio.get_running_loop()
        await flow.turn(["A", "C"], 5.0)
        assert loop.time() == 0.0
        loop.call_later(2.0, calls.waiting.clear)
        turn = loop.create_task(flow.turn(["A", "B", "C"], 5.0))
        await asyncio.sleep(1.0)
        assert flow.open_batches.waiting
        await turn
        assert round(loop.time(), 1) == 2.0
        assert not flow.open_batches.waiting

    run_in_virtual_time(main())


@pytest.mark.parametrize(("timeout", "duration", "waits"), [(5.0, 0.0, 2.5), (1000.0, 0.0, 5.0), (5.0, 1.0, 4.0)])
def test_calls_that_hang_are_not_waited_for(timeout: float, duration: float, waits: float) -> None:
    async def main() -> None:
        flow, loop = (
            flow_of(FakeCalls(load(2, pending=4)._replace(duration=duration), "A", "B")),
            asyncio.get_running_loop(),
        )
        await flow.turn(["A", "B", "C"], timeout)
        assert waits <= loop.time() <= waits + 0.1

    run_in_virtual_time(main())


def test_a_message_waits_for_its_timeout_at_most_and_the_next_one_stays_behind_it() -> None:
    async def main() -> None:
        flow, loop = flow_of(FakeCalls(load(100, pending=100))), asyncio.get_running_loop()
        first = loop.create_task(flow.turn(["A"] * 100, 7.0))
        await asyncio.sleep(0)
        await flow.turn(["A"], None)  # it has room
        assert first.done()
        assert round(loop.time(), 1) == 7.0
        assert not flow.open_batches.waiting

    run_in_virtual_time(main())


def test_a_station_that_is_in_the_share_counts_like_one_that_has_a_call() -> None:
    async def main() -> None:
        flow = flow_of(FakeCalls(load()))
        begun = await flow.turn(["A", "B"], 5.0)
        assert flow.may_follow(begun, named(["A", "B"]), ["A", "B"], 5.0)
        assert not flow.may_follow(begun, named(["A", "B"], ["A", "B"]), ["A", "B"], 5.0)
        assert flow.may_follow(begun, named(["A", "B"], ["A", "B"]), ["C", "D"], 5.0)
        assert flow.may_follow(begun._replace(rate=1_000.0), named(["A", "B"], ["A", "B"]), ["A", "B"], 5.0)

    run_in_virtual_time(main())


def test_what_is_done_soon_is_twice_what_storing_a_share_takes_within_bounds() -> None:
    async def main() -> None:
        flow = flow_of(FakeCalls(load()))
        for took, lag in ((0.0, LEAST_LAG), (0.1, 0.2), (7.0, MOST_LAG)):
            await flow.turn(["A"], 5.0)
            await asyncio.sleep(took)
            flow.sent(OWN, 1, 1)
            assert round((await flow.turn(["A"], 5.0)).lag, 6) == lag

    run_in_virtual_time(main())


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
    flow = FlowControl(counting(), in_flight, FakeCalls(load()), lambda: 100.0)
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
