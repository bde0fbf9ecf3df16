"""The order in which stations of several frames get their turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.messages.frames import StationGroup
from app.pipeline.stations.turns import Turns
from tables.model.events import Source


def group(name: str, opened_at: float, stations: int = 1) -> StationGroup:
    """A group of a batch of that name."""
    events = [(f"{name}-{number}", [{"n": number}]) for number in range(stations)]
    return StationGroup(name, Source("t", 0, 0), opened_at, opened_at + 5.0, None, events)


def order(turns: Turns[str]) -> list[tuple[str | None, str]]:
    """Batch and frame of each group, in their order."""
    return [(one.batch_id, frame) for _, one, frame in turns.take()]


def test_a_batch_comes_together_from_all_partitions_and_the_oldest_first() -> None:
    turns: Turns[str] = Turns()
    turns.add(0, [group("old", 1.0), group("new", 2.0)], "p0")
    turns.add(1, [group("old", 1.0), group("newest", 3.0)], "p1")
    turns.add(2, [group("new", 2.0)], "p2")
    assert order(turns) == [("old", "p0"), ("old", "p1"), ("new", "p0"), ("new", "p2"), ("newest", "p1")]


def test_a_partition_keeps_its_order_over_its_frames_whatever_the_clocks_say() -> None:
    turns: Turns[str] = Turns()
    turns.add(0, [group("late clock", 9.0)], "first")
    turns.add(1, [group("other", 5.0)], "other")
    turns.add(0, [group("early clock", 1.0)], "second")
    assert order(turns) == [("other", "other"), ("late clock", "first"), ("early clock", "second")]


def test_it_counts_stations_until_they_are_taken() -> None:
    turns: Turns[str] = Turns()
    turns.add(0, [group("a", 1.0, stations=2), group("b", 1.0, stations=3)], "p0")
    assert turns.stations == 5
    turns.take()
    assert turns.stations == 0
    assert turns.take() == []


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.floats(0, 100), max_size=4)), max_size=8))
def test_nothing_is_lost_and_no_partition_is_out_of_order(frames: list[tuple[int, list[float]]]) -> None:
    turns: Turns[int] = Turns()
    put: dict[int, list[StationGroup]] = {}
    for partition, times in frames:
        groups = [group("b", time) for time in times]
        turns.add(partition, groups, partition)
        put.setdefault(partition, []).extend(groups)
    taken = turns.take()
    assert [key for key, _, _ in taken] == sorted(key for key, _, _ in taken)
    for partition, groups in put.items():
        assert [id(one) for _, one, frame in taken if frame == partition] == [id(one) for one in groups]
