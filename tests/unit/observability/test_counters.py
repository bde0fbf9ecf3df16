from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.observability.counters import (
    SHORT,
    Histogram,
    Metrics,
    StationCounters,
    Statistics,
    bucket_of,
    oldest_open_age,
    open_batches,
)
from tables.model.enums import CompletedBy, Status
from tables.model.events import Decision
from tests.builders import Owner, expire, open_


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def decision(
    *expected: str,
    missing: tuple[str, ...] = (),
    failed: tuple[str, ...] = (),
    empty: tuple[str, ...] = (),
    completed_by: CompletedBy = CompletedBy.ALL,
    status: Status = Status.COMPLETE,
    revision: int = 1,
) -> Decision:
    return Decision(
        batch_id="b",
        revision=revision,
        completed_by=completed_by,
        status=status,
        opened_at=100.0,
        deadline=105.0,
        closed_at=102.0,
        expected=expected,
        results=tuple("{}" for _ in range(len(expected) - len(missing) - len(failed) - len(empty))),
        missing=missing,
        failed=tuple((station, "ValueError: x") for station in failed),
        empty=empty,
    )


def counted(counters: StationCounters) -> tuple[int, int, int, int]:
    return counters.arrivals, counters.misses, counters.failures, counters.empties


def test_a_closing_counts_what_became_of_each_station() -> None:
    statistics = Statistics(Metrics(), Clock())
    statistics.released(decision("A", "B", "C", "D", missing=("B",), failed=("C",), empty=("D",)))
    statistics.released(decision("A", "B"))
    assert {station: counted(one) for station, one in statistics.stations().items()} == {
        "A": (2, 0, 0, 0),
        "B": (1, 1, 0, 0),
        "C": (1, 0, 1, 0),
        "D": (1, 0, 0, 1),
    }
    assert statistics.metrics.arrivals == {"result": 3, "failed": 1, "empty": 1, "missing": 1}
    assert statistics.batch_durations.quantile(0.5) == pytest.approx(2.0, rel=0.05)


def test_only_the_first_closing_is_a_closing() -> None:
    statistics = Statistics(Metrics(), Clock())
    statistics.released(decision("A", missing=("A",), completed_by=CompletedBy.TIMEOUT))
    statistics.released(decision("A", revision=2))
    assert statistics.metrics.batches_closed == {"timeout": 1}
    assert statistics.metrics.revisions == 1
    assert counted(statistics.stations()["A"]) == (0, 1, 0, 0)


def test_a_discarded_batch_is_closed_by_its_rule_and_counted_as_discarded_too() -> None:
    statistics = Statistics(Metrics(), Clock())
    statistics.released(decision("A", completed_by=CompletedBy.TIMEOUT, status=Status.DISCARDED))
    assert statistics.metrics.batches_closed == {"timeout": 1}
    assert statistics.metrics.discarded == 1


def test_callbacks_are_timed_in_all_and_for_each_station() -> None:
    statistics = Statistics(Metrics(), Clock())
    for seconds in (0.1, 0.1, 4.0):
        statistics.callback("A", seconds)
    statistics.callback("B", 0.002)
    assert statistics.callback_durations.count == 4
    assert statistics.callback_seconds == pytest.approx(4.202)
    assert statistics.stations()["A"].durations.quantile(0.99) == pytest.approx(4.0, rel=0.05)
    assert statistics.stations()["B"].durations.quantile(0.5) == pytest.approx(0.002, rel=0.05)


@given(
    st.lists(st.tuples(st.sampled_from("ABCDE"), st.floats(0, 0.1) | st.floats(0, 0.0008)), min_size=1, max_size=40),
    st.integers(1, 40),
)
def test_callbacks_of_a_group_are_counted_like_single_ones(calls: list[tuple[str, float]], cut: int) -> None:
    single, grouped = Statistics(Metrics(), Clock()), Statistics(Metrics(), Clock())
    for rows in filter(None, (calls[:cut], calls[cut:])):
        times = [0.0]
        for station, seconds in rows:
            times.append(times[-1] + seconds)
            single.callback(station, times[-1] - times[-2])
        grouped.callbacks([station for station, _ in rows], times)
    assert grouped.callback_durations.counts == single.callback_durations.counts
    assert grouped.callback_seconds == pytest.approx(single.callback_seconds)
    own, theirs = single.stations(), grouped.stations()
    assert own.keys() == theirs.keys()
    for station, counters in own.items():
        assert theirs[station].durations.count == counters.durations.count
        assert over(SHORT, theirs[station].durations) == over(SHORT, counters.durations)


def over(bound: float, durations: Histogram) -> dict[int, int]:
    return {bucket: count for bucket, count in durations.counts.items() if bucket >= bucket_of(bound)}


def test_short_durations_of_groups_are_shared_out_as_they_were_distributed() -> None:
    statistics = Statistics(Metrics(), Clock())
    for number in range(100):
        statistics.callbacks(["A", "B"], [0.0, 1e-5, 1e-5 + (9e-4 if number % 10 == 0 else 1e-5)])
    statistics.callbacks(["C"], [0.0, 1e-5])
    for station, count in (("A", 100), ("B", 100), ("C", 1)):
        durations = statistics.stations()[station].durations
        assert durations.count == count
        assert durations.quantile(0.5) == pytest.approx(1e-5, rel=0.06)
        assert durations.quantile(0.99) == pytest.approx(9e-4 if count > 1 else 1e-5, rel=0.06)


def test_stations_of_groups_that_come_after_too_many_have_no_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.observability.counters.MAX_STATIONS", 2)
    statistics = Statistics(Metrics(), Clock())
    for number in range(10):
        statistics.callbacks([f"S{number}"], [0.0, 1e-5])
        assert len(statistics._short) <= 2
    assert sorted(statistics.stations()) == ["S0", "S1"]
    assert statistics.stations_left_out == 8
    assert statistics.callback_durations.count == 10


def test_stations_that_come_after_too_many_have_no_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.observability.counters.MAX_STATIONS", 2)
    statistics = Statistics(Metrics(), Clock())
    statistics.released(decision("A", "B", "C", missing=("C",), failed=("B",)))
    statistics.callback("D", 1.0)
    assert sorted(statistics.stations()) == ["A", "B"]
    assert statistics.stations_left_out == 2
    assert statistics.metrics.arrivals["missing"] == 1


def test_open_batches_are_counted_and_the_oldest_told() -> None:
    owner = Owner()
    assert (open_batches({0: owner.set}), oldest_open_age({0: owner.set}, 100.0)) == (0, None)
    owner.feed(open_(["A"], at=100.0))
    assert (open_batches({0: owner.set}), oldest_open_age({0: owner.set}, 103.5)) == (1, 3.5)
    assert oldest_open_age({0: owner.set}, 99.0) == 0.0  # another worker's clock
    owner.feed(expire(105.0))
    assert open_batches({0: owner.set}) == 0
