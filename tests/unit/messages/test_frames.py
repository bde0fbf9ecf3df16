"""The internal messages: what is written is read back, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.messages import frames
from app.messages.frames import (
    FRAME_BYTES,
    FRAME_EVENTS,
    FrameError,
    StationFrame,
    StationGroup,
    StationPacker,
    decode_events,
    decode_stations,
    encode_body,
    encode_context,
    encode_context_head,
    encode_events,
    encode_group,
    encode_stations,
    encode_tombstone,
    encode_update,
    event_frames,
)
from tables.context import ContextEvent, ContextUpdate, Place, Tombstone
from tables.model.enums import Action
from tables.model.events import Arrived, BatchEvent, Command, Expire, FailureLetter, Forget, Open, Source
from tables.storage import exact_json
from tables.storage.checks import NewerFormatError
from tests.builders import arrived, command, expire, open_, source

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
kafka_keys = st.none() | st.binary(max_size=12)
times = st.floats(0, 4e9)
sources = st.builds(Source, texts, st.integers(0, 500), st.integers(0, 2**63 - 1))
letters = st.builds(FailureLetter, texts, kafka_keys, texts)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
records = st.dictionaries(texts, scalars | texts | st.lists(scalars, max_size=3), max_size=3)
traces = st.none() | st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]( a=[0-9]{1,9})?", fullmatch=True)
QUICK = settings(max_examples=60)


@st.composite
def arrivals(draw: st.DrawFn) -> Arrived:
    """Draw outcomes of any stations."""
    stations = draw(st.lists(texts, max_size=5))
    size = len(stations)
    codes = draw(st.text("refs", min_size=size, max_size=size))
    values = draw(st.lists(st.none() | texts, min_size=size, max_size=size))
    failed = draw(st.dictionaries(st.integers(0, max(0, size - 1)), letters, max_size=2)) if size else {}
    return Arrived(draw(texts), draw(sources), draw(times), stations, codes, values, failed, draw(traces))


events = (
    arrivals()
    | st.builds(
        Open,
        texts,
        sources,
        times,
        times,
        st.lists(texts, max_size=5).map(tuple),
        st.booleans(),
        st.none() | times,
        traces,
    )
    | st.builds(Expire, texts, times, times)
    | st.builds(Forget, texts, times, times)
    | st.builds(Command, texts, st.sampled_from(Action), times, texts, times)
)
stations = st.lists(st.tuples(texts, st.lists(records, max_size=3)), min_size=1)
groups = st.builds(StationGroup, texts, sources, times, times, kafka_keys, stations, traces) | st.builds(
    StationGroup, st.none(), sources, times, st.none(), kafka_keys, stations, traces
)


@QUICK
@given(st.lists(events, max_size=5))
def test_batch_events_are_read_back_as_they_were_written(written: list[BatchEvent]) -> None:
    assert decode_events(encode_events(written)) == written


def encoded(*groups: StationGroup) -> bytes:
    """A frame of groups."""
    return encode_stations([(encode_group(group), encode_body(group.stations), group.count) for group in groups])


def content(groups: Sequence[StationGroup]) -> list[StationGroup]:
    """Groups that can be compared: with their stations as lists of tuples."""
    return [replace(group, content=[(name, records) for name, records in group.stations]) for group in groups]


def without_layout(frame: bytes) -> bytes:
    """What a worker older than the layout reads in a frame: its groups, which are JSON as they always were."""
    read = exact_json.loads_exactly(frame)
    assert [*read] == ["v", "layout", "groups"]
    old = exact_json.dumps({"v": read["v"], "groups": read["groups"]})
    return exact_json.MARK + old if frame.startswith(exact_json.MARK) else old


@QUICK
@given(st.lists(groups, min_size=1, max_size=3))
def test_station_events_are_read_back_as_they_were_written(written: list[StationGroup]) -> None:
    frame = encoded(*written)
    read = decode_stations(frame).groups
    assert [group.count for group in read] == [len(group.stations) for group in written]
    assert content(read) == written
    assert content(decode_stations(without_layout(frame)).groups) == written


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LATEST = 1763085600.5
RECORDED = (  # by a worker that knew no layout
    b'{"v":1,"groups":[["T_1",["T",0,7],1.5,6.5,"/w==",[["A",[{"stationId":"A","x":1}]],["B",[]]]],[null,["D",1,8],2.5,'
    b'null,null,"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",1763085600.5,[["\xe7\xab\x99",[{"x":2.5},'
    b'{"x":null}]]]]]}'
)
RECORDED_EXACT = b' {"v":1,"groups":[ ["T_2",["T",0,9],1.5,6.5,null,null,3.0,[["A",[{"x":1180591620717411303424}]]]]]}'


def test_frames_that_older_workers_have_written_are_read() -> None:
    assert content(decode_stations(RECORDED).groups) == [
        StationGroup("T_1", Source("T", 0, 7), 1.5, 6.5, b"\xff", [("A", [{"stationId": "A", "x": 1}]), ("B", [])]),
        StationGroup(None, Source("D", 1, 8), 2.5, None, None, [("站", [{"x": 2.5}, {"x": None}])], TRACE, LATEST),
    ]
    assert content(decode_stations(RECORDED_EXACT).groups) == [
        StationGroup("T_2", Source("T", 0, 9), 1.5, 6.5, None, [("A", [{"x": 2**70}])], None, 3.0)
    ]


TWO = (
    StationGroup("T_1", Source("T", 0, 7), 1.5, 6.5, b"\xff", [("A", [{"x": 1}]), ("B", [])]),
    StationGroup("T_2", Source("T", 0, 8), 1.5, 6.5, None, [("A", [])]),
)


def test_a_frame_is_what_the_head_of_the_module_shows() -> None:
    frame = encoded(*TWO)
    assert frame == (
        b'{"v":1,"layout":[[32,2,26],[30,1,10]],"groups":[\n'
        b'["T_1",["T",0,7],1.5,6.5,"/w==",[["A",[{"x":1}]],["B",[]]]],["T_2",["T",0,8],1.5,6.5,null,[["A",[]]]]]}'
    )
    assert frame.decode().replace("\n", "\n    ") in (frames.__doc__ or "")


def test_a_body_is_read_when_its_stations_are_asked_for_and_once() -> None:
    spoilt = encoded(*TWO).replace(b'["A",[{"x":1}]]', b'["A",[{"x":!}]]')
    first, second = decode_stations(spoilt).groups
    assert (first.count, second.count) == (2, 1)
    for _ in range(2):
        with pytest.raises(FrameError, match="not a frame of this application"):
            assert first.stations
    assert [tuple(station) for station in second.stations] == [("A", [])]
    assert second.stations is second.stations


@pytest.mark.parametrize(
    "body",
    [b"[1, 2]", b"null", b'["A","B"]', b'[["A",1]]', b"[[1,[]]]", b'[["A",[]', b'{"A":[]}', b'["ab"]', b" ", b" []]"],
)
def test_a_body_of_another_shape_is_refused_at_its_turn(body: bytes) -> None:
    group = replace(TWO[1], content=[("A", [])])
    (read,) = decode_stations(encode_stations([(encode_group(group), body, 1)])).groups
    with pytest.raises(FrameError, match="not a frame of this application"):
        assert read.stations


def test_a_body_of_another_number_of_stations_is_refused_at_its_turn() -> None:
    frame = encode_stations([(encode_group(TWO[0]), encode_body(TWO[0].stations), 3)])
    (group,) = decode_stations(frame).groups
    with pytest.raises(FrameError, match="a group has 2 stations, and its frame says 3"):
        assert group.stations


@QUICK
@given(st.lists(groups, min_size=1, max_size=3), st.data())
def test_a_frame_of_which_a_byte_has_changed_gives_as_many_stations_as_it_says_or_is_refused(
    written: list[StationGroup], data: st.DataObject
) -> None:
    frame = bytearray(encoded(*written))
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with suppress(FrameError):
        for group in decode_stations(bytes(frame)).groups:
            with suppress(FrameError):
                assert [type(station_id) for station_id, _ in group.stations] == [str] * group.count


@pytest.mark.parametrize("cut", [1, 2, 3, 20, 90])
def test_a_frame_that_ends_early_or_goes_on_is_refused(cut: int) -> None:
    frame = encoded(*TWO)
    for value in (frame[:-cut], frame + b" " * cut, frame + b"\n" * cut):
        with pytest.raises(FrameError):
            decode_stations(value)


@pytest.mark.parametrize(
    "layout",
    [
        [[32, 2, 26]],
        [[32, 2, 26], [30, 1, 10], [30, 1, 10]],
        [[32, 2, 26], [30, 0, 10]],
        [[32, 2, 26], [30, True, 10]],
        [[32, 2, 26], [30, 1.0, 10]],
        [[32, 2, 26], [30, 1]],
        [[32, 2, 26], [31, 1, 9]],
        [[32, 2, 59], [30, 1, -23]],
        [[33, 2, 25], [30, 1, 10]],
        [[32, 2, 26], "abc"],
        5,
        {"a": 1},
    ],
)
def test_a_layout_that_is_not_that_of_the_groups_is_refused(layout: object) -> None:
    frame = encoded(*TWO).replace(b"[[32,2,26],[30,1,10]]", orjson.dumps(layout))
    with pytest.raises(FrameError):
        assert [group.stations for group in decode_stations(frame).groups]


keys = st.binary(max_size=5)
places = st.builds(Place, st.integers(0, 9), st.integers(0, 9), times)
updates = st.builds(
    ContextUpdate, texts, places, st.none() | keys, texts, st.none() | st.integers(-(2**40), 2**40), st.just([{"n": 1}])
)
tombstones = st.builds(Tombstone, texts, places, keys, st.none() | texts)


@QUICK
@given(st.lists(updates | tombstones, max_size=5))
def test_context_is_read_back_as_it_was_written(written: list[ContextEvent]) -> None:
    frame = encode_context(
        [
            (
                encode_context_head(event.topic, event.place, event.key),
                encode_tombstone(event.station_id) if isinstance(event, Tombstone) else encode_update(event),
                1,
            )
            for event in written
        ]
    )
    assert decode_stations(frame) == StationFrame([], written)


@pytest.mark.parametrize(
    "group",
    [
        None,
        ["t", [0, 1], None, []],
        ["t", [0, "1", 1.0], None, []],
        ["t", [0, 1, "1"], None, []],
        [5, [0, 1, 1.0], None, [["A", None, []]]],
        ["t", [0, 1, 1.0], 5, [["A", None, []]]],
        ["t", [0, 1, 1.0], None, [["A"]]],
        ["t", [0, 1, 1.0], "YQ==", [[5]]],
        ["t", [0, 1, 1.0], None, [[None, None, [{}]]]],
        ["t", [0, 1, 1.0], None, [["A", 1.5, [{}]]]],
        ["t", [0, 1, 1.0], None, [["A", None, [1]]]],
        ["t", [0, 1, 1.0], None, [["A", None]]],
    ],
)
def test_context_of_another_shape_is_refused(group: object) -> None:
    with pytest.raises(FrameError):
        decode_stations(orjson.dumps({"v": 1, "groups": [], "context": [group]}))


decoders: list[Callable[[bytes | None], Any]] = [decode_events, decode_stations]


@pytest.mark.parametrize("decode", decoders)
@given(
    value=st.none()
    | st.binary(max_size=30)
    | st.recursive(scalars | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=5).map(
        orjson.dumps
    )
)
@example(b'{"v":null}')
@example(b'{"v":0}')
@settings(max_examples=150)
def test_foreign_bytes_are_no_frame_and_nothing_else(
    decode: Callable[[bytes | None], Any], value: bytes | None
) -> None:
    # A number under `v` may be that of a later format.
    with pytest.raises((FrameError, NewerFormatError), match=r"not a frame of this application|newer version"):
        decode(value)


def broken(event: BatchEvent, index: int, value: object) -> bytes:
    """A frame with one event of which one field is something else."""
    frame = orjson.loads(encode_events([event]))
    frame["events"][0][index] = value
    return orjson.dumps(frame)


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, [1], [[]], ["A", 1]])
@pytest.mark.parametrize(
    ("event", "index"),
    [(arrived("ABC", "rfe"), index) for index in range(8)]
    + [(open_("AB"), index) for index in range(6)]
    + [(expire(), index) for index in range(4)]
    + [(command("extend", seconds=1.5), index) for index in range(6)],
)
def test_a_frame_with_anything_at_a_wrong_place_is_refused(event: BatchEvent, index: int, value: object) -> None:
    right = orjson.loads(encode_events([event]))["events"][0][index]
    if isinstance(right, str) and (index == 1 or (isinstance(event, Command) and index == 4)):
        lawful = isinstance(value, str)
    elif isinstance(right, float):
        lawful = isinstance(value, int)
    else:
        lawful = (isinstance(event, Open) and index == 5 and value == []) or (index == 7 and value == {})
    if not lawful:
        with pytest.raises(FrameError):
            decode_events(broken(event, index, value))


def test_a_trace_takes_no_byte_where_there_is_none_and_nothing_else_passes_for_one() -> None:
    trace = f"00-{'1' * 32}-{'2' * 16}-01"
    for event in (open_("AB"), arrived("AB")):
        plain = orjson.loads(encode_events([event]))["events"][0]
        traced = orjson.loads(encode_events([replace(event, trace=trace)]))["events"][0]
        assert traced == [*plain, trace]
        with pytest.raises(FrameError, match="is no trace context"):
            decode_events(orjson.dumps({"v": 1, "events": [[*plain, "x"]]}))


def test_lists_that_do_not_run_in_parallel_are_refused() -> None:
    for index, value in ((4, ["A"]), (5, "r"), (5, "rx"), (6, ["1"])):
        with pytest.raises(FrameError, match="parallel"):
            decode_events(broken(arrived("AB"), index, value))


@pytest.mark.parametrize(
    "group",
    [
        None,
        [],
        ["b", ["t", 0, 1], 1.0, 2.0, None],
        ["b", ["t", 0], 1.0, 2.0, None, []],
        ["b", ["t", 0, 1], "1", 2.0, None, []],
        ["b", ["t", 0, 1], 1.0, 2.0, 5, []],
        ["b", ["t", 0, 1], 1.0, 2.0, "a", []],
        ["b", ["t", 0, 1], 1.0, 2.0, None, ["A"]],
        ["b", ["t", 0, 1], 1.0, 2.0, None, [["A"]]],
        ["b", ["t", 0, 1], 1.0, 2.0, None, [[1, []]]],
        ["b", ["t", 0, 1], 1.0, 2.0, None, [["A", {}]]],
        ["b", ["t", 0, 1], 1.0, 2.0, None, "00-no-trace-01", []],
        ["b", ["t", 0, 1], 1.0, 2.0, None, "", []],
        ["b", ["t", 0, 1], 1.0, None, None, []],
        [None, ["t", 0, 1], 1.0, 2.0, None, []],
        ["b", ["t", 0, 1, 2], 1.0, 2.0, None, []],
        ["b", ["t", "0", 1], 1.0, 2.0, None, []],
        ["b", "t01", 1.0, 2.0, None, []],
        ["b", ["t", 0, 1], 1.0, 2.0, None, [["A", [], []]]],
        ["b", ["t", 0, 1], 1.0, 2.0, None, "ab"],
    ],
)
def test_station_events_of_another_shape_are_refused(group: object) -> None:
    good = ["b", ["t", 0, 0], 1.0, 2.0, None, [["A", []]]]
    for groups in ([group], [good, group], [group, good]):
        with pytest.raises(FrameError):
            decode_stations(orjson.dumps({"v": 1, "groups": groups}))


def test_an_unknown_kind_of_event_is_named() -> None:
    with pytest.raises(FrameError, match="unknown kind of batch event 'extend'"):
        decode_events(b'{"v":1,"events":[["extend","b",1.0]]}')


@pytest.mark.parametrize("decode", decoders)
def test_a_newer_version_is_named(decode: Callable[[bytes | None], Any]) -> None:
    with pytest.raises(NewerFormatError, match="format version 2, and this program reads 1"):
        decode(b'{"v":2}')


# -- packing -----------------------------------------------------------------------------------------------------------


def head(message: int) -> bytes:
    return encode_group(StationGroup(f"b{message}", source(message), 1.0, 2.0, None, ()))


def body(first: int, size: int = 0, stations: int = 1) -> bytes:
    return encode_body([(str(number), [{"x": "x" * size}]) for number in range(first, first + stations)])


def ids(value: bytes | None) -> list[tuple[str | None, str]]:
    """Batch and station of each event of a frame."""
    return [(group.batch_id, station_id) for group in decode_stations(value).groups for station_id, _ in group.stations]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(1, 300)), max_size=30))
def test_each_partitions_events_are_all_there_in_their_order(added: list[tuple[int, int, int]]) -> None:
    packer = StationPacker("station-events")
    heads = [head(message) for message in range(4)]
    expected: dict[int, list[tuple[str | None, str]]] = {}
    for number, (partition, message, count) in enumerate(added):
        packer.add(partition, heads[message], body(1000 * number, stations=count), count)
        named = [(f"b{message}", str(1000 * number + index)) for index in range(count)]
        expected.setdefault(partition, []).extend(named)
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
        packer.add(0, shared, body(number))
    assert [len(ids(frame.value)) for frame in packer.take()] == [FRAME_EVENTS, FRAME_EVENTS, 1]


def test_a_frame_is_full_at_its_bytes() -> None:
    packer = StationPacker("t")
    shared = head(0)
    for number in range(9):
        packer.add(0, shared, body(number, FRAME_BYTES // 5))
    frames = packer.take()
    assert [len(ids(frame.value)) for frame in frames] == [4, 4, 1]
    assert max(len(frame.value or b"") for frame in frames) < FRAME_BYTES


def test_a_station_that_is_larger_than_a_frame_has_one_of_its_own() -> None:
    packer = StationPacker("t")
    packer.add(0, head(1), body(0))
    packer.add(0, head(0), body(1, 3 * FRAME_BYTES))
    packer.add(0, head(1), body(2))
    assert [ids(frame.value) for frame in packer.take()] == [[("b1", "0")], [("b0", "1")], [("b1", "2")]]


def test_batch_events_are_packed_by_number() -> None:
    events = [Expire(f"b{n}", float(n), float(n)) for n in range(FRAME_EVENTS + 5)]
    frames = event_frames("batch-events", 3, events)
    assert [(frame.topic, frame.partition) for frame in frames] == [("batch-events", 3)] * 2
    assert [event for frame in frames for event in decode_events(frame.value)] == events
    assert len(decode_events(frames[0].value)) == FRAME_EVENTS
    assert event_frames("batch-events", 3, []) == []


@pytest.mark.parametrize("trace", [None, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"])
@pytest.mark.parametrize("latest", [None, 1763085600.5, 0])
def test_the_latest_usable_time_of_a_message_travels_where_it_matters(trace: str | None, latest: float | None) -> None:
    group = StationGroup("T_1", Source("T", 0, 7), 1.0, 2.0, None, [("A", [{"x": 1}])], trace, latest)
    frame = encoded(group)
    (read,) = decode_stations(frame).groups
    assert [list(read.stations[0]), read.trace, read.latest] == [["A", [{"x": 1}]], trace, latest]
    assert (b"null" in frame.partition(b"null")[2]) == (trace is None and latest is not None)


@pytest.mark.parametrize("fields", [5, 9])
def test_a_group_of_too_few_fields_or_too_many_is_no_frame_of_ours(fields: int) -> None:
    group = ["T_1", ["T", 0, 7], 1.0, 2.0, None, None, None, None][: fields - 1]
    with pytest.raises(FrameError, match="a group of other fields"):
        decode_stations(orjson.dumps({"v": 1, "groups": [[*group, []]]}))


def test_events_with_numbers_of_any_size_are_read_as_they_were_written_and_only_their_frames_are_marked() -> None:
    head = encode_group(StationGroup("T_1", Source("T", 0, 7), 1.0, 2.0, None, ()))
    packer = StationPacker("events")
    for partition, number in ((0, 2**70), (1, 2)):
        packer.add(partition, head, encode_body([("A", [{"x": 1}])]))
        packer.add(partition, head, encode_body([("B", [{"x": number}])]))
    marked, unmarked = (message.value or b"" for message in packer.take())
    assert (marked[:1], unmarked[:1]) == (b" ", b"{")
    for frame in (marked, without_layout(marked)):
        read = [station[1] for one in decode_stations(frame).groups for station in one.stations]
        assert read == [[{"x": 1}], [{"x": 2**70}]]
