"""What recovery finds in the stored records of a partition: what each batch has, and what no batch has any use for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from tables.codes import State
from tables.records import (
    Header,
    Segment,
    Table,
    Write,
    batch_of_key,
    decode_header,
    decode_segment,
    is_late,
    is_segment,
)

__all__ = ["Keys", "Records", "Stored", "read_stored"]


class Records(Protocol):
    """The stored records of one partition."""

    def items(self, table: Table) -> Iterable[tuple[bytes, bytes]]:
        """All records of a table."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """One record, or None."""


@dataclass(slots=True)
class Keys:
    """Segments of a batch: the early are deleted when it has been published, the late when it is forgotten.

    Dicts stand for ordered sets.
    """

    early: dict[bytes, None] = field(default_factory=dict)
    late: dict[bytes, None] = field(default_factory=dict)

    def add(self, key: bytes) -> None:
        """Remember a segment."""
        (self.late if is_late(key) else self.early)[key] = None

    def all(self) -> list[bytes]:
        """Every segment."""
        return [*self.early, *self.late]


@dataclass(frozen=True, slots=True)
class Stored:
    """The records by batch; segments are read only for batches that are not closed. `leftovers` are to be deleted."""

    headers: dict[str, Header] = field(default_factory=dict)
    segments: dict[str, list[Segment]] = field(default_factory=dict)
    keys: dict[str, Keys] = field(default_factory=dict)
    leftovers: list[Write] = field(default_factory=list)


def read_stored(records: Records) -> Stored:
    """Sort the records of a partition.

    Left over is what was to be deleted when the owner died, or what an owner wrote that was none any more: segments in
    time of a batch that has been published, and segments of one that has been forgotten.

    Raises:
        UnreadableRecordError: a record is not one of ours, or a newer version's.
    """
    stored = Stored()
    for key, value in records.items(Table.BATCHES):
        if not is_segment(key):
            stored.headers[batch_of_key(key)] = decode_header(key, value)
    for key, value in records.items(Table.BATCHES):
        if is_segment(key):
            _sort_segment(key, value, stored)
    for batch_id in [batch_id for batch_id in stored.segments if not _is_known(batch_id, stored)]:
        del stored.segments[batch_id]
        stored.leftovers.extend(Write(Table.BATCHES, key, None) for key in stored.keys.pop(batch_id).all())
    return stored


def _sort_segment(key: bytes, value: bytes, stored: Stored) -> None:
    batch_id = batch_of_key(key)
    header = stored.headers.get(batch_id)
    is_closed = header is not None and header.state is State.CLOSED
    if is_closed if not is_late(key) else header is None:
        stored.leftovers.append(Write(Table.BATCHES, key, None))
        return
    stored.keys.setdefault(batch_id, Keys()).add(key)
    if not is_closed:
        stored.segments.setdefault(batch_id, []).append(decode_segment(key, value))


def _is_known(batch_id: str, stored: Stored) -> bool:
    return batch_id in stored.headers or any(segment.sources for segment in stored.segments[batch_id])
