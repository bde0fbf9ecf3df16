"""The order in which the stations of several frames are submitted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.messages.frames import StationGroup
from app.messages.message import Delivery, InMessage
from app.pipeline.stations.agent import SubmissionOrder
from app.pipeline.stations.batch_group import FrameInProgress
from tables.model.events import Source


def group(name: str, opened_at: float, stations: int = 1) -> StationGroup:
    """A group of a batch of that name."""
    events = [(f"{name}-{number}", [{"n": number}]) for number in range(stations)]
    return StationGroup(name, Source("t", 0, 0), opened_at, opened_at + 5.0, None, events)


def frame() -> FrameInProgress:
    message = InMessage("station-events", 0, 0, 0.0, None, None)
    return FrameInProgress(Delivery(message, lambda: None), 1, lambda _: None)


def batches(order: SubmissionOrder, **frames: FrameInProgress) -> list[tuple[str | None, str]]:
    """Batch and frame of each group, in their order."""
    names = {id(taken): name for name, taken in frames.items()}
    return [(taken.batch_id, names[id(of)]) for _, taken, of in order.take()]


def test_a_batch_comes_together_from_all_partitions_and_the_oldest_first() -> None:
    order, p0, p1, p2 = SubmissionOrder(), frame(), frame(), frame()
    order.add(0, [group("old", 1.0), group("new", 2.0)], p0)
    order.add(1, [group("old", 1.0), group("newest", 3.0)], p1)
    order.add(2, [group("new", 2.0)], p2)
    assert batches(order, p0=p0, p1=p1, p2=p2) == [
        ("old", "p0"),
        ("old", "p1"),
        ("new", "p0"),
        ("new", "p2"),
        ("newest", "p1"),
    ]


def test_a_partition_keeps_its_order_over_its_frames_whatever_the_clocks_say() -> None:
    order, first, other, second = SubmissionOrder(), frame(), frame(), frame()
    order.add(0, [group("late clock", 9.0)], first)
    order.add(1, [group("other", 5.0)], other)
    order.add(0, [group("early clock", 1.0)], second)
    assert batches(order, first=first, other=other, second=second) == [
        ("other", "other"),
        ("late clock", "first"),
        ("early clock", "second"),
    ]


def test_it_counts_stations_until_they_are_taken() -> None:
    order = SubmissionOrder()
    order.add(0, [group("a", 1.0, stations=2), group("b", 1.0, stations=3)], frame())
    assert order.stations == 5
    order.take()
    assert order.stations == 0
    assert order.take() == []


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.floats(0, 100), max_size=4)), max_size=8))
def test_nothing_is_lost_and_no_partition_is_out_of_order(frames: list[tuple[int, list[float]]]) -> None:
    order = SubmissionOrder()
    of_partition = [frame() for _ in range(4)]
    put: dict[int, list[StationGroup]] = {}
    for partition, times in frames:
        groups = [group("b", time) for time in times]
        order.add(partition, groups, of_partition[partition])
        put.setdefault(partition, []).extend(groups)
    taken = order.take()
    assert [key for key, _, _ in taken] == sorted(key for key, _, _ in taken)
    for partition, groups in put.items():
        mine = [id(one) for _, one, whose in taken if whose is of_partition[partition]]
        assert mine == [id(one) for one in groups]
