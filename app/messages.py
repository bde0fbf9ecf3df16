"""The internal messages and their bytes: the only place that knows the wire.

A frame is one Kafka message that carries many events of one partition, because Kafka's and Faust's cost is per message.
Frames are JSON with a format version. Results travel as JSON text inside a string, so that the aggregator moves them
from the station agent to the output without ever parsing them. (orjson writes named tuples only when it is told to:
that is the `tuple` after what is dumped.)
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tables.events import Arrived, BatchEvent, Expire, FailureLetter, Forget, Open, Source

__all__ = [
    "FORMAT_VERSION",
    "FrameError",
    "StationGroup",
    "decode_events",
    "decode_stations",
    "encode_events",
    "encode_group",
    "encode_station",
    "encode_stations",
]

FORMAT_VERSION = 1

Record = dict[str, Any]


class FrameError(ValueError):
    """An internal message can't be read: written by a newer version, or not by this application."""


@dataclass(frozen=True, slots=True)
class StationGroup:
    """Station events of one source message: each a station id and its records in message order.

    `opened_at` and `deadline` are Unix seconds as the splitter stamped them. `key` is the source message's.
    """

    batch_id: str
    source: Source
    opened_at: float
    deadline: float
    key: bytes | None
    stations: Sequence[tuple[str, list[Record]]]


def encode_station(station_id: str, records: list[Record]) -> bytes:
    """Bytes of one station event; a frame is put together of these."""
    return orjson.dumps((station_id, records))


def encode_group(group: StationGroup) -> bytes:
    """Bytes of what the station events of one source message share: the start of a list that they end."""
    shared = [group.batch_id, group.source, group.opened_at, group.deadline, _text(group.key)]
    return orjson.dumps(shared, tuple)[:-1] + b",["


def encode_stations(groups: Iterable[tuple[bytes, Iterable[bytes]]]) -> bytes:
    """A frame of `encode_group` and `encode_station` bytes."""
    body = b",".join([head + b",".join(stations) + b"]]" for head, stations in groups])
    return b'{"v":%d,"groups":[%b]}' % (FORMAT_VERSION, body)


def decode_stations(value: bytes | None) -> list[StationGroup]:
    """Read back a frame of station events."""
    return [
        StationGroup(batch_id, Source(*source), opened_at, deadline, _key(key), stations)
        for batch_id, source, opened_at, deadline, key, stations in _load(value, "groups")
    ]


def encode_events(events: Iterable[BatchEvent]) -> bytes:
    """A frame of batch events."""
    return orjson.dumps({"v": FORMAT_VERSION, "events": [_event_list(event) for event in events]}, tuple)


def decode_events(value: bytes | None) -> list[BatchEvent]:
    """Read back a frame of batch events."""
    events: list[BatchEvent] = []
    for kind, batch_id, *rest in _load(value, "events"):
        if kind == "arrived":
            source, at, stations, codes, values, letters = rest
            read = {int(index): FailureLetter(text, _key(key), error) for index, (text, key, error) in letters.items()}
            events.append(Arrived(batch_id, Source(*source), at, stations, codes, values, read))
        elif kind == "open":
            source, opened_at, deadline, stations = rest
            events.append(Open(batch_id, Source(*source), opened_at, deadline, tuple(stations)))
        elif kind == "expire":
            events.append(Expire(batch_id, *rest))
        elif kind == "forget":
            events.append(Forget(batch_id, *rest))
        else:
            message = f"unknown kind of batch event {kind!r}"
            raise FrameError(message)
    return events


def _event_list(event: BatchEvent) -> list[Any]:
    if isinstance(event, Arrived):
        letters = {
            str(index): (letter.value, _text(letter.key), letter.error) for index, letter in event.letters.items()
        }
        return [
            "arrived", event.batch_id, event.source, event.at, event.stations, event.codes, event.values, letters,
        ]  # fmt: skip
    if isinstance(event, Open):
        return ["open", event.batch_id, event.source, event.opened_at, event.deadline, event.stations]
    if isinstance(event, Expire):
        return ["expire", event.batch_id, event.deadline, event.at]
    return ["forget", event.batch_id, event.closed_at, event.at]


def _text(key: bytes | None) -> str | None:
    """A Kafka key is any bytes; JSON is text."""
    return None if key is None else base64.b64encode(key).decode()


def _key(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def _load(value: bytes | None, field: str) -> list[Any]:
    try:
        frame = orjson.loads(value or b"")
        version = frame["v"]
        events: list[Any] = frame[field]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        message = f"not a frame of this application: {error!r}"
        raise FrameError(message) from error
    if version != FORMAT_VERSION:
        message = f"the frame has format version {version}; this program reads {FORMAT_VERSION}"
        raise FrameError(message)
    return events
