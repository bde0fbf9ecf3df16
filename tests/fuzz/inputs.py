"""Checks of what reads messages: every record of a message is accounted for, whatever the bytes."""

from __future__ import annotations

import json
import math
import re
import sys
import zlib
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from app.inputs.alignment import Alignment, align
from app.inputs.grouping import CONTEXT_ID_KEYS, STATION_ID_KEYS, BadMessage, Reject, SourceBatch, TooDeepError
from app.inputs.guns import AlignmentError
from app.inputs.pieces import NotCutError, read_in_pieces
from app.inputs.source_message import batch_id, parse_context, parse_message, read_overrides
from app.inputs.timestamps import Moment, read_moment
from app.messages.frames import (
    StationGroup,
    StationPacker,
    decode_stations,
    encode_context,
    encode_context_head,
    encode_group,
    encode_update,
)
from app.messages.partitioner import Partitioner
from app.pipeline.splitting.station_writer import PieceWriter, StationWriter, WrittenStations
from app.settings.enums import Fill
from app.settings.types import LARGEST_RECORD
from tables.context import ContextUpdate, Place, apply, context_key, decode_entry
from tables.model.events import Source
from tables.storage import exact_json

__all__ = ["check_context", "check_overrides", "check_source", "check_time"]

TOPIC = "SCHEDULE-STATION-REALTIME-DATA"
TIMEZONE = ZoneInfo("Asia/Shanghai")
PARTITION_OF = Partitioner(3)
WRITER = StationWriter(PARTITION_OF, LARGEST_RECORD)
MAX_AGE = 60.0
ALIGNMENTS = (
    Alignment(TIMEZONE),
    Alignment(TIMEZONE, Fill.MISSING, 3600, 24),
    Alignment(TIMEZONE, Fill.FORWARD),
    Alignment(TIMEZONE, Fill.LINEAR),
    Alignment(TIMEZONE, Fill.LINEAR, 60, 240),
)
TEXT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
ERROR_CHARACTERS = 4000
ALIGNED = 3  # stations of a message: the others are no different
GROWTH = 8  # of a message's JSON when it is written again: 1e22 becomes 1e+22, 1e15 its digits


# -- messages ----------------------------------------------------------------------------------------------------------


class Digits(str):
    """An integer of the message, with all its digits."""

    __slots__ = ()


def check_source(data: bytes) -> None:
    """Divide a source message, align its stations, and send them through a frame and back."""
    try:
        batch = parse_message(data, topic=TOPIC, envelope_keys=("data",), timezone=TIMEZONE)
    except BadMessage as error:
        _check_text(error)
        assert _written(data) is None, "what is refused is written"
        assert _written_by_pieces(data) is None, "what is refused is written in pieces"
        return
    elements = _elements(data)
    taken = sum(map(len, batch.stations.values()))
    assert taken + len(batch.rejects) == len(elements), "a record has vanished, or come twice"
    unnamed = sum(reject.station_id is None for reject in batch.rejects)
    expected = [_id_of(element, STATION_ID_KEYS) for element in elements]
    assert list(batch.stations) == [*dict.fromkeys(one for one in expected if one is not None)], "not the ids sent"
    assert unnamed == expected.count(None)
    if batch.timestamp is not None:
        assert re.fullmatch(r"[A-Za-z0-9._:-]{1,261}", batch_id(TOPIC, batch.timestamp))
    _check_rejects(batch.rejects, data)
    assert sum(len(exact_json.dumps(records)) for records in batch.stations.values()) <= GROWTH * len(data)
    for records in islice(batch.stations.values(), ALIGNED):
        _check_alignment(records, data, STATION_ID_KEYS)
    _check_frames(_written(data) or WRITER.write(batch, len(data)), batch.stations)
    by_pieces = _written_by_pieces(data)
    if by_pieces is not None:
        rest, written = by_pieces
        _check_frames(written, batch.stations)
        read = (rest.timestamp, rest.rejects, rest.unusable)
        assert read == (batch.timestamp, batch.rejects, batch.unusable)


def check_context(data: bytes) -> None:
    """Divide a context message, send it through a frame, and apply it twice to what is stored."""
    try:
        message = parse_context(data, topic="WEATHER", envelope_keys=("data",), timezone=TIMEZONE)
    except BadMessage as error:
        _check_text(error)
        return
    _check_rejects(message.rejects, data)
    place = Place(1, 7, 1_763_085_600.5)
    updates = [
        ContextUpdate("WEATHER", place, b"\xff", station_id, newest.time, list(newest.records))
        for station_id, points in message.stations.items()
        for newest in points
    ]
    packer = StationPacker(TOPIC, encode_context)
    head = encode_context_head("WEATHER", place, b"\xff", exact=message.exact)
    for update in updates:
        packer.add(0, head, encode_update(update))
    assert [event for frame in packer.take() for event in decode_stations(frame.value).context] == updates
    stored: dict[bytes, bytes] = {}
    for update in updates:
        assert update.records
        for _ in range(2):
            for write in apply(update, stored.get):
                assert write.value is not None
                stored[write.key] = write.value
        key = context_key("WEATHER", update.station_id)
        entry = decode_entry(key, stored[key])
        assert entry.records
        _check_alignment(entry.records, data, CONTEXT_ID_KEYS)


def _elements(data: bytes) -> list[Any]:
    """Find the elements of a message's list as the contract says, with another parser."""
    loaded = json.loads(data, parse_int=Digits)
    if isinstance(loaded, list):
        return loaded
    found: list[Any] = next((loaded[key] for key in (TOPIC, "realTimeData", "data") if key in loaded), [loaded])
    return found


def _id_of(element: Any, id_keys: Sequence[str]) -> str | None:
    if not isinstance(element, dict):
        return None
    for key in id_keys:
        value = element.get(key)
        if isinstance(value, Digits):
            if len(value) > sys.get_int_max_str_digits():
                return None  # refused, with its record
            return "0" if value == "-0" else str(value)
        if isinstance(value, str) and value and not value.isspace():
            return value
    return None


def _check_text(error: Exception) -> None:
    assert len(str(error)) < ERROR_CHARACTERS
    assert "has no usable time and others have one" not in str(error), "that is for `divide` to reject"


def _check_rejects(rejects: Sequence[Reject], data: bytes) -> None:
    for reject in rejects:
        assert len(reject.error) < ERROR_CHARACTERS
        exact_json.loads(reject.record)
    assert sum(len(reject.record) for reject in rejects) <= GROWTH * len(data)


def _written(data: bytes) -> WrittenStations | None:
    """Write the stations of a message as the splitter does, where it need not look at the whole first."""
    try:
        batch = parse_message(data, topic=TOPIC, envelope_keys=("data",), timezone=TIMEZONE, check_depth=False)
        return WRITER.write(batch, len(data))
    except (BadMessage, TooDeepError):
        return None


def _written_by_pieces(data: bytes) -> tuple[SourceBatch, WrittenStations] | None:
    """Write the stations of a message as the splitter does with large ones, in small pieces."""
    pieces = PieceWriter(WRITER, PARTITION_OF, sys.maxsize)
    try:
        for piece in read_in_pieces(data, (TOPIC, "realTimeData", "data"), TIMEZONE, STATION_ID_KEYS, piece_bytes=20):
            pieces.add(piece)
        for _ in pieces.settle():
            pass
    except (NotCutError, TooDeepError, BadMessage):
        return None
    rest, written = pieces.rest()
    for _ in pieces.write(written):
        pass
    return rest, written


def _check_frames(written: WrittenStations, stations: Mapping[str, list[Any]]) -> None:
    assert written.ids == tuple(stations)
    assert not written.refused
    head = encode_group(StationGroup("b", Source(TOPIC, 0, 1), 1.0, 6.0, b"\xff", ()))
    packer = StationPacker(TOPIC)
    for body in written.bodies:
        packer.add(body.partition, head, body.data, body.stations)
    groups = [group for message in packer.take() for group in decode_stations(message.value).groups]
    assert [group.count for group in groups] == [len(group.stations) for group in groups]
    read = {station_id: records for group in groups for station_id, records in group.stations}
    assert sum(group.count for group in groups) == len(stations)
    assert read == dict(stations)


# -- columns -----------------------------------------------------------------------------------------------------------


def _check_alignment(records: list[Any], data: bytes, id_keys: Sequence[str]) -> None:
    alignment = ALIGNMENTS[zlib.crc32(data) % len(ALIGNMENTS)]
    before = exact_json.dumps(records)
    try:
        columns = align(records, alignment, id_keys=id_keys)
    except AlignmentError as error:
        _check_text(error)
        return
    assert exact_json.dumps(records) == before, "the records were changed"
    points = columns["sendTime"]
    timed = [point for point in points if point is not None]
    assert len(timed) in {0, len(points)}
    assert timed == sorted(set(timed))
    assert all(TEXT.fullmatch(point) for point in timed)
    has_guns = any(record.get("gunPower") is not None for record in records)
    for name, column in columns.items():
        if name in {"gunNo", "hostCode"} and has_guns:
            assert len(column) == len(columns["gunNo"])
        else:
            assert len(column) == len(points), name
        for value in column:
            assert not isinstance(value, float) or math.isfinite(value), name
    exact_json.dumps(columns)


# -- headers and times -------------------------------------------------------------------------------------------------


def headers_of(data: bytes) -> list[tuple[str, bytes]]:
    """Read headers, one a line, `name=value`: any bytes are some headers."""
    lines = [line.partition(b"=") for line in data.split(b"\n")]
    return [(name.decode("latin-1"), value) for name, _, value in lines]


def check_overrides(data: bytes) -> None:
    """Read the header overrides of a source message."""
    wishes = read_overrides(headers_of(data), max_age=MAX_AGE)
    assert wishes.timeout is None or 0 < wishes.timeout <= MAX_AGE
    assert wishes.batch_id is None or re.fullmatch(r"[A-Za-z0-9._:-]{1,261}", wishes.batch_id)
    assert wishes.batch_id is None or wishes.replayed or len(wishes.batch_id) <= 200
    assert len(wishes.problems) <= 2
    assert all(len(problem) < ERROR_CHARACTERS and problem.isprintable() for problem in wishes.problems)


def check_time(data: bytes) -> None:
    """Read a time, of a text and of what JSON makes of it; what is shown of it is read as the same second."""
    try:
        value: Any = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = data.decode("latin-1")
    moment: Moment | None = read_moment(value, TIMEZONE)
    if moment is not None:
        assert math.isfinite(moment.seconds)
        assert TEXT.fullmatch(moment.text)
        again = read_moment(moment.text, TIMEZONE)
        assert again is not None
        # Where the clock is set back a text stands for two moments.
        assert again.text == moment.text
        assert abs(again.seconds - math.floor(moment.seconds)) in {0, 1800, 3600}
