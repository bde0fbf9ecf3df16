"""Messages that are read in pieces: all that is read is what the whole has, or the whole is asked for."""

from __future__ import annotations

import json
import sys
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.inputs.grouping import STATION_ID_KEYS, BadMessage, Limits, SourceBatch
from app.inputs.pieces import NotCutError, batches_of
from app.inputs.source_message import all_envelope_keys, parse_message
from app.messages.frames import FRAME_BYTES
from app.messages.partitioner import Partitioner
from app.pipeline.splitting.station_writer import PieceWriter, StationWriter, TooDeepError, WrittenStations
from app.settings.types import LARGEST_RECORD
from tables.storage import exact_json

UTC = ZoneInfo("UTC")
KEYS = all_envelope_keys("T", ("data",))
LATEST = 1763085600.0 + 86400
PARTITION_OF = Partitioner(3)


def pieces(value: bytes, size: int = 20, limits: Limits | None = None) -> list[SourceBatch]:
    more = {} if limits is None else {"limits": limits}
    return list(batches_of(value, KEYS, UTC, STATION_ID_KEYS, latest=LATEST, piece_bytes=size, **more))


def by_pieces(
    value: bytes, size: int = 20, *, stations: int = sys.maxsize, record_bytes: int = LARGEST_RECORD
) -> tuple[SourceBatch, WrittenStations]:
    writer = PieceWriter(StationWriter(PARTITION_OF, record_bytes), PARTITION_OF, stations)
    for batch in pieces(value, size):
        writer.add(batch)
    rest, written = writer.rest()
    for _ in writer.write(written):
        pass
    return rest, written


def whole(value: bytes) -> SourceBatch:
    return parse_message(value, topic="T", envelope_keys=("data",), timezone=UTC, latest=LATEST)


def read(written: WrittenStations) -> dict[str, Any]:
    """Stations with their records; each is in its partition's bodies, in the order of the message."""
    found: dict[str, Any] = {}
    for body in written.bodies:
        stations = exact_json.loads_marked(body.data)
        assert len(stations) == body.stations
        assert {PARTITION_OF(station_id) for station_id, _ in stations} == {body.partition}
        for station_id, records in stations:
            assert station_id not in found
            found[station_id] = records
    for partition in range(3):
        mine = [station_id for station_id in written.ids if PARTITION_OF(station_id) == partition]
        assert [station_id for station_id in found if PARTITION_OF(station_id) == partition] == mine
    return found


def assert_the_same(value: bytes, size: int) -> None:
    """What pieces make of a message is what the whole makes of it, or nothing."""
    try:
        rest, written = by_pieces(value, size)
    except (NotCutError, TooDeepError):
        return
    batch = whole(value)
    assert (rest.timestamp, rest.rejects, rest.unusable) == (batch.timestamp, batch.rejects, batch.unusable)
    assert written.ids == tuple(batch.stations)
    assert read(written) == batch.stations
    assert written.refused == []


ids = st.sampled_from(["A", "B", "C", "站", '},{"stationId":', 7])
texts = st.sampled_from(["x", '},{"stationId":"A"', '"],"T":[{"stationId":"B"}', "\\", '"', "]}"])
scalars = st.none() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | texts | st.just(2**70)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=5
)
times = st.sampled_from(["2025-11-14 10:00:00", "2025-11-14 11:00:00", 1763085600, "never", 4e9, None])
plain = st.fixed_dictionaries({"stationId": ids, "sendTime": st.just("2025-11-14 10:00:00"), "x": values})
odd = st.dictionaries(st.sampled_from(["stationId", "sendTime", "hostCode", "x"]), ids | times | values, max_size=4)
lists = st.lists(plain | plain | plain | odd | scalars, max_size=12)
messages = (
    lists
    | st.builds(lambda key, records: {key: records}, st.sampled_from(["T", "realTimeData", "data", "else"]), lists)
    | st.builds(lambda one, two: {"T": one, "realTimeData": two}, lists, lists)
    | plain
)


@settings(max_examples=400, deadline=None)
@given(messages, st.sampled_from([None, 0, 2]), st.sampled_from([1, 15, 60, 200]))
def test_pieces_have_what_the_whole_has(message: object, indent: int | None, size: int) -> None:
    value = json.dumps(message, indent=indent, ensure_ascii=False, separators=(",", ":") if indent is None else None)
    assert_the_same(value.encode(), size)


@settings(max_examples=400, deadline=None)
@given(st.lists(plain, min_size=2, max_size=8), st.data(), st.sampled_from([1, 15, 60]))
def test_no_message_with_a_byte_that_is_another_is_read_otherwise_than_as_a_whole(
    records: list[Any], data: st.DataObject, size: int
) -> None:
    value = bytearray(json.dumps({"T": records}).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(value) - 1))
        value[at : at + data.draw(st.integers(0, 2))] = data.draw(st.sampled_from(b'{}[]",: 1\\\xe7')).to_bytes()
    try:
        whole(bytes(value))
    except BadMessage:
        with pytest.raises((NotCutError, TooDeepError)):
            by_pieces(bytes(value), size)
    else:
        assert_the_same(bytes(value), size)


A, B = '{"stationId":"A","sendTime":1763085600}', '{"stationId":"B","sendTime":1763085600}'


@pytest.mark.parametrize(
    "value",
    [
        f'{{"T":[{A},{B}],"T":[{B},{A}]}}',
        f'{{"T":[{A},{B}],"data":[{B},{A}]}}',
        f'{{"data":[{A},{B}],"T":[{B},{A}]}}',
        f'{{"data":[{A},{B}],"other":[{B},{A}]}}',
        f'{{"other":[{A},{B}]}}',
        f"[{A},{B}],[{B},{A}]",
        f'{{"T":[{A},{B}]],"T":[[{B},{A}]}}',
        f'{{"T":[{A},{B}],[{B},{A}]}}',
        f'{{"T":[[{A},{B}],[{B},{A}]]}}',
        f"[{A},{B},]",
        f"[{A},,{B}]",
        f"[{A},{B}",
        f'{{"T":[{A},{B}]',
        f'{{"T":[{A},{B}}}',
        f"[{A},{B}]x",
        f"\ufeff[{A},{B}]",
        f'{{"\\u0054":[{A},{B}]}}',
        f"{A}",
        "[]",
        "[5,6]",
        "",
        f'[{A},{{"stationId":"A"}}]',
        f'[{A},{{"stationId":"A","sendTime":"never"}}]',
    ],
)
def test_what_pieces_cannot_tell_for_certain_is_left_to_the_whole(value: str) -> None:
    for size in (1, 45, 1000):
        with pytest.raises(NotCutError):
            by_pieces(value.encode(), size)


@pytest.mark.parametrize("form", ["[%b]", '{"T":[%b]}', ' {\n"realTimeData" :\t[ %b ]\r\n } ', "\n[%b]\n"])
@pytest.mark.parametrize("between", [b",", b", ", b"\n,\n "])
@pytest.mark.parametrize("number", [b"5", b"123456789012345678901234567890", b"1.12345678901234567890"])
def test_what_the_plants_send_is_read_in_pieces(form: str, between: bytes, number: bytes) -> None:
    records = [
        b'{"stationId":"%d","sendTime":1763085600,"hostCode":%b,"guns":[{"no":1},{"no":2}],"x":"},{\\"stationId\\":"}'
        % (index % 7, number)
        for index in range(100)
    ]
    value = form.encode() % between.join(records)
    assert len(pieces(value, 400)) > 20
    assert_the_same(value, 400)
    rest, written = by_pieces(value, 400)
    assert (rest.exact, written.bodies[0].data[:1]) == ((False, b"[") if len(number) == 1 else (True, b" "))


def test_a_record_that_is_larger_than_a_piece_is_a_piece() -> None:
    value = b"[%b]" % b",".join(b'{"stationId":"A","sendTime":1,"x":"%b"}' % (b"x" * size) for size in (0, 900, 5, 900))
    assert [len(batch.stations["A"]) for batch in pieces(value, 500)] == [2, 2]
    assert_the_same(value, 500)


def test_stations_are_packed_within_the_bounds_of_a_frame() -> None:
    records = [{"stationId": str(index), "sendTime": 1763085600, "x": "x" * 50_000} for index in range(60)] * 2
    _, written = by_pieces(orjson.dumps(records), 300_000)
    assert sum(body.stations for body in written.bodies) == 60
    assert max(len(body.data) for body in written.bodies) <= FRAME_BYTES
    assert len(written.bodies) <= 2 * 6_000_000 / FRAME_BYTES + 3


@pytest.mark.parametrize("limits", [{"stations": 2}, {"rejects": 1}])
def test_too_many_stations_or_rejects_are_left_to_the_whole(
    limits: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.pipeline.splitting.station_writer.MOST_REJECTS", limits.get("rejects", 10))
    names = "ABC" if "stations" in limits else "A"
    value = orjson.dumps([*({"stationId": name, "sendTime": 1763085600} for name in names), {"x": 1}, {"x": 2}])
    for size in (1, 1000):
        with pytest.raises(NotCutError, match="too many"):
            by_pieces(value, size, stations=limits.get("stations", 10))
    monkeypatch.undo()
    assert len(by_pieces(value)[0].rejects) == 2


def test_a_station_with_too_large_a_record_is_refused_alone() -> None:
    records = [{"stationId": name, "x": "x" * size} for name, size in (("A", 900), ("B", 1100), ("A", 900), ("B", 1))]
    _, written = by_pieces(orjson.dumps(records), 1, record_bytes=1024)
    assert [station.station_id for station in written.refused] == ["B"]
    assert "AGG_MAX_RECORD_BYTES" in written.refused[0].error
    assert orjson.loads(written.refused[0].data) == ["B", [records[1], records[3]]]
    assert read(WrittenStations(("A",), written.bodies)) == {"A": [records[0], records[2]]}
    assert written.ids == ("A", "B")


@pytest.mark.parametrize("form", ["[%b]", '{"T":[%b]}'])
@pytest.mark.parametrize("levels", range(242, 249))
@pytest.mark.parametrize("station", ["stationId", "nobody"])
def test_what_is_nested_too_deeply_is_never_taken(form: str, levels: int, station: str) -> None:
    inner = b"[" * (levels - 1) + b"]" * (levels - 1)
    deep = b'{"stationId":"A","sendTime":1763085600},{"%b":"A","sendTime":1763085600,"a":%b}' % (
        station.encode(),
        inner,
    )
    value = form.encode() % deep
    try:
        whole(value)
    except BadMessage:
        with pytest.raises((NotCutError, TooDeepError)):
            by_pieces(value, 1)
    else:
        assert_the_same(value, 1)
