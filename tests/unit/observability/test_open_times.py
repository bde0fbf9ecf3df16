"""What the `open` events of a worker tell of its clock: no backlog and no slow machine is a clock that differs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.observability.open_times import OpenTime, OpenTimes

TIMEOUT = 5.0


def arrival(now: float, offset: float, way: float = 0.02, *, seen: float | None = None) -> OpenTime:
    """An event that comes at `now`, by our clock, after `way` seconds; its sender's clock is ahead by `offset`."""
    sent = now - way + offset
    return OpenTime(sent, sent, sent + TIMEOUT, now - way - 0.5 if seen is None else seen, now)


def take_all(*events: OpenTime) -> list[float | None]:
    times = OpenTimes()
    return [times.take(event) for event in events]


def test_an_event_from_the_future_tells_at_once() -> None:
    assert take_all(arrival(100.0, 30.0)) == [pytest.approx(29.98)]


def test_events_that_are_due_when_they_are_appended_tell_it_after_a_while() -> None:
    told = take_all(*(arrival(100.0 + seconds, -30.0) for seconds in (0, 5, 9, 11)))
    assert told == [None, None, None, pytest.approx(-29.5)]


def test_two_events_tell_nothing() -> None:
    assert take_all(arrival(100.0, -30.0), arrival(120.0, -30.0)) == [None, None]


def test_an_event_in_time_starts_it_anew() -> None:
    late = [arrival(100.0 + seconds, -30.0) for seconds in range(0, 12, 2)]
    assert take_all(*late[:5], arrival(109.0, 0.0), *late[5:]) == [None] * 5 + [0.0, None]


@pytest.mark.parametrize("seen", [69.0, 60.0])
def test_a_backlog_tells_nothing(seen: float) -> None:
    """It stood in the log already when somebody looked."""
    events = [OpenTime(70.0, 70.0, 75.0, seen, 100.0 + seconds) for seconds in range(20)]
    assert take_all(*events) == [None] * 20


def test_an_event_that_is_late_and_was_not_due_tells_nothing() -> None:
    assert take_all(*(arrival(100.0 + seconds, -3.0) for seconds in range(20))) == [None] * 20


def test_a_brokers_timestamps_accuse_no_worker() -> None:
    """Its clock is ahead, or behind: the workers' agree."""
    for broker in (30.0, -30.0):
        times = [OpenTime(now - 0.1, now + broker, now + 4.9, now - 0.5, now) for now in (100.0, 105.0, 110.0, 115.0)]
        assert not any(take_all(*times))


@given(st.floats(-1.0, 1.0), st.lists(st.floats(0.0, 4.0), min_size=1, max_size=40))
def test_clocks_within_a_second_are_never_told_while_events_come_in_time(offset: float, ways: list[float]) -> None:
    """However long they take, if that is less than the timeout."""
    events = [arrival(100.0 + number, offset, way, seen=100.0 + number - way) for number, way in enumerate(ways)]
    assert not any(take_all(*events))
