"""The internal messages and their bytes: the only place that knows the wire.

A frame is one Kafka message that carries many events of one partition, because Kafka's and Faust's cost is per message.
Frames are JSON with a format version. Results travel as JSON text inside a string, so that the aggregator moves them
from the station agent to the output without ever parsing them. (orjson writes named tuples only when it is told to:
that is the `tuple` after what is dumped.)
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, repeat
from types import NoneType
from typing import Any

import orjson

from app.messages.trace_context import is_trace
from tables.context import EVERYONE, ContextEvent, ContextUpdate, Place, Tombstone
from tables.model.enums import Action, Code
from tables.model.events import Arrived, BatchEvent, Command, Expire, FailureLetter, Forget, Open, Revise, Source
from tables.model.fast_dataclass import fast_dataclass

__all__ = [
    "FORMAT_VERSION",
    "FrameError",
    "StationFrame",
    "StationGroup",
    "decode_events",
    "decode_stations",
    "encode_context",
    "encode_context_head",
    "encode_events",
    "encode_group",
    "encode_station",
    "encode_stations",
    "encode_tombstone",
    "encode_update",
]

FORMAT_VERSION = 1
CODES = frozenset(Code)
GROUP_FIELDS = 7  # of a group of station events, with its trace

Record = dict[str, Any]


class FrameError(ValueError):
    """An internal message can't be read: written by a newer version, or not by this application."""


@fast_dataclass(frozen=True, slots=True)
class StationGroup:
    """Station events of one source message: each a station id and its records in message order.

    `opened_at` and `deadline` are Unix seconds as the splitter stamped them. `key` is the source message's. On the
    pass-through path there is neither a batch id nor a deadline, and `opened_at` is the source message's own time.
    `trace` is the source message's (app/messages/trace_context.py); where it has none, none is written either.
    """

    batch_id: str | None
    source: Source
    opened_at: float
    deadline: float | None
    key: bytes | None
    stations: Sequence[tuple[str, list[Record]]]
    trace: str | None = None


@fast_dataclass(frozen=True, slots=True)
class StationFrame:
    """What a message of the station events carries: events of stations, context, or both."""

    groups: Sequence[StationGroup]
    context: Sequence[ContextEvent]


def encode_station(station_id: str, records: list[Record]) -> bytes:
    """Bytes of one station event; a frame is put together of these."""
    return orjson.dumps((station_id, records))


def encode_group(group: StationGroup) -> bytes:
    """Bytes of what the station events of one source message share: the start of a list that they end."""
    shared = [group.batch_id, group.source, group.opened_at, group.deadline, _text(group.key), *_given(group.trace)]
    return orjson.dumps(shared, tuple)[:-1] + b",["


def encode_stations(groups: Iterable[tuple[bytes, Iterable[bytes]]]) -> bytes:
    """A frame of `encode_group` and `encode_station` bytes."""
    return b'{"v":%d,"groups":[%b]}' % (FORMAT_VERSION, _lists(groups))


def encode_context_head(topic: str, place: Place, key: bytes | None) -> bytes:
    """Bytes of what the events of one context message share: the start of a list that they end."""
    return orjson.dumps((topic, place, _text(key)), tuple)[:-1] + b",["


def encode_update(update: ContextUpdate) -> bytes:
    """Bytes of one station's part of a context message."""
    return orjson.dumps((update.station_id, update.time, update.records))


def encode_tombstone(station_id: str | None) -> bytes:
    """Bytes of a context message without a value."""
    return orjson.dumps((station_id,))


def encode_context(groups: Iterable[tuple[bytes, Iterable[bytes]]]) -> bytes:
    """A frame of `encode_context_head` and `encode_update` or `encode_tombstone` bytes."""
    return b'{"v":%d,"groups":[],"context":[%b]}' % (FORMAT_VERSION, _lists(groups))


def _lists(groups: Iterable[tuple[bytes, Iterable[bytes]]]) -> bytes:
    return b",".join([head + b",".join(events) + b"]]" for head, events in groups])


def decode_stations(value: bytes | None) -> StationFrame:
    """Read back a frame of station events, or of context."""
    with _reading():
        frame = _load(value)
        context = [event for group in frame.get("context", ()) for event in _context_events(*group)]
        return StationFrame(_station_groups(frame["groups"]), context)


def encode_events(events: Iterable[BatchEvent]) -> bytes:
    """A frame of batch events."""
    return orjson.dumps({"v": FORMAT_VERSION, "events": [_event_list(event) for event in events]}, tuple)


def decode_events(value: bytes | None) -> list[BatchEvent]:
    """Read back a frame of batch events."""
    with _reading():
        return [_event(*event) for event in _load(value)["events"]]


def _event(kind: str, batch_id: str, *rest: Any) -> BatchEvent:
    _one(batch_id, str)
    if kind == "arrived":
        return _arrived(batch_id, rest)
    if kind == "open":
        source, opened_at, deadline, stations, replayed, timeout, *trace = rest
        _one(opened_at, float, int)
        _one(deadline, float, int)
        _check(stations, str)
        _one(replayed, bool)
        _one(timeout, float, int, NoneType)
        return Open(batch_id, _source(*source), opened_at, deadline, tuple(stations), replayed, timeout, _trace(*trace))
    if kind == "command":
        action, at, by, seconds = rest
        _check([at, seconds], float, int)
        _one(by, str)
        return Command(batch_id, Action(action), at, by, seconds)
    if kind not in ("expire", "forget", "revise"):
        message = f"unknown kind of batch event {kind!r}"
        raise FrameError(message)
    about, at = rest
    _check([about, at], float, int)
    if kind == "revise":
        _one(about, int)
        return Revise(batch_id, about, at)
    return Expire(batch_id, about, at) if kind == "expire" else Forget(batch_id, about, at)


def _arrived(batch_id: str, fields: Sequence[Any]) -> Arrived:
    source, at, stations, codes, values, letters, *trace = fields
    _one(at, float, int)
    _one(codes, str)
    _check(stations, str)
    _check(values, str, NoneType)
    if not len(stations) == len(codes) == len(values) or not CODES.issuperset(codes):
        message = "the lists of an arrival do not run in parallel"
        raise ValueError(message)
    read = {int(index): _letter(*letter) for index, letter in letters.items()}
    return Arrived(batch_id, _source(*source), at, stations, codes, values, read, _trace(*trace))


def _letter(value: str, key: str | None, error: str, too_large: int) -> FailureLetter:
    _check([value, error], str)
    return FailureLetter(value, _key(key), error, bool(too_large))


def _station_groups(groups: Any) -> list[StationGroup]:
    """The groups of a frame, looked at a column at a time: that is a check for each field, not for each of a group's.

    A group without a trace is one field shorter.
    """
    if not groups:
        return []
    rows = [group if len(group) == GROUP_FIELDS else [*group[:-1], None, group[-1]] for group in groups]
    batch_ids, sources, opened, deadlines, keys, traces, stations = zip(*rows, strict=True)
    _check(opened, float, int)
    _check(batch_ids, str, NoneType)
    _check(deadlines, float, int, NoneType)
    if [one is None for one in batch_ids] != [one is None for one in deadlines]:
        message = "a batch id without a deadline, or a deadline without a batch id"
        raise ValueError(message)
    events = list(chain.from_iterable(stations))
    if events:
        station_ids, records = zip(*events, strict=True)
        _check(station_ids, str)
        _check(records, list)
    if traces.count(None) < len(traces):
        for trace in traces:
            _trace(trace)
    return list(map(StationGroup, batch_ids, _sources(sources), opened, deadlines, map(_key, keys), stations, traces))


def _sources(fields: Sequence[Any]) -> Iterable[Source]:
    topics, partitions, offsets = zip(*fields, strict=True)
    _check(topics, str)
    _check(partitions, int)
    _check(offsets, int)
    return map(tuple.__new__, repeat(Source), fields)  # a named tuple's own way takes three times as long


def _context_events(
    topic: str, place: Sequence[Any], key: str | None, events: Iterable[Sequence[Any]]
) -> Iterator[ContextEvent]:
    partition, offset, timestamp = place
    _one(topic, str)
    _check([partition, offset], int)
    _one(timestamp, float, int)
    for event in events:
        yield _context_event(topic, Place(partition, offset, timestamp), _key(key), *event)


def _context_event(topic: str, place: Place, key: bytes | None, station_id: str | None, *update: Any) -> ContextEvent:
    if not update:
        _one(station_id, str, NoneType)
        _one(key, bytes)
        return Tombstone(topic, place, key or b"", station_id)
    time, records = update
    _one(station_id, str)
    _one(time, int, NoneType)
    _check(records, dict)
    return ContextUpdate(topic, place, key, station_id or EVERYONE, time, records)


def _source(topic: str, partition: int, offset: int) -> Source:
    if type(topic) is not str or type(partition) is not int or type(offset) is not int:
        message = "expected a topic, a partition and an offset"
        raise TypeError(message)
    return Source(topic, partition, offset)


def _given(trace: str | None) -> Sequence[str]:
    """A trace as what is written of it at the end of a list."""
    return () if trace is None else (trace,)


def _trace(trace: str | None = None) -> str | None:
    if trace is not None and not is_trace(trace):
        message = f"{trace!r} is no trace context"
        raise ValueError(message)
    return trace


def _check(values: Any, *types: type) -> None:
    """One pass at C speed over the types of many values: what passes here can't raise in the state machine."""
    if type(values) not in (list, tuple) or not set(map(type, values)).issubset(types):
        message = f"expected a list of {_names(types)}"
        raise TypeError(message)


def _one(value: Any, *types: type) -> None:
    """The same for a single value: a set and a list for each would take longer than the check."""
    if type(value) not in types:
        message = f"expected {_names(types)}, not {type(value).__name__}"
        raise TypeError(message)


def _names(types: Iterable[type]) -> str:
    return " or ".join(one.__name__ for one in types)


def _event_list(event: BatchEvent) -> list[Any]:
    if isinstance(event, Arrived):
        letters = {
            str(index): (letter.value, _text(letter.key), letter.error, letter.too_large)
            for index, letter in event.letters.items()
        }
        return [
            "arrived", event.batch_id, event.source, event.at, event.stations, event.codes, event.values, letters,
            *_given(event.trace),
        ]  # fmt: skip
    if isinstance(event, Open):
        return [
            "open", event.batch_id, event.source, event.opened_at, event.deadline, event.stations, event.replayed,
            event.timeout, *_given(event.trace),
        ]  # fmt: skip
    if isinstance(event, Expire):
        return ["expire", event.batch_id, event.deadline, event.at]
    if isinstance(event, Command):
        return ["command", event.batch_id, event.action, event.at, event.by, event.seconds]
    if isinstance(event, Revise):
        return ["revise", event.batch_id, event.revision, event.at]
    return ["forget", event.batch_id, event.closed_at, event.at]


def _text(key: bytes | None) -> str | None:
    """A Kafka key is any bytes; JSON is text."""
    return None if key is None else base64.b64encode(key).decode()


def _key(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


@contextmanager
def _reading() -> Iterator[None]:
    """Whatever is not as we write it is a FrameError."""
    try:
        yield
    except FrameError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        message = f"not a frame of this application: {error!r}"
        raise FrameError(message) from error


def _load(value: bytes | None) -> dict[str, Any]:
    frame: dict[str, Any] = orjson.loads(value or b"")
    version = frame["v"]
    if version != FORMAT_VERSION:
        message = f"the frame has format version {version}; this program reads {FORMAT_VERSION}"
        raise FrameError(message)
    return frame
