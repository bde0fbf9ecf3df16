"""Stations of one message from several frames: put together, read, and counted for each frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.messages.frames import StationGroup
from app.messages.message import Delivery, InMessage
from app.pipeline.stations.batch_group import (
    TOGETHER_BYTES,
    TOGETHER_STATIONS,
    BatchGroup,
    FrameInProgress,
    Part,
    together,
)
from tables.context import Record
from tables.model.events import Source


def part(stations: int, *, size: int = 100, offset: int = 0, opened_at: float = 1.0) -> Part:
    """Stations of the message at that offset, in a frame of its own, of so many bytes each."""
    events = [(f"S{number}", [{"n": number}]) for number in range(stations)]
    group = StationGroup("b", Source("t", 0, offset), opened_at, opened_at + 5.0, None, events)
    message = InMessage("station-events", 0, 0, 0.0, None, b" " * size * stations)
    return group, FrameInProgress(Delivery(message, lambda: None), stations, lambda _: None)


def sizes(*parts: Part) -> list[list[int]]:
    return [[group.count for group, _ in row] for row in together(parts)]


class Nobody:
    """An owner of groups that reads them and does no more."""

    def inputs_of(self, group: StationGroup) -> Callable[[str, Sequence[Record]], dict[str, Any]]:
        raise NotImplementedError

    def stations_of(self, group: StationGroup, frame: FrameInProgress) -> Sequence[tuple[str, list[Record]]]:
        return group.stations if not frame.refused else ()

    def take_results(self, group: BatchGroup, first: int, values: Sequence[str | None], times: Sequence[float]) -> None:
        raise NotImplementedError


def test_parts_of_one_message_are_put_together() -> None:
    assert sizes(part(3), part(4), part(2)) == [[3, 4, 2]]
    assert sizes(part(3), part(4, offset=1), part(2, offset=1)) == [[3], [4, 2]]
    assert sizes(part(3), part(4, opened_at=2.0)) == [[3], [4]]  # it was split again
    assert sizes() == []


def test_not_more_is_put_together_than_is_read_in_a_moment() -> None:
    assert sizes(part(TOGETHER_STATIONS - 2), part(2), part(1)) == [[TOGETHER_STATIONS - 2, 2], [1]]
    assert sizes(part(TOGETHER_STATIONS + 2), part(2)) == [[TOGETHER_STATIONS + 2], [2]]
    half = TOGETHER_BYTES // 4
    assert sizes(part(2, size=half), part(2, size=half), part(2, size=half)) == [[2, 2], [2]]


@given(
    st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=6),
    st.lists(st.integers(1, 4), max_size=30),
)
def test_each_station_is_counted_for_its_frame_whatever_comes_together(
    frames: list[tuple[int, bool]], rows: list[int]
) -> None:
    parts = [part(stations) for stations, _ in frames]
    for (_, frame), (_, refused) in zip(parts, frames, strict=True):
        frame.refused = refused
    group = BatchGroup(Nobody(), "b", 6.0, 0, parts)
    assert group.count == sum(stations for stations, _ in frames)
    group.open()
    expected = [frame for whole, frame in parts if not frame.refused for _ in whole.stations]
    assert [group.call(index).context.frame for index in range(len(group.stations))] == expected  # type: ignore[union-attr]
    first = 0
    for row in rows:
        count = min(row, len(group.stations) - first)
        told = [stored for stored, number in group.stored(first, count) for _ in range(number)]
        assert told == [frame.stored for frame in expected[first : first + count]]
        first += count
