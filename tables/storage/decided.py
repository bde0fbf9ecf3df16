"""Records of decisions on their way through the outbox: each step stores one again, and encodes only what it changes.

`records.py` reads them back. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from tables.model.batch import Batch
from tables.model.enums import LatePolicy, State
from tables.model.events import Command, Decision, Group, Position, SourceState
from tables.model.fast_dataclass import fast_dataclass
from tables.storage.records import (
    FORMAT_VERSION,
    Counts,
    Destination,
    Header,
    Prepared,
    Revision,
    Table,
    Write,
    group_list,
    revision_key,
    source_list,
)


@fast_dataclass(frozen=True, slots=True)
class Undone:
    """A stored decision that is not out yet: what the steps of the outbox change of its record, and the rest as bytes.

    Each step writes the record again, and encoding takes longer than all else that is to be done for a small batch.
    """

    key: bytes
    state: State
    closed_at: float
    destination: Destination
    prepared: Prepared | None
    body: bytes  # fields that no step changes
    tail: bytes  # the field that is left out when the output is out; b"" where there is none


def undone_closing(batch: Batch, decision: Decision, destination: Destination, tail: Sequence[Group]) -> Undone:
    """Encode what a batch that has just closed has decided; `tail` is what is in no segment of its own.

    A `Header` in between would cost as much as half of the encoding.
    """
    body, last = _parts(
        decision,
        (len(decision.expected), decision.arrived_count, len(decision.failed), len(decision.empty)),
        [source for source in batch.sources.values() if not source.late],
        dict(decision.failed),
        tail,
        late_policy=batch.late_policy,
        arrived_at=batch.arrived_at,
        extensions=batch.extensions,
    )
    return Undone(decision.batch_id.encode(), State.CLOSING, decision.closed_at, destination, None, body, last)


def undone_header(header: Header) -> Undone:
    """Encode a header that has been read."""
    counts = header.counts
    body, last = _parts(
        header,
        (counts.expected, counts.arrived, counts.failed, counts.empty),
        header.sources,
        header.errors,
        header.tail,
        late_policy=header.late_policy,
        arrived_at=header.arrived_at,
        extensions=header.extensions,
    )
    key = header.batch_id.encode()
    return Undone(key, header.state, header.closed_at, header.destination, header.prepared, body, last)


def _parts(
    decided: Decision | Header,
    counts: tuple[int, int, int, int],
    sources: Iterable[SourceState],
    errors: Mapping[str, str],
    tail: Sequence[Group],
    *,
    late_policy: LatePolicy,
    arrived_at: float | None,
    extensions: Iterable[Command],
) -> tuple[bytes, bytes]:
    """Return the fields that all steps have in common, and those that only the steps before the closed one have."""
    record = {
        "id": decided.batch_id,
        "status": decided.status,
        "closed_at": decided.closed_at,
        "counts": counts,
        "completed_by": decided.completed_by,
        "late_policy": late_policy,
        "opened_at": decided.opened_at,
        "deadline": decided.deadline,
        "sources": [source_list(source) for source in sources],
        "errors": errors,
    }
    if arrived_at is not None:
        record["arrived_at"] = arrived_at
    if decided.operator:
        record["operator"] = decided.operator
    if extensions:
        record["extensions"] = [(one.at, one.by, one.seconds) for one in extensions]
    body, last = _fields(record), b""
    if tail:
        last = _fields({"tail": [group_list(group) for group in tail]})
        if late_policy is LatePolicy.REVISE:
            body, last = body + last, b""
    return body, last


def revision_of(decision: Decision, position: Position, destination: Destination) -> Revision:
    """Make the record of a revision that has just been decided."""
    return Revision(
        batch_id=decision.batch_id,
        number=decision.revision,
        state=State.CLOSING,
        status=decision.status,
        closed_at=decision.closed_at,
        counts=Counts(len(decision.expected), decision.arrived_count, len(decision.failed), len(decision.empty)),
        position=position,
        destination=destination,
    )


def undone_revision(revision: Revision) -> Undone:
    """Encode a later revision."""
    counts = revision.counts
    record = {
        "id": revision.batch_id,
        "status": revision.status,
        "closed_at": revision.closed_at,
        "counts": [counts.expected, counts.arrived, counts.failed, counts.empty],
        "revision": revision.number,
        "position": revision.position,
    }
    key = revision_key(revision.batch_id, revision.number)
    return Undone(
        key, revision.state, revision.closed_at, revision.destination, revision.prepared, _fields(record), b""
    )


def undone_of(record: Header | Revision) -> Undone:
    """Encode a header or a revision that has been read."""
    return undone_header(record) if isinstance(record, Header) else undone_revision(record)


def write_of(undone: Undone, *, closed: bool = False) -> Write:
    """Return the write that stores a decision; `closed`: the one that stores that its output is out.

    What only the publication needed is left out then.
    """
    start = _start(State.CLOSED if closed else undone.state, undone.destination)
    if closed:
        return Write(Table.BATCHES, undone.key, b"%b%b}" % (start, undone.body))
    prepared = undone.prepared
    answer = _fields({"prepared": [prepared.value, prepared.error]}) if prepared else b""
    return Write(Table.BATCHES, undone.key, b"%b%b%b%b}" % (start, answer, undone.body, undone.tail))


@lru_cache(1024)
def _start(state: State, destination: Destination) -> bytes:
    """Return the start of a record, which most batches have in common."""
    return orjson.dumps(
        {"v": FORMAT_VERSION, "state": state, "destination": [destination.topic, destination.partition]}
    )[:-1]


def _fields(record: dict[str, Any]) -> bytes:
    """Return fields as they stand in a record behind others."""
    return b"," + orjson.dumps(record, tuple)[1:-1]
