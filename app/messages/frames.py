"""Frames, the internal messages: the only place that knows their bytes.

A frame is one Kafka message that carries many events of one partition, because Kafka's and Faust's cost is per message.
It is bounded by a number of events and of bytes. Frames are JSON with a format version. A result is JSON text inside a
string, so that the aggregator moves it from the station agent to the output without parsing it. orjson writes named
tuples only when it is told to: that is the `tuple` after what is dumped. A frame that holds a number which orjson would
change begins with a blank, and so does the part that holds it (`tables.storage.exact_json`).

A frame of station events says in its first line where each group stands, so that the records of a group are read when
its turn comes, and not before: thousands of parsed records that wait push each other out of the processor's cache.

    {"v":1,"layout":[[32,2,26],[30,1,10]],"groups":[
    ["T_1",["T",0,7],1.5,6.5,"/w==",[["A",[{"x":1}]],["B",[]]]],["T_2",["T",0,8],1.5,6.5,null,[["A",[]]]]]}

A group is the fields that its stations share, a *head* of 32 bytes here, and its *body*: 2 stations in 26 bytes.
Workers older than the layout pass over it and read the whole, and frames without it are read: workers of both kinds may
run side by side while they are replaced.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import groupby, product
from operator import itemgetter
from types import NoneType
from typing import Any, final

import orjson

from app.messages.message import OutMessage
from app.messages.trace_context import is_trace
from app.words import counted_word
from tables.context import ContextEvent, ContextUpdate, Place, Record, Tombstone
from tables.model.enums import Action, Code
from tables.model.events import Arrived, BatchEvent, Command, Expire, FailureLetter, Forget, Open, Revise, Source
from tables.model.fast_dataclass import fast_dataclass
from tables.storage import exact_json
from tables.storage.checks import check_all, check_one, check_version

FRAME_EVENTS = 500
FRAME_BYTES = 512 * 1024

FORMAT_VERSION = 1
CODES = frozenset(Code)
_NUMBERS = (float, int)
_SOURCE_TYPES = (str, int, int)
# Of all fields of a group, the last of which is its stations, or nothing in their place. Where there is no latest time
# it is left out, and so is then the trace where there is none.
_GROUP_TYPES = frozenset(
    (batch_id, list, opened_at, deadline, key, *rest, stations)
    for batch_id, deadline in ((str, float), (str, int), (NoneType, NoneType))
    for opened_at in _NUMBERS
    for key in (str, NoneType)
    for rest in ((), *product((str, NoneType)), *product((str, NoneType), (*_NUMBERS, NoneType)))
    for stations in (list, NoneType)
)
_HEADS = 1024  # remembered
_Fields = tuple[str | None, Source, float, float | None, bytes | None]  # of a group, before its stations
_Rest = tuple[str | None, float | None]  # and behind them
_MARKED = exact_json.MARK[0]
_OTHER_SHAPE = (LookupError, TypeError, ValueError, AttributeError)  # what a frame of another shape leads to


class FrameError(ValueError):
    """An internal message was not written by this application. A newer version's raises NewerFormatError."""


@final
class PackedStations:
    """The stations of a group as they stand in a frame: `count` and their JSON, which is read when it is needed.

    A body is a JSON list of station ids with their records; it begins with a blank where its frame does for its sake.
    """

    __slots__ = ("_body", "_stations", "count")

    def __init__(self, count: int, body: bytes | memoryview) -> None:
        self.count = count
        self._body: bytes | memoryview = body
        self._stations: Sequence[tuple[str, list[Record]]] | None = None

    def read(self) -> Sequence[tuple[str, list[Record]]]:
        """Return the stations, the same each time; raises FrameError."""
        if self._stations is None:
            body = self._body
            try:
                stations = exact_json.loads_exactly(bytes(body)) if body[0] == _MARKED else orjson.loads(body)
                _check_stations(stations)
            except _OTHER_SHAPE as error:
                raise _not_ours(error) from error
            if len(stations) != self.count:
                message = f"a group has {counted_word(len(stations), 'station')}, and its frame says {self.count}"
                raise FrameError(message)
            self._stations, self._body = stations, b""
        return self._stations


@fast_dataclass(frozen=True, slots=True)
class StationGroup:
    """Station events of one source message.

    `opened_at` and `deadline` are Unix seconds as the splitter stamped them. `key` is the source message's. On the
    pass-through path there is neither a batch id nor a deadline, and `opened_at` is the source message's own time.
    `trace` is the source message's (app/messages/trace_context.py); None is not written. `latest` is the latest usable
    time (Unix seconds); None, which is not written either: all times that can be read are usable.
    """

    batch_id: str | None
    source: Source
    opened_at: float
    deadline: float | None
    key: bytes | None
    content: Sequence[tuple[str, list[Record]]] | PackedStations
    trace: str | None = None
    latest: float | None = None

    @property
    def count(self) -> int:
        """The number of its stations, known before they are read."""
        return self.content.count if type(self.content) is PackedStations else len(self.content)

    @property
    def stations(self) -> Sequence[tuple[str, list[Record]]]:
        """Station ids with their records in message order, read at the first access; raises FrameError."""
        content = self.content
        return content.read() if type(content) is PackedStations else content


@fast_dataclass(frozen=True, slots=True)
class StationFrame:
    """The content of a message of the station events topic: events of stations, context, or both."""

    groups: Sequence[StationGroup]
    context: Sequence[ContextEvent]


# -- station events and context: written -------------------------------------------------------------------------------


def encode_group(group: StationGroup) -> bytes:
    """Return the head of the station events of one source message: the fields that they share."""
    shared = (group.batch_id, group.source, group.opened_at, group.deadline, _text(group.key))
    rest = _given(group.trace) if group.latest is None else (group.trace, group.latest)
    return _head(*shared, *rest)


def encode_body(stations: Sequence[tuple[str, list[Record]]]) -> bytes:
    """Return the body of a group: its station ids with their records."""
    return exact_json.dumps_marked(stations)


def encode_stations(groups: Sequence[tuple[bytes, bytes, int]]) -> bytes:
    """Return a frame of a group at least: its head by `encode_group`, its body by `encode_body`, how many stations."""
    mark = b""
    layout: list[bytes] = []
    parts = [b""]
    for head, body, count in groups:
        layout.append(b"[%d,%d,%d]" % (len(head), count, len(body)))
        parts += (head, body, b"],")
        if body[0] == _MARKED:
            mark = exact_json.MARK
    parts[0] = b'%b{"v":%d,"layout":[%b],"groups":[\n' % (mark, FORMAT_VERSION, b",".join(layout))
    parts[-1] = b"]]}"
    return b"".join(parts)


def encode_context_head(topic: str, place: Place, key: bytes | None, *, exact: bool = False) -> bytes:
    """Return the head of the events of one context message: the fields that they share.

    `exact`: their records hold numbers that orjson would change.
    """
    head = _head(topic, place, _text(key))
    return exact_json.MARK + head if exact else head


def encode_update(update: ContextUpdate) -> bytes:
    """Return the bytes of one station's part of a context message."""
    return exact_json.dumps((update.station_id, update.time, update.records))


def encode_tombstone(station_id: str | None) -> bytes:
    """Return the bytes of a context message without a value."""
    return orjson.dumps((station_id,))


def encode_context(events: Sequence[tuple[bytes, bytes, int]]) -> bytes:
    """Return a frame of updates and tombstones, each with its head by `encode_context_head`, and 1: it is one event."""
    mark = exact_json.MARK if any(head.startswith(exact_json.MARK) for head, _, _ in events) else b""
    groups = [
        b"%b[%b]]" % (head, b",".join([event for _, event, _ in of_message]))
        for head, of_message in groupby(events, itemgetter(0))
    ]
    return b'%b{"v":%d,"groups":[],"context":[%b]}' % (mark, FORMAT_VERSION, b",".join(groups))


def _head(*shared: object) -> bytes:
    """Return the start of a list: the shared fields, and the comma after them."""
    return orjson.dumps(shared, tuple)[:-1] + b","


class _Filling:
    """A frame of station events, or of context, that is being filled."""

    __slots__ = ("count", "parts", "size")

    def __init__(self) -> None:
        self.parts: list[tuple[bytes, bytes, int]] = []
        self.count = 0
        self.size = 0


class StationPacker:
    """Packs station events, or context, into frames by partition; a partition's events keep their order.

    `encode` makes the frames: `encode_stations` or `encode_context`.
    """

    def __init__(
        self, topic: str, encode: Callable[[Sequence[tuple[bytes, bytes, int]]], bytes] = encode_stations
    ) -> None:
        self._topic = topic
        self._encode = encode
        self._filling: dict[int, _Filling] = {}
        self._full: list[OutMessage] = []

    def add(self, partition: int, head: bytes, body: bytes, count: int = 1) -> None:
        """Add the body of a group of so many stations, or an event of context.

        What is larger than a frame by itself has one of its own.
        """
        frame = self._filling.get(partition)
        if frame is not None and (frame.count + count > FRAME_EVENTS or frame.size + len(body) > FRAME_BYTES):
            self._full.append(self._message(partition, frame))
            frame = None
        if frame is None:
            frame = self._filling[partition] = _Filling()
        frame.parts.append((head, body, count))
        frame.count += count
        frame.size += len(head) + len(body)

    def take(self) -> list[OutMessage]:
        """Return all frames, also those that are not full, and begin anew."""
        messages, self._full = self._full, []
        messages.extend(self._message(partition, frame) for partition, frame in self._filling.items())
        self._filling.clear()
        return messages

    def _message(self, partition: int, frame: _Filling) -> OutMessage:
        return OutMessage(self._topic, self._encode(frame.parts), partition=partition)


# -- station events and context: read back ----------------------------------------------------------------------------


def decode_stations(value: bytes | None) -> StationFrame:
    """Read a frame of station events, or of context; raises FrameError.

    The records of a frame with a layout are read later, and may raise it then: see `StationGroup`.
    """
    try:
        end = -1 if value is None else value.find(b"\n")
        if value is None or end < 0:
            frame = _load(value)
            context = [event for group in frame.get("context", ()) for event in _context_events(*group)]
            return StationFrame([_whole_group(group) for group in frame["groups"]], context)
        layout = _load(value[:end] + b"]}")["layout"]
        return StationFrame(_packed_groups(value, end + 1, layout), ())
    except FrameError:
        raise
    except _OTHER_SHAPE as error:
        raise _not_ours(error) from error


def _packed_groups(value: bytes, start: int, layout: Any) -> list[StationGroup]:
    """Return the groups of a frame that begin at `start`."""
    view = memoryview(value)
    groups: list[StationGroup] = []
    check_one(layout, list)
    for head, count, body in layout:
        if not (type(head) is type(count) is type(body) is int and head > 0 and count > 0 and body > 0):
            message = "the layout has something else than numbers above 0"
            raise ValueError(message)
        fields, rest = _read_head(value[start : start + head])
        start += head
        groups.append(StationGroup(*fields, PackedStations(count, view[start : start + body]), *rest))
        start += body + 2  # behind the group stand a bracket, and a comma or the bracket that ends them all
    if start != len(value) - 1:
        message = f"{len(value)} bytes where {start + 1} were announced"
        raise ValueError(message)
    return groups


@lru_cache(_HEADS)
def _read_head(head: bytes) -> tuple[_Fields, _Rest]:
    """Read what the stations of a group share. One message has the same head in a frame of each partition."""
    return _shared(orjson.loads(b"%bnull]" % head))


def _whole_group(fields: Any) -> StationGroup:
    """Return a group of a frame that has no layout."""
    _check_stations(fields[-1])
    shared, rest = _shared(fields)
    return StationGroup(*shared, fields[-1], *rest)


def _check_stations(stations: Any) -> None:
    """Check station ids with their records."""
    check_one(stations, list)
    for station_id, records in stations:
        if type(station_id) is not str or type(records) is not list:
            message = "expected a station id and a list of its records"
            raise TypeError(message)


def _shared(fields: Any) -> tuple[_Fields, _Rest]:
    """Return the fields of a group before and behind its stations, which stand last and are passed over.

    One look-up checks the types of all fields: a check of each takes several times as long as reading them.
    """
    if tuple(map(type, fields)) not in _GROUP_TYPES:
        message = f"a group of other fields: {fields[:-1]!r:.200}"
        raise ValueError(message)
    batch_id, source, opened_at, deadline, key, *rest = fields
    if tuple(map(type, source)) != _SOURCE_TYPES:
        message = "expected a topic, a partition and an offset"
        raise TypeError(message)
    trace = _trace(rest[0]) if len(rest) > 1 else None
    latest = rest[1] if len(rest) > 2 else None  # noqa: PLR2004 - the last one is passed over
    # A named tuple's own way takes three times as long as this one.
    return (batch_id, tuple.__new__(Source, source), opened_at, deadline, _key(key)), (trace, latest)


def _context_events(
    topic: str, place: Sequence[Any], key: str | None, events: Iterable[Sequence[Any]]
) -> Iterator[ContextEvent]:
    partition, offset, timestamp = place
    check_one(topic, str)
    check_all([partition, offset], int)
    check_one(timestamp, float, int)
    at, key_bytes = Place(partition, offset, timestamp), _key(key)
    for station_id, *update in events:
        if update:
            time, records = update
            check_one(station_id, str)
            check_one(time, int, NoneType)
            check_all(records, dict)
            yield ContextUpdate(topic, at, key_bytes, station_id, time, records)
        else:
            check_one(station_id, str, NoneType)
            check_one(key_bytes, bytes)
            yield Tombstone(topic, at, key_bytes or b"", station_id)


# -- batch events ------------------------------------------------------------------------------------------------------


def event_frames(topic: str, partition: int, events: Iterable[BatchEvent]) -> list[OutMessage]:
    """Return frames of batch events for one partition, bounded by number: their events are small, or few."""
    every = list(events)
    chunks = [every[start : start + FRAME_EVENTS] for start in range(0, len(every), FRAME_EVENTS)]
    return [OutMessage(topic, encode_events(chunk), partition=partition) for chunk in chunks]


def encode_events(events: Iterable[BatchEvent]) -> bytes:
    """Return a frame of batch events."""
    return orjson.dumps({"v": FORMAT_VERSION, "events": [_event_list(event) for event in events]}, tuple)


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


def decode_events(value: bytes | None) -> list[BatchEvent]:
    """Read a frame of batch events; raises FrameError."""
    with _reading():
        return [_event(*event) for event in _load(value)["events"]]


def _event(kind: str, batch_id: str, *rest: Any) -> BatchEvent:
    check_one(batch_id, str)
    if kind == "arrived":
        return _arrived(batch_id, rest)
    if kind == "open":
        source, opened_at, deadline, stations, replayed, timeout, *trace = rest
        check_one(opened_at, float, int)
        check_one(deadline, float, int)
        check_all(stations, str)
        check_one(replayed, bool)
        check_one(timeout, float, int, NoneType)
        return Open(batch_id, _source(*source), opened_at, deadline, tuple(stations), replayed, timeout, _trace(*trace))
    if kind == "command":
        action, at, by, seconds = rest
        check_all([at, seconds], float, int)
        check_one(by, str)
        return Command(batch_id, Action(action), at, by, seconds)
    if kind not in ("expire", "forget", "revise"):
        message = f"unknown kind of batch event {kind!r}"
        raise FrameError(message)
    about, at = rest
    check_all([about, at], float, int)
    if kind == "revise":
        check_one(about, int)
        return Revise(batch_id, about, at)
    return Expire(batch_id, about, at) if kind == "expire" else Forget(batch_id, about, at)


def _arrived(batch_id: str, fields: Sequence[Any]) -> Arrived:
    source, at, stations, codes, values, letters, *trace = fields
    check_one(at, float, int)
    check_one(codes, str)
    check_all(stations, str)
    check_all(values, str, NoneType)
    if not len(stations) == len(codes) == len(values) or not CODES.issuperset(codes):
        message = "the lists of an arrival do not run in parallel"
        raise ValueError(message)
    read = {int(index): _letter(*letter) for index, letter in letters.items()}
    return Arrived(batch_id, _source(*source), at, stations, codes, values, read, _trace(*trace))


def _letter(value: str, key: str | None, error: str, too_large: int) -> FailureLetter:
    check_all([value, error], str)
    return FailureLetter(value, _key(key), error, bool(too_large))


def _source(topic: str, partition: int, offset: int) -> Source:
    if type(topic) is not str or type(partition) is not int or type(offset) is not int:
        message = "expected a topic, a partition and an offset"
        raise TypeError(message)
    return Source(topic, partition, offset)


# -- what both kinds of frames share -----------------------------------------------------------------------------------


@contextmanager
def _reading() -> Iterator[None]:
    """Turn every error that a frame of another shape leads to into a FrameError."""
    try:
        yield
    except FrameError:
        raise
    except _OTHER_SHAPE as error:
        raise _not_ours(error) from error


def _not_ours(error: Exception) -> FrameError:
    return FrameError(f"not a frame of this application: {error!r}")


def _load(value: bytes | None) -> dict[str, Any]:
    frame: dict[str, Any] = exact_json.loads_marked(value or b"")
    check_version(frame["v"], FORMAT_VERSION)
    return frame


def _text(key: bytes | None) -> str | None:
    """Return a Kafka key, which is any bytes, as text for JSON."""
    return None if key is None else base64.b64encode(key).decode()


def _key(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def _given(trace: str | None) -> Sequence[str]:
    """Return what is written of a trace at the end of a list."""
    return () if trace is None else (trace,)


def _trace(trace: str | None = None) -> str | None:
    if trace is not None and not is_trace(trace):
        message = f"{trace!r} is no trace context"
        raise ValueError(message)
    return trace
