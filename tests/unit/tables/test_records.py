"""The stored records: what is written is read back, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.context import decode_entry, encode_entry
from tables.model.enums import Action, CompletedBy, LatePolicy, State, Status
from tables.model.events import Extension, Group, Operator, Position, Segment, Source, SourceState
from tables.storage.decided import undone_of, write_of
from tables.storage.records import (
    Counts,
    Destination,
    Header,
    Prepared,
    RecordKind,
    Revision,
    UnreadableRecordError,
    batch_of_key,
    decode_header,
    decode_revision,
    decode_segment,
    encode_segment,
    kind_of,
    revision_key,
    segment_key,
)
from tests.builders import record_bytes

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
offsets = st.integers(0, 2**63 - 1)
times = st.floats(0, 4e9)
batch_ids = st.from_regex(r"[A-Za-z0-9._:-]{1,40}", fullmatch=True)
sources = st.builds(Source, texts, st.integers(0, 500), offsets)
positions = st.builds(Position, offsets, st.integers(0, 1000))
QUICK = settings(max_examples=60)


@st.composite
def groups(draw: st.DrawFn) -> Group:
    """Draw outcomes of any stations."""
    stations = draw(st.lists(texts, min_size=1, max_size=5, unique=True))
    codes = draw(st.text("refs", min_size=len(stations), max_size=len(stations)))
    values = draw(st.lists(st.none() | texts, min_size=len(stations), max_size=len(stations)))
    return Group(draw(positions), draw(sources), stations, codes, values, draw(times))


@st.composite
def source_states(draw: st.DrawFn) -> SourceState:
    """Draw a source message of a closed batch."""
    stations = draw(st.lists(texts, min_size=1, max_size=5, unique=True))
    codes = draw(st.text("refs-", min_size=len(stations), max_size=len(stations)))
    place, timeout, trace = draw(positions), draw(st.none() | times), draw(st.none() | texts)
    return SourceState(draw(sources), draw(times), draw(times), tuple(stations), place, codes, timeout, trace)


counts = st.builds(Counts, *[st.integers(0, 10_000)] * 4)
destinations = st.builds(Destination, texts, st.integers(0, 500))
answers = st.none() | st.builds(Prepared, st.none() | texts, st.none() | texts)
headers = st.builds(
    Header,
    batch_ids,
    st.sampled_from(State),
    st.sampled_from(Status),
    st.sampled_from(CompletedBy),
    st.sampled_from(LatePolicy),
    *[times] * 3,
    counts,
    st.lists(source_states(), min_size=1, max_size=3).map(tuple),
    st.dictionaries(texts, texts, max_size=3),
    destinations,
    st.lists(groups(), max_size=3).map(tuple),
    answers,
    st.none() | st.builds(Operator, st.sampled_from(Action), texts, times),
    st.none() | times,
)
revisions = st.builds(
    Revision,
    batch_ids,
    st.integers(2, 99),
    st.sampled_from(State),
    st.sampled_from(Status),
    times,
    counts,
    positions,
    destinations,
    answers,
)
extensions = st.builds(Extension, positions, times, times, texts, times)


@QUICK
@given(headers)
def test_a_header_is_read_back_as_it_was_record_bytes(header: Header) -> None:
    assert decode_header(header.batch_id.encode(), record_bytes(header)) == header


@QUICK
@given(headers)
def test_a_record_that_was_read_is_written_as_it_was(header: Header) -> None:
    stored = record_bytes(header)
    assert record_bytes(decode_header(header.batch_id.encode(), stored)) == stored


@QUICK
@given(headers)
def test_a_header_whose_output_is_out_is_the_same_without_what_only_that_needed(header: Header) -> None:
    kept = header.tail if header.late_policy is LatePolicy.REVISE else ()
    closed = decode_header(header.batch_id.encode(), record_bytes(header, closed=True))
    assert closed == replace(header, state=State.CLOSED, prepared=None, tail=kept)


@QUICK
@given(headers, answers, destinations)
def test_a_step_of_the_outbox_changes_nothing_else(header: Header, answer: Prepared, place: Destination) -> None:
    state = State.PREPARED
    value = write_of(replace(undone_of(header), state=state, prepared=answer, destination=place)).value or b""
    changed = replace(header, state=state, prepared=answer, destination=place)
    assert decode_header(header.batch_id.encode(), value) == changed


@QUICK
@given(revisions)
def test_a_revision_is_read_back_as_it_was_record_bytes(revision: Revision) -> None:
    assert decode_revision(revision_key(revision.batch_id, revision.number), record_bytes(revision)) == revision


@QUICK
@given(st.lists(source_states(), max_size=3), st.lists(groups(), max_size=3), st.lists(extensions, max_size=2))
def test_a_segment_is_read_back_as_it_was_record_bytes(
    opened: list[SourceState], came: list[Group], moved: list[Extension]
) -> None:
    opened = [replace(source, codes="") for source in opened]
    segment = decode_segment(b"b#1.0-0.0", encode_segment(Segment(False, opened, came, moved)))
    assert segment == Segment(False, opened, came, moved)


@QUICK
@given(batch_ids, st.lists(groups(), min_size=1, max_size=3), st.booleans())
def test_a_segments_key_tells_batch_place_and_lateness(batch_id: str, came: list[Group], late: bool) -> None:
    key = segment_key(batch_id, Segment(late, groups=came))
    assert (batch_of_key(key), kind_of(key)) == (batch_id, RecordKind.LATE if late else RecordKind.EARLY)
    assert decode_segment(key, encode_segment(Segment(groups=came))).late is late
    assert (batch_of_key(batch_id.encode()), kind_of(batch_id.encode())) == (batch_id, RecordKind.HEADER)
    key = revision_key(batch_id, 12)
    assert (batch_of_key(key), kind_of(key)) == (batch_id, RecordKind.REVISION)


def test_segments_of_chunks_that_begin_together_and_end_apart_have_their_own_keys() -> None:
    places = [Position(7, 0), Position(7, 1), Position(9, 0)]
    one, two, three = (Group(place, Source("t", 0, 1), ["A"], "r", ["1"]) for place in places)
    source = SourceState(Source("t", 0, 1), 1.0, 2.0, ("A",), Position(6, 0))
    cuts: list[tuple[list[SourceState], list[Group]]] = [
        ([source], []),
        ([source], [one]),
        ([], [one]),
        ([], [one, two]),
        ([], [one, two, three]),
        ([], [two, three]),
        ([], [two]),
    ]
    assert len({segment_key("b", Segment(late, *cut)) for cut in cuts for late in (False, True)}) == 14


@settings(max_examples=200)
@given(
    st.binary(max_size=30)
    | st.recursive(st.none() | st.integers() | texts, st.lists, max_leaves=5).map(repr).map(str.encode)
)
def test_foreign_bytes_are_unreadable_and_nothing_else(value: bytes) -> None:
    with pytest.raises(UnreadableRecordError, match="key b'some#key' is not one of ours"):
        decode_header(b"some#key", value)
    with pytest.raises(UnreadableRecordError, match="key b'some#key' is not one of ours"):
        decode_segment(b"some#key", value)
    with pytest.raises(UnreadableRecordError, match="key b'some#key' is not one of ours"):
        decode_revision(b"some#key", value)


@pytest.mark.parametrize(
    "value",
    [
        b'{"v":1}',
        b'{"v":1,"sources":1,"groups":[]}',
        b'{"v":1,"sources":[],"groups":[[1]]}',
        b'{"v":1,"sources":[],"groups":[[[1,2],["t",0,1],["A"],"rr",["1"]]]}',
        b'{"v":1,"sources":[[[1,2],["t",0,1],1.0,2.0,["A"],"rr"]],"groups":[]}',
        b'{"v":1,"sources":[[[1,2],["t",0],1.0,2.0,["A"],""]],"groups":[]}',
        b'{"v":1,"id":"b","state":"nowhere"}',
    ],
)
def test_records_of_another_shape_are_unreadable(value: bytes) -> None:
    with pytest.raises(UnreadableRecordError):
        decode_header(b"b", value)
    with pytest.raises(UnreadableRecordError):
        decode_segment(b"b#1", value)
    with pytest.raises(UnreadableRecordError):
        decode_revision(b"b#r2", value)


def test_a_newer_version_is_named() -> None:
    for decode in (decode_header, decode_segment, decode_revision):
        with pytest.raises(UnreadableRecordError, match=r"key b'b' can't be read: it has format version 2, and this"):
            decode(b"b", b'{"v":2}')


def test_an_empty_segment_is_read_back_as_one() -> None:
    assert decode_segment(b"b#1", encode_segment(Segment())) == Segment()


GROUP = [[2, 0], ["T", 0, 7], ["A"], "r", ["1"], 101.0]
SOURCE = [[1, 0], ["T", 0, 7], 100.0, 105.0, ["A", "B"], "r-", 5.0, "trace"]
DECIDED = {
    "v": 1,
    "id": "b",
    "state": "closing",
    "status": "partial",
    "closed_at": 105.1,
    "counts": [2, 1, 0, 0],
    "destination": ["OUT", 3],
    "prepared": ["x", "error"],
}
HEADER = {
    **DECIDED,
    "completed_by": "timeout",
    "late_policy": "revise",
    "opened_at": 100.0,
    "deadline": 105.0,
    "sources": [SOURCE],
    "errors": {"B": "ValueError"},
    "tail": [GROUP],
    "operator": ["extend", "ops", 102.0],
    "arrived_at": 101.0,
    "extensions": [[102.0, "ops", 5.0]],
}
REVISION = {**DECIDED, "revision": 2, "position": [3, 0]}
SEGMENT = {"v": 1, "sources": [SOURCE], "groups": [GROUP], "extensions": [[[3, 0], 110.0, 102.0, "ops", 5.0]]}
ENTRY = {"v": 1, "time": 100, "key": "aw==", "parts": [[[0, 7, 1.5], [{"temp": 1}]]]}


def changed(value: Any) -> Iterator[Any]:
    """The value with something of another type in one place, for each place."""
    yield from ([], {}, True, "\x00", -1.5, None, [[]])
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from ([*value[:index], other, *value[index + 1 :]] for other in changed(item))
    if isinstance(value, dict):
        for name, item in value.items():
            yield from ({**value, name: other} for other in changed(item))


@pytest.mark.parametrize(
    ("key", "record", "decode", "encode"),
    [
        (b"b", HEADER, decode_header, record_bytes),
        (b"b#r2", REVISION, decode_revision, record_bytes),
        (b"b#1.0-0.0", SEGMENT, decode_segment, encode_segment),
        (b"T#A", ENTRY, decode_entry, encode_entry),
    ],
)
def test_a_value_of_another_type_anywhere_makes_a_record_unreadable(
    key: bytes, record: Any, decode: Callable[[bytes, bytes], Any], encode: Callable[[Any], bytes]
) -> None:
    right = orjson.dumps(record)
    assert orjson.loads(encode(decode(key, right))) == record
    refused = 0
    for other in map(orjson.dumps, changed(record)):
        try:
            read = decode(key, other)
        except UnreadableRecordError:
            refused += 1
        else:  # a value that may be missing, or any JSON
            assert decode(key, encode(read)) == read
    assert refused > 30


def test_a_record_under_the_key_of_another_batch_is_unreadable() -> None:
    for key, record, decode in ((b"c", HEADER, decode_header), (b"c#r2", REVISION, decode_revision)):
        with pytest.raises(UnreadableRecordError, match="it is of batch 'b'"):
            decode(key, orjson.dumps(record))
    with pytest.raises(UnreadableRecordError, match="a batch without a message"):
        decode_header(b"b", orjson.dumps({**HEADER, "sources": []}))
    with pytest.raises(UnreadableRecordError, match="a message without its outcomes"):
        decode_header(b"b", orjson.dumps({**HEADER, "sources": [[*SOURCE[:5], "", *SOURCE[6:]]]}))
