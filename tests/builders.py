"""Batch events in few words, and a partition's owner in memory: what the tests of the batch state machine share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from app.messages.output import parts_of
from tables.model.batch import FIRST_REVISION, Batch
from tables.model.enums import Action, Code
from tables.model.events import (
    Arrived,
    BatchEvent,
    Command,
    Decision,
    Effect,
    Expire,
    FailureLetter,
    Late,
    Open,
    Position,
    Released,
    Source,
)
from tables.model.policies import Rules
from tables.storage.decided import undone_of, write_of
from tables.storage.records import Destination, Header, Revision, Table, Write
from tables.working_set import WorkingSet

__all__ = [
    "DESTINATION",
    "TOPIC",
    "Entry",
    "MemoryRecords",
    "Owner",
    "arrived",
    "command",
    "decisions",
    "expire",
    "late_stations",
    "letter_of",
    "of_type",
    "open_",
    "output_bytes",
    "record_bytes",
    "source",
    "value_of",
]

TOPIC = "SCHEDULE-STATION-REALTIME-DATA"
DESTINATION = Destination("MODULE-OUTPUT-TEST", 3)

Entry = tuple[Position, BatchEvent]
E = TypeVar("E", bound=Effect)


def source(message: int = 0) -> Source:
    """A source message, by its offset."""
    return Source(TOPIC, 0, message)


def open_(
    stations: Iterable[str],
    *,
    message: int = 0,
    at: float = 100.0,
    timeout: float = 5.0,
    batch: str = "b",
    replayed: bool = False,
    trace: str | None = None,
) -> Open:
    """A message that names `stations`; ids of one letter may come as one text."""
    return Open(batch, source(message), at, at + timeout, tuple(stations), replayed, trace=trace)


def value_of(station: str, code: str, message: int = 0) -> str | None:
    """What a station's outcome holds: another text for every message and station."""
    if code == Code.EMPTY:
        return None
    if code == Code.RESULT:
        return f'{{"station_id":"{station}","result":{message}}}'
    return f"{'ValueError' if code == Code.FAILED else 'skipped'}: {station} of {message}"


def letter_of(station: str, message: int = 0) -> FailureLetter:
    """The dead letter of a failed station."""
    return FailureLetter(
        f'{{"{TOPIC}":[{{"stationId":"{station}"}}]}}', b"\xff key", f"Traceback of {station}/{message}"
    )


def arrived(
    stations: Iterable[str], codes: str = "", *, message: int = 0, at: float = 101.0, batch: str = "b"
) -> Arrived:
    """Outcomes; `codes` is a letter for each station, results where it is left out."""
    ids = list(stations)
    codes = codes or "r" * len(ids)
    return Arrived(
        batch,
        source(message),
        at,
        ids,
        codes,
        [value_of(station, code, message) for station, code in zip(ids, codes, strict=True)],
        {i: letter_of(ids[i], message) for i, code in enumerate(codes) if code == Code.FAILED},
    )


def expire(deadline: float = 105.0, *, at: float | None = None, batch: str = "b") -> Expire:
    """The deadline has come; noticed a little later."""
    return Expire(batch, deadline, deadline + 0.05 if at is None else at)


def command(action: str, *, at: float = 102.0, by: str = "ops", seconds: float = 0.0, batch: str = "b") -> Command:
    """An operator's wish."""
    return Command(batch, Action(action), at, by, seconds)


def of_type(kind: type[E], effects: Iterable[Effect]) -> list[E]:
    """The effects of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def decisions(effects: Iterable[Effect]) -> list[Decision]:
    """What has been decided."""
    return [effect.decision for effect in of_type(Released, effects)]


def late_stations(effects: Iterable[Effect]) -> list[str]:
    """Stations that were late."""
    return [effect.station for effect in of_type(Late, effects)]


def output_bytes(decision: Decision, max_bytes: int = 400) -> list[bytes]:
    """The messages of a decision's output, in parts where it is not tiny, each with what its headers are made of."""
    traces = repr(decision.traces).encode()
    return [part.value + traces for part in parts_of(decision, "test", with_meta=True, max_bytes=max_bytes)]


def record_bytes(record: Header | Revision, *, closed: bool = False) -> bytes:
    """A decision's record; `closed`: as it is when the output is out."""
    value = write_of(undone_of(record), closed=closed).value
    assert value is not None
    return value


class MemoryRecords:
    """The stored records of one partition, in dicts."""

    def __init__(self, tables: dict[Table, dict[bytes, bytes]] | None = None) -> None:
        self.tables = {table: dict(tables.get(table, {})) if tables else {} for table in Table}

    def items(self, table: Table) -> Iterable[tuple[bytes, bytes]]:
        return self.tables[table].items()

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self.tables[table].get(key)

    def write(self, writes: Iterable[Write]) -> None:
        for write in writes:
            if write.value is None:
                self.tables[write.table].pop(write.key, None)
            else:
                self.tables[write.table][write.key] = write.value

    def copy(self) -> MemoryRecords:
        return MemoryRecords(self.tables)

    def __len__(self) -> int:
        return sum(map(len, self.tables.values()))


class Owner:
    """A partition's owner: applies its log, stores, and publishes when told to."""

    def __init__(self, records: MemoryRecords | None = None, rules: Rules | None = None) -> None:
        self.records = MemoryRecords() if records is None else records
        self.rules = rules or Rules()
        self.set = WorkingSet(self.records, self.rules)
        self.left = self.set.recover()
        self.next_offset = 0
        self.written = 0  # bytes of keys and values

    def feed(self, *events: BatchEvent) -> list[Effect]:
        """Apply events, each a message of its own, as one chunk; store what they led to."""
        start = self.next_offset
        self.next_offset += len(events)
        effects, writes = self.apply([(Position(start + i, 0), event) for i, event in enumerate(events)])
        self.store(writes)
        return effects

    def feed_each(self, *events: BatchEvent) -> list[Effect]:
        """The same, each event as a chunk of its own."""
        return [effect for event in events for effect in self.feed(event)]

    def apply(self, entries: Sequence[Entry]) -> tuple[list[Effect], list[Write]]:
        """Apply a chunk without storing anything."""
        effects = [effect for position, event in entries for effect in self.set.apply(event, position)]
        released = {decision.batch_id: DESTINATION for decision in decisions(effects)}
        return effects, self.set.take_writes(released)

    def store(self, writes: Sequence[Write]) -> None:
        """Make changes durable, all of them."""
        self.written += sum(len(write.key) + len(write.value or b"") for write in writes)
        self.records.write(writes)

    def publish(self, batch: str = "b", revision: int = FIRST_REVISION) -> None:
        """Note that a decision is out."""
        self.store(self.set.published(batch, revision))

    def batch(self, batch: str = "b") -> Batch:
        """A batch that is known."""
        found = self.set.look_up(batch)
        assert found is not None
        return found

    def restarted(self, rules: Rules | None = None) -> Owner:
        """Another owner, from the same stored records, under the same rules or others."""
        other = Owner(self.records, rules or self.rules)
        other.next_offset = self.next_offset
        return other
