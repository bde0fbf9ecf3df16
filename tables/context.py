"""Context records: what of them is kept for each station, and which record is the newest. Pure.

The Faust table `context` is partitioned like the station events, and has one writer, the station agent of the
partition. A record of it, an entry, is what is known of one station on one context topic:

`topic#station id`   of that station
`topic#`             of everyone: it came in a record that names no station, and stands in every partition

Of a topic only the newest point in time is kept. An update with a later time takes the entry's place, one with an
earlier time changes nothing, and one of the same time is merged host by host. Where either has no time, what stands
later in the log takes the place of what was there. Applying an update again changes nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from tables.storage.formats import FORMAT_VERSION, load, reading
from tables.storage.records import Table, Write

__all__ = [
    "EVERYONE",
    "ContextEvent",
    "ContextUpdate",
    "Entry",
    "Part",
    "Place",
    "Record",
    "Tombstone",
    "apply",
    "context_key",
    "decode_entry",
    "encode_entry",
]

EVERYONE = ""
"""Stands for the station id of a context record that names none: it is every station's."""

Record = dict[str, Any]
"""One record of a message: a JSON object."""
Get = Callable[[bytes], bytes | None]


class Place(NamedTuple):
    """Where a context message stands in its topic. `timestamp` is Kafka's, Unix seconds."""

    partition: int
    offset: int
    timestamp: float

    def precedes(self, other: Place) -> bool:
        """Whether it stands before another place of the same topic.

        Offsets of two partitions say nothing, so there it is the timestamps. Within a partition a lower offset with a
        later timestamp is not before: the topic has been made anew.
        """
        if self.partition == other.partition:
            return self.offset < other.offset and self.timestamp <= other.timestamp
        return self.timestamp < other.timestamp


@dataclass(frozen=True, slots=True)
class ContextUpdate:
    """What a message says of a station, or of `EVERYONE`.

    `records` are those of its latest time in the message, at least one; `time` is that in whole Unix seconds, None for
    a record without one. `key` is the message's.
    """

    topic: str
    place: Place
    key: bytes | None
    station_id: str
    time: int | None
    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A message without a value: what is known of the station that its key names is deleted.

    So is what is known of everyone, if it came with that key. `station_id` is None where the station is none of this
    partition's.
    """

    topic: str
    place: Place
    key: bytes
    station_id: str | None


ContextEvent = ContextUpdate | Tombstone


@dataclass(frozen=True, slots=True)
class Part:
    """The records of an entry that came in one message."""

    place: Place
    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one station on one topic: records of one point in time, in the order of the log.

    `key` is that of the message which told of it last.
    """

    time: int | None
    key: bytes | None
    parts: Sequence[Part]

    @property
    def records(self) -> list[Record]:
        """All of them."""
        return [record for part in self.parts for record in part.records]


def context_key(topic: str, station_id: str) -> bytes:
    """Key of an entry; `#` can't stand in a topic's name."""
    return f"{topic}#{station_id}".encode()


def apply(event: ContextEvent, get: Get) -> list[Write]:
    """What an event changes; `get` gives what is stored under a key.

    A deletion is written also where there is nothing to delete: what is in memory may be ahead of the changelog.

    Raises:
        UnreadableRecordError: what is stored is not one of ours, or a newer version's.
    """
    if isinstance(event, Tombstone):
        return _deleted(event, get)
    key = context_key(event.topic, event.station_id)
    entry = _updated(_entry(key, get), event)
    return [] if entry is None else [Write(Table.CONTEXT, key, encode_entry(entry))]


def _entry(key: bytes, get: Get) -> Entry | None:
    value = get(key)
    return None if value is None else decode_entry(key, value)


def _updated(entry: Entry | None, update: ContextUpdate) -> Entry | None:
    """The entry with an update in it; None when that changes nothing."""
    new = Entry(update.time, update.key, (Part(update.place, update.records),))
    if entry is None:
        return new
    if entry.time is None or update.time is None:
        return _behind(update.place, entry) or new
    if update.time != entry.time:
        return new if update.time > entry.time else None
    return _merged(entry, update)


def _behind(place: Place, entry: Entry) -> Entry | None:
    """What is left of an entry when what stands at a place has taken the place of all that stands before that."""
    parts = [part for part in entry.parts if place.precedes(part.place)]
    return Entry(entry.time, entry.key, parts) if parts else None


def _merged(entry: Entry, update: ContextUpdate) -> Entry | None:
    """Both have the same time: of each host, the records of the message that stands later in the log."""
    later = [part for part in entry.parts if update.place.precedes(part.place)]
    earlier = [part for part in entry.parts if part not in later]
    own = _without(update.records, {_host(record) for part in later for record in part.records})
    if not own:
        return None
    hosts = {_host(record) for record in own}
    kept = [Part(part.place, records) for part in earlier if (records := _without(part.records, hosts))]
    return Entry(entry.time, entry.key if later else update.key, [*kept, Part(update.place, own), *later])


def _without(records: Sequence[Record], hosts: set[str | None]) -> list[Record]:
    return [record for record in records if _host(record) not in hosts]


def _host(record: Record) -> str | None:
    """The host that a record is from, as the guns of a station are told apart."""
    host = record.get("hostCode")
    return None if host is None else str(host)


def _deleted(tombstone: Tombstone, get: Get) -> list[Write]:
    everyones = context_key(tombstone.topic, EVERYONE)
    entry = _entry(everyones, get)
    writes = []
    if entry is None or entry.key == tombstone.key:
        writes.append(_cut(everyones, entry, tombstone))
    if tombstone.station_id is not None:
        key = context_key(tombstone.topic, tombstone.station_id)
        writes.append(_cut(key, _entry(key, get), tombstone))
    return writes


def _cut(key: bytes, entry: Entry | None, tombstone: Tombstone) -> Write:
    """Of an entry, what stands behind a tombstone in the log: it has come before, if the tombstone comes again."""
    left = None if entry is None else _behind(tombstone.place, entry)
    return Write(Table.CONTEXT, key, None if left is None else encode_entry(left))


# -- bytes -----------------------------------------------------------------------------------------------------------


def encode_entry(entry: Entry) -> bytes:
    """Bytes of an entry."""
    record = {
        "v": FORMAT_VERSION,
        "time": entry.time,
        "key": None if entry.key is None else base64.b64encode(entry.key).decode(),
        "parts": [(part.place, part.records) for part in entry.parts],
    }
    return orjson.dumps(record, tuple)


def decode_entry(key: bytes, value: bytes) -> Entry:
    """Read back `encode_entry`."""
    with reading(key):
        record = load(key, value)
        return Entry(
            time=record["time"],
            key=None if record["key"] is None else base64.b64decode(record["key"]),
            parts=[Part(Place(*place), records) for place, records in record["parts"]],
        )
