"""Headers and revisions: the records of what has been decided about a batch, and their bytes. Pure.

All records of a batch (`segments.py` has the others) stand in one changelog, in the order in which they were
written, so that whatever of it a crash leaves is a state that the batch was in: no outcome without its message, nothing
late without the header, no revision without what made it. An id and a result are each written a constant number of
times, so the changelog grows linearly with the stations.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import orjson

from tables.model.enums import Action, CompletedBy, LatePolicy, State, Status
from tables.model.events import Command, Decision, Operator, Position
from tables.model.fast_dataclass import dataclass
from tables.model.roster import Roster
from tables.model.sources import Group
from tables.storage.formats import FORMAT_VERSION, load, reading
from tables.storage.segments import StoredSource, group_list, load_group, load_source, revision_key, source_list

__all__ = [
    "Counts",
    "Destination",
    "Header",
    "Prepared",
    "Revision",
    "Table",
    "Write",
    "decode_header",
    "decode_revision",
    "encode_header",
    "encode_revision",
    "header_of",
    "revision_of",
    "write_of",
]


class Table(StrEnum):
    """The Faust tables: the aggregator's, and the station agents'."""

    BATCHES = "batches"
    CONTEXT = "context"


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
class Counts:
    """How many stations a decision has of each kind."""

    expected: int
    arrived: int
    failed: int
    empty: int


@dataclass(frozen=True, slots=True)
class Header:
    """A batch that has closed: all that is needed to publish it, to tell what comes late, and to revise it."""

    batch_id: str
    state: State
    status: Status
    completed_by: CompletedBy
    late_policy: LatePolicy
    opened_at: float
    deadline: float
    closed_at: float
    counts: Counts
    sources: tuple[StoredSource, ...]
    errors: dict[str, str]
    destination: Destination
    tail: tuple[Group, ...] = ()
    prepared: Prepared | None = None
    operator: Operator | None = None
    arrived_at: float | None = None  # the last arrival in time
    extensions: tuple[Command, ...] = ()  # that moved the deadline: a repeat of one is no news


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision after the first: a few numbers. `position` is that of the event that led to it.

    What it was made of are the batch's other records, as far as they stand before it in the log.
    """

    batch_id: str
    number: int
    state: State
    status: Status
    closed_at: float
    counts: Counts
    position: Position
    destination: Destination
    prepared: Prepared | None = None


# -- from decisions --------------------------------------------------------------------------------------------------


def header_of(
    batch: Roster, decision: Decision, policy: LatePolicy, destination: Destination, tail: Sequence[Group]
) -> Header:
    """The header of a batch that has just closed."""
    return Header(
        batch_id=batch.batch_id,
        state=State.CLOSING,
        status=decision.status,
        completed_by=decision.completed_by,
        late_policy=policy,
        opened_at=decision.opened_at,
        deadline=decision.deadline,
        closed_at=decision.closed_at,
        counts=_counts(decision),
        sources=tuple(
            StoredSource(s.source, s.opened_at, s.deadline, s.stations, s.codes, s.position, s.timeout, s.trace)
            for s in batch.sources.values()
            if not s.late
        ),
        errors=dict(decision.failed),
        destination=destination,
        tail=tuple(tail),
        operator=decision.operator,
        arrived_at=batch.arrived_at,
        extensions=tuple(batch.extensions),
    )


def revision_of(decision: Decision, position: Position, destination: Destination) -> Revision:
    """The record of a revision that has just been decided."""
    return Revision(
        batch_id=decision.batch_id,
        number=decision.revision,
        state=State.CLOSING,
        status=decision.status,
        closed_at=decision.closed_at,
        counts=_counts(decision),
        position=position,
        destination=destination,
    )


def _counts(decision: Decision) -> Counts:
    return Counts(len(decision.expected), decision.arrived_count, len(decision.failed), len(decision.empty))


# -- bytes -----------------------------------------------------------------------------------------------------------


def encode_header(header: Header, *, closed: bool = False) -> bytes:
    """Bytes of a header; `closed`: as it is when the output is out, without what only that needed."""
    record = _decided(header, closed=closed)
    record["completed_by"] = header.completed_by
    record["late_policy"] = header.late_policy
    record["opened_at"] = header.opened_at
    record["deadline"] = header.deadline
    record["sources"] = [source_list(source) for source in header.sources]
    record["errors"] = header.errors
    if header.tail and (not closed or header.late_policy is LatePolicy.REVISE):
        record["tail"] = [group_list(group) for group in header.tail]
    if header.arrived_at is not None:
        record["arrived_at"] = header.arrived_at
    if header.operator:
        record["operator"] = header.operator
    if header.extensions:
        record["extensions"] = [(one.at, one.by, one.seconds) for one in header.extensions]
    return orjson.dumps(record, tuple)


def encode_revision(revision: Revision, *, closed: bool = False) -> bytes:
    """Bytes of a later revision; `closed` as in `encode_header`."""
    record = _decided(revision, closed=closed)
    record["revision"] = revision.number
    record["position"] = revision.position
    return orjson.dumps(record, tuple)


def write_of(record: Header | Revision, *, closed: bool = False) -> Write:
    """What stores it; `closed`: what stores that its output is out."""
    if isinstance(record, Header):
        return Write(Table.BATCHES, record.batch_id.encode(), encode_header(record, closed=closed))
    return Write(Table.BATCHES, revision_key(record.batch_id, record.number), encode_revision(record, closed=closed))


def _decided(record: Header | Revision, *, closed: bool) -> dict[str, Any]:
    """What both have."""
    counts, prepared = record.counts, None if closed else record.prepared
    common: dict[str, Any] = {
        "v": FORMAT_VERSION,
        "id": record.batch_id,
        "state": State.CLOSED if closed else record.state,
        "status": record.status,
        "closed_at": record.closed_at,
        "counts": [counts.expected, counts.arrived, counts.failed, counts.empty],
        "destination": [record.destination.topic, record.destination.partition],
    }
    if prepared:
        common["prepared"] = [prepared.value, prepared.error]
    return common


def decode_header(key: bytes, value: bytes) -> Header:
    """Read back `encode_header`."""
    with reading(key):
        record = load(key, value)
        operator = record.get("operator")
        return Header(
            batch_id=record["id"],
            state=State(record["state"]),
            status=Status(record["status"]),
            completed_by=CompletedBy(record["completed_by"]),
            late_policy=LatePolicy(record["late_policy"]),
            opened_at=record["opened_at"],
            deadline=record["deadline"],
            closed_at=record["closed_at"],
            counts=Counts(*record["counts"]),
            sources=tuple(load_source(source) for source in record["sources"]),
            errors=record["errors"],
            destination=Destination(*record["destination"]),
            tail=tuple(load_group(group) for group in record.get("tail", ())),
            prepared=_prepared(record),
            operator=_operator(*operator) if operator else None,
            arrived_at=record.get("arrived_at"),
            extensions=tuple(
                Command(record["id"], Action.EXTEND, at, by, seconds)
                for at, by, seconds in record.get("extensions", ())
            ),
        )


def decode_revision(key: bytes, value: bytes) -> Revision:
    """Read back `encode_revision`."""
    with reading(key):
        record = load(key, value)
        return Revision(
            batch_id=record["id"],
            number=record["revision"],
            state=State(record["state"]),
            status=Status(record["status"]),
            closed_at=record["closed_at"],
            counts=Counts(*record["counts"]),
            position=Position(*record["position"]),
            destination=Destination(*record["destination"]),
            prepared=_prepared(record),
        )


def _prepared(record: dict[str, Any]) -> Prepared | None:
    prepared = record.get("prepared")
    return Prepared(*prepared) if prepared else None


def _operator(action: str, by: str, at: float) -> Operator:
    return Operator(Action(action), by, at)
