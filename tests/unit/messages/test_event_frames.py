"""Packing events into frames."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from app.messages.event_frames import FRAME_BYTES, FRAME_EVENTS, StationPacker, event_frames
from app.messages.frames import StationGroup, decode_events, decode_stations, encode_group, encode_station
from tables.model.events import Expire
from tests.builders import source


def head(message: int) -> bytes:
    return encode_group(StationGroup(f"b{message}", source(message), 1.0, 2.0, None, ()))


def station(number: int, size: int = 0) -> bytes:
    return encode_station(str(number), [{"x": "x" * size}])


def ids(value: bytes | None) -> list[tuple[str | None, str]]:
    """Batch and station of each event of a frame."""
    return [(group.batch_id, station_id) for group in decode_stations(value).groups for station_id, _ in group.stations]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=900))
def test_each_partitions_events_are_all_there_in_their_order(added: list[tuple[int, int]]) -> None:
    packer = StationPacker("station-events")
    heads = [head(message) for message in range(4)]
    expected: dict[int, list[tuple[str | None, str]]] = {}
    for number, (partition, message) in enumerate(added):
        packer.add(partition, heads[message], station(number))
        expected.setdefault(partition, []).append((f"b{message}", str(number)))
    found: dict[int, list[tuple[str | None, str]]] = {}
    for frame in packer.take():
        assert (frame.topic, frame.partition is None) == ("station-events", False)
        events = ids(frame.value)
        assert 0 < len(events) <= FRAME_EVENTS
        found.setdefault(frame.partition or 0, []).extend(events)
    assert found == expected
    assert packer.take() == []


def test_a_frame_is_full_at_its_number_of_events() -> None:
    packer = StationPacker("t")
    shared = head(0)
    for number in range(2 * FRAME_EVENTS + 1):
        packer.add(0, shared, station(number))
    assert [len(ids(frame.value)) for frame in packer.take()] == [FRAME_EVENTS, FRAME_EVENTS, 1]


def test_a_frame_is_full_at_its_bytes() -> None:
    packer = StationPacker("t")
    shared = head(0)
    for number in range(9):
        packer.add(0, shared, station(number, FRAME_BYTES // 4))
    frames = packer.take()
    assert [len(ids(frame.value)) for frame in frames] == [4, 4, 1]
    assert max(len(frame.value or b"") for frame in frames) < 2 * FRAME_BYTES


def test_a_station_that_is_larger_than_a_frame_has_one_of_its_own() -> None:
    packer = StationPacker("t")
    packer.add(0, head(0), station(0, 3 * FRAME_BYTES))
    packer.add(0, head(1), station(1))
    assert [ids(frame.value) for frame in packer.take()] == [[("b0", "0")], [("b1", "1")]]


def test_batch_events_are_packed_by_number() -> None:
    events = [Expire(f"b{n}", float(n), float(n)) for n in range(FRAME_EVENTS + 5)]
    frames = event_frames("batch-events", 3, events)
    assert [(frame.topic, frame.partition) for frame in frames] == [("batch-events", 3)] * 2
    assert [event for frame in frames for event in decode_events(frame.value)] == events
    assert len(decode_events(frames[0].value)) == FRAME_EVENTS
    assert event_frames("batch-events", 3, []) == []
