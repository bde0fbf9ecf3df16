"""Checks of the internal codecs: a frame, a stored record or a letter is refused as documented, or comes back whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from app.cli.dead_letters.command import full, json_line, table
from app.cli.dead_letters.replay import CannotReplay, ReplayRules
from app.cli.dead_letters.store import ReplayLog
from app.cli.result_comparison import ResultReader, join
from app.messages.dead_letters import Reason, Subject, letter_headers, read_letter
from app.messages.frames import (
    FrameError,
    StationGroup,
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
)
from app.messages.message import InMessage
from app.settings import Settings
from tables.context import ContextEvent, Tombstone, decode_entry, encode_entry
from tables.model.events import Position, Released
from tables.model.policies import Rules
from tables.storage import exact_json
from tables.storage.checks import NewerFormatError
from tables.storage.records import (
    Table,
    UnreadableRecordError,
    decode_header,
    decode_revision,
    decode_segment,
    encode_segment,
)
from tables.working_set import WorkingSet
from tests.builders import DESTINATION, MemoryRecords, record_bytes
from tests.fuzz.inputs import headers_of

__all__ = [
    "check_batch_events",
    "check_comparison",
    "check_letter",
    "check_records",
    "check_replay",
    "check_station_frame",
    "check_stored",
]

TIMEZONE = ZoneInfo("Asia/Shanghai")
DEEPEST = 246
REPLAY = ReplayRules(Settings(), 1200, handler_failed=True)
GROWTH = 64  # of a letter on the screen: each byte may become four characters, each field has a name and a line


# -- frames ------------------------------------------------------------------------------------------------------------


def check_station_frame(data: bytes) -> None:
    """Read a frame of station events and context; what can be read is written and read again."""
    if _is_deep(data):
        return
    try:
        frame = decode_stations(data)
    except (FrameError, NewerFormatError):
        return
    groups = [_read(group) for group in frame.groups]
    written = [group for group in groups if group is not None and group.count]
    if written:
        again = encode_stations([(encode_group(one), encode_body(one.stations), one.count) for one in written])
        assert list(map(_read, decode_stations(again).groups)) == written
    context = encode_context([(_head(event), _encoded(event), 1) for event in frame.context])
    assert list(decode_stations(context).context) == list(frame.context)


def _read(group: StationGroup) -> StationGroup | None:
    """Read the stations of a group: as many as it has said before, or none."""
    count = group.count
    try:
        stations = group.stations
    except (FrameError, NewerFormatError):
        return None
    assert len(stations) == count
    return replace(group, content=[(station_id, records) for station_id, records in stations])


def _head(event: ContextEvent) -> bytes:
    return encode_context_head(event.topic, event.place, event.key)


def _encoded(event: ContextEvent) -> bytes:
    return encode_tombstone(event.station_id) if isinstance(event, Tombstone) else encode_update(event)


def check_batch_events(data: bytes) -> None:
    """Read batch events; apply what can be read twice, store it, and recover from that."""
    try:
        events = decode_events(data)
    except (FrameError, NewerFormatError):
        return
    assert decode_events(encode_events(events)) == events
    if any("#" in event.batch_id for event in events):
        return  # no id has one: it ends the id in the keys of the records
    records, rules = MemoryRecords(), Rules()
    working_set = WorkingSet(records, rules)
    for offset, event in enumerate([*events, *events]):
        effects = working_set.apply(event, Position(offset, 0))
        released = {one.decision.batch_id: DESTINATION for one in effects if isinstance(one, Released)}
        records.write(working_set.take_writes(released))
    recovered = WorkingSet(records, rules)
    recovered.recover()
    assert recovered.open.keys() == working_set.open.keys()


def check_stored(data: bytes) -> None:
    """Recover a partition from records, given as pairs of key and value."""
    try:
        pairs = [(key.encode(), orjson.dumps(value)) for key, value in orjson.loads(data)]
    except (ValueError, TypeError, AttributeError):
        return
    records = MemoryRecords()
    records.tables[Table.BATCHES].update(pairs)
    try:
        working_set = WorkingSet(records, Rules())
        left = working_set.recover()
        for batch_id in [*working_set.closed]:
            working_set.decision_of(batch_id)
    except UnreadableRecordError:
        return
    records.write(working_set.take_writes({one.decision.batch_id: DESTINATION for one in left}))
    WorkingSet(records, Rules()).recover()


def _is_deep(data: bytes) -> bool:
    """Say whether the levels may be more than we ever write: records that came in have 246 at most."""
    return data.count(b"[") + data.count(b"{") > DEEPEST


# -- stored records ----------------------------------------------------------------------------------------------------


def check_records(data: bytes) -> None:
    """Read a stored record as each kind that there is; what can be read is written and read again."""
    if _is_deep(data):
        return
    _check_record(data, b"b#0.0-0.0", decode_segment, encode_segment)
    _check_record(data, b"b#0.0-0.0+", decode_segment, encode_segment)
    _check_record(data, b"b", decode_header, record_bytes)
    _check_record(data, b"b#r2", decode_revision, record_bytes)
    _check_record(data, b"T#A", decode_entry, encode_entry)
    log = ReplayLog("replayed", [InMessage("replayed", 0, 0, 0.0, data[:8], data)])
    log.tombstones({})


def _check_record(
    data: bytes, key: bytes, decode: Callable[[bytes, bytes], Any], encode: Callable[[Any], bytes]
) -> None:
    try:
        record = decode(key, data)
    except UnreadableRecordError:
        return
    assert decode(key, encode(record)) == record


# -- dead letters, and other topics that the commands read -------------------------------------------------------------


def check_letter(data: bytes) -> None:
    """Read a letter whose headers and value are these bytes, and show it in all three ways."""
    head, _, value = data.partition(b"\n\n")
    letter = read_letter(InMessage("dlq", 1, 7, 1_763_085_600.5, data[:5], value, headers_of(head)))
    shown = [*table([letter], lambda _: None, TIMEZONE, 200), *full(letter, None, TIMEZONE)]
    assert all(line.isprintable() for line in shown)
    line = json_line(letter, None)
    orjson.loads(line)
    assert sum(map(len, shown)) + len(line) <= GROWTH * (len(data) + 100)
    reason = Reason(letter.reason) if letter.reason in set(Reason) else Reason.BAD_RECORD
    subject = Subject(letter.failed_at, letter.source, letter.batch_id, letter.station_id)
    again = read_letter(
        InMessage("dlq", 1, 7, 1_763_085_600.5, None, value, letter_headers(reason, letter.error, subject))
    )
    assert (again.source, again.batch_id, again.station_id) == (letter.source, letter.batch_id, letter.station_id)
    assert again.failed_at == letter.failed_at


def check_replay(data: bytes) -> None:
    """Make what is sent to replay a letter whose headers and value are these bytes; it may be refused."""
    head, _, value = data.partition(b"\n\n")
    letter = read_letter(InMessage("dlq", 1, 7, 1_763_085_600.5, data[:5], value, headers_of(head)))
    for reason in Reason:
        try:
            messages = REPLAY.messages(replace(letter, reason=reason))
        except CannotReplay:
            continue
        assert messages
        for message in messages:
            assert message.topic
            assert all(isinstance(content, bytes) for _, content in message.headers)


def check_comparison(data: bytes) -> None:
    """Read a message of an output topic, which may be anybody's, for `compare`."""
    head, _, value = data.partition(b"\n\n")
    for time_field in (None, "sendTime"):
        reader = ResultReader(TIMEZONE, time_field)
        for offset, one in enumerate((data, value)):
            reader.take(InMessage("T", 0, offset, 1_763_085_600.5, data[:5], one, headers_of(head)))
        results = reader.results()
        for pair in join(results, results, within=60.0):
            assert pair.results
            for result in pair.results:
                exact_json.dumps(result.value)
