"""When callbacks of the latest batches ran."""

from __future__ import annotations

import pytest

from app.observability.station_times import StationTimes


def test_a_stretch_of_callbacks_is_taken_apart_when_it_is_asked_for() -> None:
    times = StationTimes()
    times.add("b", ("A", "B"), [5.0, 5.5, 6.0, 9.0], 100.0)  # another one has ended behind them
    assert times.of("b") == {"A": (96.0, 96.5), "B": (96.5, 97.0)}
    times.add("b", ("C",), (0.0, 2.0), 103.0)
    assert times.of("b")["C"] == (101.0, 103.0)
    assert times.of("unknown") == {}
    assert times.seconds_of("B") == {"b": 0.5}
    assert times.seconds_of("D") == {}


def test_the_last_call_of_a_station_counts() -> None:
    times = StationTimes()
    times.add("b", ("A",), (0.0, 1.0), 10.0)
    times.add("b", ("A",), (0.0, 3.0), 20.0)
    assert times.of("b") == {"A": (17.0, 20.0)}
    assert times.seconds_of("A") == {"b": 3.0}


@pytest.mark.parametrize("most", [1, 4, 5])
def test_the_oldest_batches_are_forgotten_and_the_newest_never(most: int) -> None:
    times = StationTimes(most)
    for number in range(5):
        times.add(f"b{number}", ("A", "B"), (0.0, 1.0, 2.0), 100.0)
    known = [number for number in range(5) if times.of(f"b{number}")]
    assert known == {1: [4], 4: [3, 4], 5: [3, 4]}[most]


def test_of_a_single_batch_the_latest_callbacks_are_known() -> None:
    times = StationTimes(4)
    for number in range(1000):
        times.add("b", (f"S{number}", "A"), (0.0, 1.0, 2.0), 100.0 + number)
    assert [*times.of("b")] == ["S998", "A", "S999"]
    assert times.of("b")["A"] == (1098.0, 1099.0)
    times.add("b", [f"T{number}" for number in range(9)], [float(number) for number in range(10)], 2000.0)
    assert len(times.of("b")) == 9
    times.add("other", ("A",), (0.0, 1.0), 3000.0)
    assert (times.of("b"), len(times.of("other"))) == ({}, 1)
