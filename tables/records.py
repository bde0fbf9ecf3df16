"""The records of the table `batches` and their bytes: a batch's header, and what each chunk of the log brought it.

`batch id`           the header, from the closing of the batch on
`batch id#offsets`   a segment: the messages and outcomes that one chunk of the log brought, written once
`batch id#offsets+`  the same of what came after the closing: it outlives what came in time

All of them stand in one changelog, in the order in which they were written, so that whatever of it a crash leaves is a
state that the batch was in: no outcome without its message, nothing late without the header. An id and a result are
each written a constant number of times, so the changelog grows linearly with the stations. All records carry a format
version. Pure: bytes in, records out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from tables.batch import Batch, Extension, Group, SourceState
from tables.codes import Action, CompletedBy, State, Status
from tables.events import Operator, Position, Source

__all__ = [
    "FORMAT_VERSION",
    "Destination",
    "Header",
    "Prepared",
    "Segment",
    "StoredSource",
    "Table",
    "UnreadableRecordError",
    "Write",
    "batch_of_key",
    "decode_header",
    "decode_segment",
    "encode_header",
    "encode_segment",
    "header_of",
    "is_late",
    "is_segment",
    "segment_key",
]

FORMAT_VERSION = 1
LATE = "+"  # ends the keys of what came late


class UnreadableRecordError(ValueError):
    """A table's record can't be read: written by a newer version, or damaged."""


class Table(StrEnum):
    """The aggregator's table."""

    BATCHES = "batches"


@dataclass(frozen=True, slots=True)
class Write:
    """A record to be stored, or deleted where `value` is None."""

    table: Table
    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a batch's output goes; decided with the batch, so that a new owner looks for it in the same place."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a custom result handler has answered: what to publish, nothing, or the error of a dead letter.

    Both are there when the answer was too large: then `value` is only the start of it.
    """

    value: str | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StoredSource:
    """A source message of a batch. `codes` are those that its stations had when the batch closed; "" in a segment."""

    source: Source
    opened_at: float
    deadline: float
    stations: tuple[str, ...]
    codes: str
    position: Position


@dataclass(frozen=True, slots=True)
class Segment:
    """What one chunk of the log brought to one batch, all of it in time or all of it late."""

    sources: list[StoredSource]
    groups: list[Group]
    extensions: list[Extension] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Header:
    """A batch whose decision has been made: all that is needed to publish it and to tell what comes late."""

    batch_id: str
    state: State
    status: Status
    completed_by: CompletedBy
    revision: int
    opened_at: float
    deadline: float
    closed_at: float
    expected_count: int
    arrived_count: int
    failed_count: int
    empty_count: int
    sources: tuple[StoredSource, ...]
    errors: dict[str, str]
    destination: Destination
    tail: tuple[Group, ...] = ()
    prepared: Prepared | None = None
    operator: Operator | None = None


def segment_key(
    batch_id: str,
    sources: Sequence[SourceState],
    groups: Sequence[Group],
    extensions: Sequence[Extension] = (),
    *,
    late: bool,
) -> bytes:
    """Key of a segment, by the offsets of its first and its last event that concern the batch.

    Both, because two owners may cut the log differently, and neither's record may take the place of one of the other's
    that holds more.
    """
    offsets = [one.position.offset for ends in (sources, groups, extensions) if ends for one in (ends[0], ends[-1])]
    first, last = min(offsets), max(offsets)
    return f"{batch_id}#{first:020d}-{last - first}{LATE if late else ''}".encode()


def is_segment(key: bytes) -> bool:
    """Whether a record is a segment; `#` can't stand in a batch id."""
    return b"#" in key


def is_late(key: bytes) -> bool:
    """Whether a record is of something that came after its batch had closed."""
    return key.endswith(LATE.encode())


def batch_of_key(key: bytes) -> str:
    """Batch id of a key."""
    return key.partition(b"#")[0].decode()


def encode_segment(
    sources: Sequence[SourceState], groups: Sequence[Group], extensions: Sequence[Extension] = ()
) -> bytes:
    """Bytes of a segment."""
    record: dict[str, Any] = {
        "v": FORMAT_VERSION,
        "sources": [_source_list(source) for source in sources],
        "groups": [_group_list(group) for group in groups],
    }
    if extensions:
        record["extensions"] = [(one.position, one.deadline, one.at, one.by, one.seconds) for one in extensions]
    return orjson.dumps(record, tuple)


def decode_segment(key: bytes, value: bytes) -> Segment:
    """Read back `encode_segment`."""
    with _reading(key):
        record = _load(key, value)
        return Segment(
            [_load_source(source) for source in record["sources"]],
            [_load_group(group) for group in record["groups"]],
            [Extension(Position(*position), *rest) for position, *rest in record.get("extensions", ())],
        )


def encode_header(header: Header) -> bytes:
    """Bytes of a header."""
    record: dict[str, Any] = {
        "v": FORMAT_VERSION,
        "id": header.batch_id,
        "state": header.state,
        "status": header.status,
        "completed_by": header.completed_by,
        "revision": header.revision,
        "opened_at": header.opened_at,
        "deadline": header.deadline,
        "closed_at": header.closed_at,
        "counts": [header.expected_count, header.arrived_count, header.failed_count, header.empty_count],
        "sources": [_source_list(source) for source in header.sources],
        "errors": header.errors,
        "destination": [header.destination.topic, header.destination.partition],
    }
    if header.tail:
        record["tail"] = [_group_list(group) for group in header.tail]
    if header.operator:
        record["operator"] = header.operator
    if header.prepared:
        record["prepared"] = [header.prepared.value, header.prepared.error]
    return orjson.dumps(record, tuple)


def decode_header(key: bytes, value: bytes) -> Header:
    """Read back `encode_header`."""
    with _reading(key):
        return _header(_load(key, value))


def _header(record: dict[str, Any]) -> Header:
    expected, arrived, failed, empty = record["counts"]
    prepared, operator = record.get("prepared"), record.get("operator")
    return Header(
        batch_id=record["id"],
        state=State(record["state"]),
        status=Status(record["status"]),
        completed_by=CompletedBy(record["completed_by"]),
        revision=record["revision"],
        opened_at=record["opened_at"],
        deadline=record["deadline"],
        closed_at=record["closed_at"],
        expected_count=expected,
        arrived_count=arrived,
        failed_count=failed,
        empty_count=empty,
        sources=tuple(_load_source(source) for source in record["sources"]),
        errors=record["errors"],
        destination=Destination(*record["destination"]),
        tail=tuple(_load_group(group) for group in record.get("tail", ())),
        prepared=Prepared(*prepared) if prepared else None,
        operator=_operator(*operator) if operator else None,
    )


def _operator(action: str, by: str, at: float) -> Operator:
    return Operator(Action(action), by, at)


def header_of(batch: Batch, destination: Destination, tail: list[Group]) -> Header:
    """The header of a batch whose decision has just been made."""
    decision = batch.decision
    if decision is None:
        message = f"batch {batch.batch_id} has no decision yet"
        raise ValueError(message)
    return Header(
        batch_id=batch.batch_id,
        state=State.CLOSING,
        status=decision.status,
        completed_by=decision.completed_by,
        revision=decision.revision,
        opened_at=decision.opened_at,
        deadline=decision.deadline,
        closed_at=decision.closed_at,
        expected_count=len(decision.expected),
        arrived_count=decision.arrived_count,
        failed_count=len(decision.failed),
        empty_count=len(decision.empty),
        sources=tuple(
            StoredSource(s.source, s.opened_at, s.deadline, s.stations, s.codes, s.position)
            for s in batch.sources.values()
            if not s.late
        ),
        errors=dict(decision.failed),
        destination=destination,
        tail=tuple(tail),
        operator=decision.operator,
    )


@contextmanager
def _reading(key: bytes) -> Iterator[None]:
    """Whatever is not as we write it is an UnreadableRecordError."""
    try:
        yield
    except UnreadableRecordError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        message = f"the record of key {key!r} is not one of ours: {error!r}"
        raise UnreadableRecordError(message) from error


def _load(key: bytes, value: bytes) -> dict[str, Any]:
    record = orjson.loads(value)
    version = record["v"]
    if version != FORMAT_VERSION:
        message = f"the record of key {key!r} has format version {version}; this program reads {FORMAT_VERSION}"
        raise UnreadableRecordError(message)
    return dict(record)


def _source_list(source: StoredSource | SourceState) -> list[Any]:
    return [source.position, source.source, source.opened_at, source.deadline, source.stations, source.codes]


def _load_source(record: list[Any]) -> StoredSource:
    position, source, opened_at, deadline, stations, codes = record
    if codes and len(codes) != len(stations):
        message = "lists that run in parallel differ in length"
        raise ValueError(message)
    return StoredSource(Source(*source), opened_at, deadline, tuple(stations), codes, Position(*position))


def _group_list(group: Group) -> list[Any]:
    return [group.position, group.source, group.stations, group.codes, group.values]


def _load_group(record: list[Any]) -> Group:
    position, source, stations, codes, values = record
    if not len(stations) == len(codes) == len(values):
        message = "lists that run in parallel differ in length"
        raise ValueError(message)
    return Group(Position(*position), Source(*source), stations, codes, values)
