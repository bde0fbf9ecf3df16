"""Messages that are read in pieces: all that is read is what the whole has, or the whole is asked for."""

from __future__ import annotations

import json
import re
import sys
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inputs.grouping import STATION_ID_KEYS, BadMessage, Limits, SourceBatch, TooDeepError
from app.inputs.pieces import NotCutError, read_in_pieces
from app.inputs.records import Piece
from app.inputs.source_message import all_envelope_keys, parse_message
from app.messages.frames import FRAME_BYTES
from app.messages.partitioner import Partitioner
from app.pipeline.splitting.station_writer import PieceWriter, StationWriter, WrittenStations
from app.settings.types import LARGEST_RECORD
from tables.storage import exact_json
from tests.examples import examples

UTC = ZoneInfo("UTC")
KEYS = all_envelope_keys("T", ("data",))
LATEST = 1763085600.0 + 86400
PARTITION_OF = Partitioner(3)


def pieces(value: bytes, size: int = 20) -> list[Piece]:
    return list(read_in_pieces(value, KEYS, UTC, STATION_ID_KEYS, latest=LATEST, piece_bytes=size))


def by_pieces(
    value: bytes, size: int = 20, *, stations: int = sys.maxsize, record_bytes: int = LARGEST_RECORD
) -> tuple[SourceBatch, WrittenStations]:
    writer = PieceWriter(StationWriter(PARTITION_OF, record_bytes), PARTITION_OF, stations)
    for piece in pieces(value, size):
        writer.add(piece)
    for _ in writer.settle():
        pass
    rest, written = writer.rest()
    for _ in writer.write(written):
        pass
    return rest, written


def whole(value: bytes, stations: int = sys.maxsize) -> SourceBatch:
    limits = Limits(stations)
    return parse_message(value, topic="T", envelope_keys=("data",), timezone=UTC, latest=LATEST, limits=limits)


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
    | st.builds(lambda one, two, three: {"a": one, "T": two, "b": three}, values, lists, values)
    | plain
)


@examples(400)
@given(messages, st.sampled_from([None, 0, 2]), st.sampled_from([1, 15, 60, 200]))
def test_pieces_have_what_the_whole_has(message: object, indent: int | None, size: int) -> None:
    value = json.dumps(message, indent=indent, ensure_ascii=False, separators=(",", ":") if indent is None else None)
    assert_the_same(value.encode(), size)


@examples(400)
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
        f'{{"other":[{A},{B}]}}',
        f'{{"other":{{"T":[{A},{B}]}},"x":1}}',
        f'{{"other":{{"T":[{A},{B}]}},"T":1}}',
        f'{{"other":{{"T":[{A},{B}]}},"T":2}}',
        f'{{"data":[{A},{B}],"T":[{B},{A}]}}',
        f'{{"data":[{A},{B}],"other":{"[" * 300 + "]" * 300}}}',
        f"[{A},{B}],[{B},{A}]",
        f'{{"T":[{A},{B}]],"T":[[{B},{A}]}}',
        f'{{"T":[{A},{B}],[{B},{A}]}}',
        f'{{"T":[[{A},{B}],[{B},{A}]]}}',
        f"[{A},{B},]",
        f"[{A},,{B}]",
        f"[{A},{B}5]",
        f"[{A}{B}]",
        f'{{"T":[{A},{B}5],"x":[]}}',
        f'{{"T":[{A},{B}"x"],"x":[]}}',
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
        f"[{A}\0{B}]",
        f"[{A}}},{{{B}]",
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
    value = b"[%b]" % b",".join(
        b'{"stationId":"A","sendTime":1763085600,"x":"%b"}' % (b"x" * size) for size in (0, 900, 5, 900)
    )
    assert [len(piece.stations["A"]) for piece in pieces(value, 500)] == [2, 2]
    assert_the_same(value, 500)


def test_stations_are_packed_within_the_bounds_of_a_frame() -> None:
    records = [{"stationId": str(index), "sendTime": 1763085600, "x": "x" * 50_000} for index in range(60)] * 2
    _, written = by_pieces(orjson.dumps(records), 300_000)
    assert sum(body.stations for body in written.bodies) == 60
    assert all(len(body.data) <= FRAME_BYTES or body.stations == 1 for body in written.bodies)


@pytest.mark.parametrize(
    "value",
    [
        f'{{"T":[{B},{A},{A}],"data":[{A},{B}]}}',
        f'{{"T":{{"T":[{A}]}},"T":[{B},{A},{A}],"x":[[]]}}',
        f'{{"code":200,"realTimeData":[{A},{B}]}}',
        f'{{"realTimeData":[{A},{B}],"errors":[],"page":{{"of":[1,2]}}}}',
        f'{{"message":"\\"T\\":[{{\\"a\\":1","a":{{"T":[{A}]}}, "T" : [{A},{B}],"b":[{A}]}}',
    ],
)
def test_a_message_with_other_keys_is_read_in_pieces(value: str) -> None:
    for size in (1, 45, 1000):
        assert pieces(value.encode(), size)
        assert_the_same(value.encode(), size)


@pytest.mark.parametrize("odd", ["", ',"sendTime":"never"', ',"sendTime":null,"send_time":4000000000'])
@pytest.mark.parametrize("number", ["5", "123456789012345678901234567890"])
def test_records_without_a_time_are_settled_when_all_of_their_station_are_known(odd: str, number: str) -> None:
    timed, untimed = f'{{"stationId":"%s","x":{number},"sendTime":1763085600}}', f'{{"stationId":"%s","x":1{odd}}}'
    records = [
        one % name for name in "ABC" for one in ([untimed, timed, untimed], [timed], [untimed] * 3)["ABC".index(name)]
    ]
    for order in (records, records[::-1], records[1:] + records[:1]):
        value = f"[{','.join(order)}]".encode()
        for size in (1, 60, 1000):
            assert len(by_pieces(value, size)[0].rejects) == 2
            assert_the_same(value, size)


def test_records_of_which_none_begins_as_the_first_does_are_measured() -> None:
    records = [
        b'{"%d":[{"stationId":"x"},{"a":[[]]}],"s":"\\"}],{","stationId":"%d","sendTime":1763085600}' % (n, n % 5)
        for n in range(90)
    ]
    value = b'{"T":[%b ] }' % b" , ".join(records)
    assert len(pieces(value, 400)) > 10
    assert_the_same(value, 400)


def test_a_message_of_which_nothing_can_be_measured_is_not_taken_for_one_piece() -> None:
    deep = b"[" * 20 + b"]" * 20
    value = b"[%b]" % b",".join(b'{"%d":%b,"stationId":"A","sendTime":1763085600}' % (n, deep) for n in range(50))
    with pytest.raises(NotCutError):
        pieces(value, 20)
    assert_the_same(value, 1000)


@pytest.mark.parametrize("odd", ["rejects", "untimed"])
@pytest.mark.parametrize("stations", [1, 2, 10])
def test_too_many_stations_or_rejects_are_told_as_by_the_whole(
    odd: str, stations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("app.inputs.grouping", "app.pipeline.splitting.station_writer"):
        monkeypatch.setattr(f"{module}.MOST_REJECTS", 3)
    bad = '{"x":1}' if odd == "rejects" else '{"stationId":"A"}'
    for count in range(6):
        value = f"[{','.join([A, *[bad] * count, B])}]".encode()
        try:
            assert len(whole(value, stations).rejects) == count <= 3
        except BadMessage as error:
            with pytest.raises(BadMessage, match=f"^{re.escape(str(error))}$"):
                by_pieces(value, 1, stations=stations)
        else:
            assert_the_same(value, 1)


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
