"""Context records: the newest of each station and topic is kept. Pure.

The Faust table `context` is partitioned like the station events, and has one writer, the station agent of the
partition. An entry of the table holds what is known of one station on one context topic. Its key is

`topic#station id`   for one station
`topic#`             for every station: the record names none, and stands in every partition

Only the newest point in time is kept. An update with a later time replaces the entry, one with an earlier time changes
nothing, and one with the same time is merged host by host. Where either has no time, the later in the log replaces the
other. Applying an update again changes nothing. An example, with the entry after each message:

    offset 0   10:00, hosts h1 and h2   h1 and h2 of 0
    offset 1   10:00, host h1           h2 of 0, h1 of 1    same time: only h1 is replaced
    offset 2   09:00, host h2           h2 of 0, h1 of 1    earlier: nothing changes
    offset 0   again                    h2 of 0, h1 of 1    h1 of 1 stands later in the log, h2 is the same
    offset 3   11:00, host h2           h2 of 3             later: all of 10:00 is gone
    tombstone at offset 4               nothing
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, NamedTuple

from tables.storage.checks import NUMBER, check_one
from tables.storage.exact_json import dumps_marked
from tables.storage.records import FORMAT_VERSION, Table, Write, load, reading

EVERYONE = ""
"""Stands for the station id of a context record that names none: it is for every station."""

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

        Between partitions the timestamps decide, because offsets say nothing there. Within a partition a lower offset
        with a later timestamp is not before: the topic has been made anew.
        """
        if self.partition == other.partition:
            return self.offset < other.offset and self.timestamp <= other.timestamp
        return self.timestamp < other.timestamp


@dataclass(frozen=True, slots=True)
class ContextUpdate:
    """The records of one station, or of `EVERYONE`, in a message.

    `records` are those of its latest time in the message, at least one; `time` is that in whole Unix seconds, None for
    a record without a time. `key` is the message's.
    """

    topic: str
    place: Place
    key: bytes | None
    station_id: str
    time: int | None
    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A message without a value: it deletes the entry of the station that its key names.

    It also deletes the entry of everyone, if that came with the same key. `station_id` is None where the station
    belongs to another partition.
    """

    topic: str
    place: Place
    key: bytes
    station_id: str | None


ContextEvent = ContextUpdate | Tombstone


@dataclass(frozen=True, slots=True)
class MessageRecords:
    """The records of an entry that came in one message."""

    place: Place
    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class Entry:
    """The records of one station on one topic, of one point in time, in the order of the log.

    `key` is that of the message that changed the entry last.
    """

    time: int | None
    key: bytes | None
    messages: Sequence[MessageRecords]

    @property
    def records(self) -> list[Record]:
        """The records of all messages."""
        return [record for message in self.messages for record in message.records]

    def is_ahead(self, limit: float) -> bool:
        """Say whether its time is later than its latest message by more than `limit` seconds; 0: no limit."""
        at = max(message.place.timestamp for message in self.messages)
        return bool(limit) and at > 0 and self.time is not None and self.time > at + limit


def context_key(topic: str, station_id: str) -> bytes:
    """Return the key of an entry; `#` can't stand in a topic's name."""
    return f"{topic}#{station_id}".encode()


def owner_of(key: bytes) -> tuple[str, str]:
    """Return the topic and the station id of the key of an entry."""
    topic, _, station_id = key.decode().partition("#")
    return topic, station_id


def apply(event: ContextEvent, get: Get, *, max_ahead: float = 0.0) -> list[Write]:
    """Return the changes that an event makes; `get` gives what is stored under a key.

    An entry whose time is later than its own message by more than `max_ahead` seconds counts as one without a time: it
    was stored when there was no such limit, and would keep every update out. 0: no limit.

    A deletion is written even where there is nothing to delete: memory may be ahead of the changelog.

    Raises:
        UnreadableRecordError: what is stored is not one of ours, or a newer version's.
    """
    if isinstance(event, Tombstone):
        return _deleted(event, get)
    key = context_key(event.topic, event.station_id)
    entry = _updated(_entry(key, get), event, max_ahead)
    return [] if entry is None else [Write(Table.CONTEXT, key, encode_entry(entry))]


def _entry(key: bytes, get: Get) -> Entry | None:
    value = get(key)
    return None if value is None else decode_entry(key, value)


def _updated(entry: Entry | None, update: ContextUpdate, max_ahead: float) -> Entry | None:
    """Return the entry with an update in it; None when that changes nothing."""
    new = Entry(update.time, update.key, (MessageRecords(update.place, update.records),))
    if entry is None:
        return new
    if entry.time is None or update.time is None or entry.is_ahead(max_ahead):
        return _after(update.place, entry) or new
    if update.time != entry.time:
        return new if update.time > entry.time else None
    return _merged(entry, update)


def _after(place: Place, entry: Entry) -> Entry | None:
    """Return what an entry has from messages later in the log than a place; None if that is nothing."""
    later = [message for message in entry.messages if place.precedes(message.place)]
    return Entry(entry.time, entry.key, later) if later else None


def _merged(entry: Entry, update: ContextUpdate) -> Entry | None:
    """Merge an update of the same time: of each host, the records of the message that stands later in the log."""
    later = [message for message in entry.messages if update.place.precedes(message.place)]
    earlier = [message for message in entry.messages if message not in later]
    own = _without(update.records, {_host(record) for message in later for record in message.records})
    if not own:
        return None
    hosts = {_host(record) for record in own}
    kept = [MessageRecords(one.place, records) for one in earlier if (records := _without(one.records, hosts))]
    messages = [*kept, MessageRecords(update.place, own), *later]
    return Entry(entry.time, entry.key if later else update.key, messages)


def _without(records: Sequence[Record], hosts: set[str | None]) -> list[Record]:
    return [record for record in records if _host(record) not in hosts]


def _host(record: Record) -> str | None:
    """Return the host that a record is from; guns are told apart by it, too."""
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
    """Keep of an entry what is later in the log than a tombstone: that is there if the tombstone comes again."""
    left = None if entry is None else _after(tombstone.place, entry)
    return Write(Table.CONTEXT, key, None if left is None else encode_entry(left))


# -- bytes -----------------------------------------------------------------------------------------------------------


def encode_entry(entry: Entry) -> bytes:
    """Return the bytes of an entry."""
    record = {
        "v": FORMAT_VERSION,
        "time": entry.time,
        "key": None if entry.key is None else base64.b64encode(entry.key).decode(),
        "parts": [(message.place, message.records) for message in entry.messages],
    }
    return dumps_marked(record, tuple)


_HEAD = 40  # bytes that surely hold the time, and nothing of the records
_TIME = re.compile(rb'"time":(-?[0-9]+)')


def time_in(value: bytes) -> int | None:
    """Return the time in the bytes of an entry, which stands before all else, without reading the rest."""
    found = _TIME.search(value, 0, _HEAD)
    return None if found is None else int(found[1])


def decode_entry(key: bytes, value: bytes) -> Entry:
    """Read back `encode_entry`."""
    with reading(key):
        record = load(key, value)
        check_one(record["time"], int, NoneType)
        return Entry(
            time=record["time"],
            key=None if record["key"] is None else base64.b64decode(record["key"]),
            messages=[_message_records(place, records) for place, records in record["parts"]],
        )


def _message_records(place: Any, records: Any) -> MessageRecords:
    partition, offset, timestamp = place
    # By hand, because it is done for each station that has context: `check_all` takes three times as long.
    if type(partition) is not int or type(offset) is not int or type(timestamp) not in NUMBER:
        message = "expected a partition, an offset and a time"
        raise TypeError(message)
    if type(records) is not list or any(type(record) is not dict for record in records):
        message = "expected a list of records"
        raise TypeError(message)
    return MessageRecords(Place(partition, offset, timestamp), records)
