"""The records of the tables and their bytes: a batch's header, its source messages, its segments of outcomes.

`batches[batch id]`            the header, from the closing of the batch on
`batch_opens[batch id#source]` one record for each source message: its expected stations in order
`batch_results[batch id#offset]` the outcomes that one chunk of the log brought, written once

An id and a result are each written a constant number of times, so the changelogs grow linearly with the stations. All
records carry a format version. Pure: bytes in, records out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from tables.batch import Batch, Group, SourceState
from tables.codes import CompletedBy, State, Status
from tables.events import Position, Source

__all__ = [
    "FORMAT_VERSION",
    "Destination",
    "Header",
    "Prepared",
    "StoredSource",
    "Table",
    "UnreadableRecordError",
    "Write",
    "batch_of_key",
    "decode_header",
    "decode_open",
    "decode_segment",
    "encode_header",
    "encode_open",
    "encode_segment",
    "header_of",
    "late_segment_key",
    "open_key",
    "segment_key",
]

FORMAT_VERSION = 1


class UnreadableRecordError(ValueError):
    """A table's record can't be read: written by a newer version, or damaged."""


class Table(StrEnum):
    """The three tables of the aggregator."""

    BATCHES = "batches"
    OPENS = "batch_opens"
    RESULTS = "batch_results"


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
    """What a custom result handler has answered: the bytes to publish, nothing, or a dead letter with its error."""

    value: str | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StoredSource:
    """A source message in a header: with the codes that its stations had when the batch closed."""

    source: Source
    opened_at: float
    deadline: float
    stations: tuple[str, ...]
    codes: str
    position: Position


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


def open_key(batch_id: str, source: Source) -> bytes:
    """Key of a source message's record."""
    return f"{batch_id}#{source.topic}/{source.partition}/{source.offset}".encode()


def segment_key(batch_id: str, offset: int) -> bytes:
    """Key of the outcomes of a chunk, by the offset of its first event that concerns the batch."""
    return f"{batch_id}#{offset:020d}".encode()


def late_segment_key(batch_id: str, offset: int) -> bytes:
    """Key of outcomes that came after the closing: they outlive those that came in time."""
    return f"{batch_id}#{offset:020d}+".encode()


def batch_of_key(key: bytes) -> str:
    """Batch id of any table's key; `#` can't stand in a batch id."""
    return key.partition(b"#")[0].decode()


def encode_open(batch_id: str, source: SourceState) -> bytes:
    """Bytes of one source message's record."""
    return orjson.dumps(
        {
            "v": FORMAT_VERSION,
            "id": batch_id,
            "source": source.source,
            "opened_at": source.opened_at,
            "deadline": source.deadline,
            "position": source.position,
            "stations": source.stations,
        },
        tuple,
    )


def decode_open(key: bytes, value: bytes) -> StoredSource:
    """Read back `encode_open`; its `codes` are empty."""
    record = _load(key, value)
    return _source(record, "")


def encode_segment(groups: list[Group]) -> bytes:
    """Bytes of the outcomes of one chunk for one batch."""
    return orjson.dumps({"v": FORMAT_VERSION, "groups": [_group_list(group) for group in groups]}, tuple)


def decode_segment(key: bytes, value: bytes) -> list[Group]:
    """Read back `encode_segment`."""
    return [_load_group(group) for group in _load(key, value)["groups"]]


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
        "sources": [
            {
                "source": source.source,
                "opened_at": source.opened_at,
                "deadline": source.deadline,
                "position": source.position,
                "stations": source.stations,
                "codes": source.codes,
            }
            for source in header.sources
        ],
        "errors": header.errors,
        "destination": [header.destination.topic, header.destination.partition],
    }
    if header.tail:
        record["tail"] = [_group_list(group) for group in header.tail]
    if header.prepared:
        record["prepared"] = [header.prepared.value, header.prepared.error]
    return orjson.dumps(record, tuple)


def decode_header(key: bytes, value: bytes) -> Header:
    """Read back `encode_header`."""
    record = _load(key, value)
    expected, arrived, failed, empty = record["counts"]
    prepared = record.get("prepared")
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
        sources=tuple(_source(source, source["codes"]) for source in record["sources"]),
        errors=record["errors"],
        destination=Destination(*record["destination"]),
        tail=tuple(_load_group(group) for group in record.get("tail", ())),
        prepared=Prepared(*prepared) if prepared else None,
    )


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
    )


def _load(key: bytes, value: bytes) -> dict[str, Any]:
    try:
        record = orjson.loads(value)
        version = record["v"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        message = f"the record of key {key!r} is not one of ours: {error}"
        raise UnreadableRecordError(message) from error
    if version != FORMAT_VERSION:
        message = f"the record of key {key!r} has format version {version}; this program reads {FORMAT_VERSION}"
        raise UnreadableRecordError(message)
    return dict(record)


def _source(record: dict[str, Any], codes: str) -> StoredSource:
    return StoredSource(
        source=Source(*record["source"]),
        opened_at=record["opened_at"],
        deadline=record["deadline"],
        stations=tuple(record["stations"]),
        codes=codes,
        position=Position(*record["position"]),
    )


def _group_list(group: Group) -> list[Any]:
    return [group.position, group.source, group.stations, group.codes, group.values]


def _load_group(record: list[Any]) -> Group:
    position, source, stations, codes, values = record
    return Group(Position(*position), Source(*source), stations, codes, values)
