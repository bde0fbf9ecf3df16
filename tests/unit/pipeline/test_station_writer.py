"""The stations of a message as they are written for frames: all of them, in order, and within bounds."""

from __future__ import annotations

import json
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.inputs.grouping import BadMessage, SourceBatch, TooDeepError
from app.inputs.source_message import parse_message
from app.messages.frames import FRAME_BYTES, FRAME_EVENTS
from app.messages.partitioner import Partitioner
from app.pipeline.splitting import station_writer
from app.pipeline.splitting.station_writer import Body, StationWriter, WrittenStations
from app.settings.types import LARGEST_RECORD
from tables.storage import exact_json

PARTITIONS = 3
PARTITION_OF = Partitioner(PARTITIONS)


def parse(value: bytes, *, check_depth: bool = False) -> SourceBatch:
    return parse_message(value, topic="T", envelope_keys=(), timezone=ZoneInfo("UTC"), check_depth=check_depth)


def write(value: bytes, max_record_bytes: int = LARGEST_RECORD) -> WrittenStations:
    return StationWriter(PARTITION_OF, max_record_bytes).write(parse(value), len(value))


def stations_of(body: Body) -> list[tuple[str, Any]]:
    return [(station_id, records) for station_id, records in exact_json.loads_marked(body.data)]


def read(written: WrittenStations) -> dict[int, list[tuple[str, Any]]]:
    """The stations of each partition."""
    found: dict[int, list[tuple[str, Any]]] = {}
    for body in written.bodies:
        stations = stations_of(body)
        assert len(stations) == body.stations
        found.setdefault(body.partition, []).extend(stations)
    return found


def expected(stations: dict[str, list[Any]]) -> dict[int, list[tuple[str, Any]]]:
    found: dict[int, list[tuple[str, Any]]] = {}
    for station in stations.items():
        found.setdefault(PARTITION_OF(station[0]), []).append(station)
    return found


def message(sizes: list[int]) -> bytes:
    """A message with a record of so many characters, about, for each station."""
    return orjson.dumps([{"stationId": str(number), "x": "x" * size} for number, size in enumerate(sizes)])


@settings(max_examples=60)
@given(st.lists(st.sampled_from([0, 0, 0, 10_000, 200_000, 600_000]), max_size=40), st.booleans())
def test_stations_of_any_sizes_are_all_there_in_order_within_the_bounds_of_a_frame(
    sizes: list[int], exact: bool
) -> None:
    value = message(sizes)
    if exact:
        value = value.replace(b'"x":', b'"n":123456789012345678901234567890,"x":')
    written = write(value)
    stations = parse(value).stations
    assert written.ids == tuple(stations)
    assert read(written) == expected(stations)
    assert written.refused == []
    assert all(len(body.data) <= FRAME_BYTES or body.stations == 1 for body in written.bodies)
    assert {body.data[:1] for body in written.bodies} <= {b" " if exact else b"["}


def test_a_body_has_no_more_stations_than_a_frame() -> None:
    written = write(message([0] * (4 * FRAME_EVENTS)))
    assert max(body.stations for body in written.bodies) == FRAME_EVENTS
    assert len(written.bodies) == 6


def test_stations_of_equal_size_are_written_in_few_bodies_each_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def counted(stations: Any) -> bytes:
        nonlocal calls
        calls += 1
        return orjson.dumps(stations)

    monkeypatch.setattr(station_writer, "encode_body", counted)
    value = message([20_000] * 200)
    written = write(value)
    assert calls == len(written.bodies) <= 2 * len(value) / FRAME_BYTES + PARTITIONS


@pytest.mark.parametrize("exact", [False, True])
def test_stations_with_too_large_a_record_are_refused_and_those_beside_them_written(exact: bool) -> None:
    value = message([10, 5000, 10, 5000, 1900, 10])
    if exact:
        value = value.replace(b'"x":', b'"n":123456789012345678901234567890,"x":')
    written = write(value, max_record_bytes=2000)
    assert sorted(station.station_id for station in written.refused) == ["1", "3"]
    assert "AGG_MAX_RECORD_BYTES" in written.refused[0].error
    stations = parse(value).stations
    refused = {name: stations.pop(name) for name in ("1", "3")}
    assert {station.station_id: exact_json.loads(station.data)[1] for station in written.refused} == refused
    assert read(written) == expected(stations)
    assert written.ids == tuple("012345")


# -- depth -------------------------------------------------------------------------------------------------------------


def nested(record_levels: int, form: str) -> bytes:
    """A message of which a record has so many levels."""
    inner = b'{"a":' * (record_levels - 1) + b"1" + b"}" * (record_levels - 1)
    return form.encode() % (b'{"stationId":"A","a":' + inner + b"}")


FORMS = {'{"T":[%b]}': 2, "[%b]": 1, "%b": 0, '{"T":[%b],"other":1}': 2, '[5,%b,{"stationId":"B"}]': 1}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("levels", [*range(243, 248), 300])
def test_what_is_nested_too_deeply_as_a_whole_and_nothing_else_is_told_by_writing_it(form: str, levels: int) -> None:
    value = nested(levels, form)
    if levels + FORMS[form] > 246:
        with pytest.raises(BadMessage, match="nested too deeply"):
            parse(value, check_depth=True)
        with pytest.raises((BadMessage, TooDeepError)):
            write(value)
        return
    whole = parse(value, check_depth=True)
    try:
        written = write(value)
    except TooDeepError:  # it may be told too early where there is no envelope: the whole decides
        assert FORMS[form] < 2
        written = StationWriter(PARTITION_OF, LARGEST_RECORD).write(whole, len(value))
    assert read(written) == expected(whole.stations)
    assert written.ids == tuple(whole.stations)


@pytest.mark.parametrize(
    "value",
    [
        '{"T":[{"stationId":"A"}],"other":%b}',
        '{"T":[{"stationId":"A"},%b]}',
        '[{"stationId":"A","sendTime":1763085600},{"stationId":"A","x":%b}]',
    ],
)
def test_what_is_not_written_with_the_stations_is_checked_before(value: str) -> None:
    with pytest.raises(BadMessage, match="nested too deeply"):
        parse(value.encode() % (b"[" * 300 + b"]" * 300))


def test_only_what_may_be_deep_is_left_to_the_writer() -> None:
    many, few = ([{"stationId": str(one), "sendTime": 1763085600} for one in range(size)] for size in (300, 200))
    assert parse(json.dumps(many).encode()).unchecked
    assert not parse(json.dumps(few).encode()).unchecked
    assert not parse(json.dumps(many).encode(), check_depth=True).unchecked
    assert not parse(json.dumps([*many, 5]).encode()).unchecked
