"""What recovery finds in the stored records of a partition: what each batch has, and what no batch has any use for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from tables.model.enums import LatePolicy, State
from tables.storage.records import Header, Revision, Table, Write, decode_header, decode_revision
from tables.storage.segments import Segment, batch_of_key, decode_segment, is_header, is_late, is_revision

__all__ = ["NO_KEYS", "Keys", "Records", "Stored", "StoredBatch", "read_stored"]


class Records(Protocol):
    """The stored records of one partition."""

    def items(self, table: Table) -> Iterable[tuple[bytes, bytes]]:
        """All records of a table."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """One record, or None."""


@dataclass(slots=True)
class Keys:
    """The records of a batch besides its header. Dicts stand for ordered sets.

    The early segments are deleted when the batch has been published, unless it can still be revised; the others when it
    is forgotten.
    """

    early: dict[bytes, None] = field(default_factory=dict)
    late: dict[bytes, None] = field(default_factory=dict)
    revisions: dict[bytes, None] = field(default_factory=dict)

    def add(self, key: bytes) -> None:
        """Remember a record."""
        of_kind = self.revisions if is_revision(key) else self.late if is_late(key) else self.early
        of_kind[key] = None

    def all(self) -> list[bytes]:
        """Every key, in the order in which they may be deleted: nothing is left without what it is about."""
        return [*self.late, *self.revisions, *self.early]


NO_KEYS: Final = Keys()
"""Those of a batch that has a header alone; to be read only."""


@dataclass(slots=True)
class StoredBatch:
    """The records of one batch; segments are read only as far as recovery needs them."""

    header: Header | None = None
    revisions: dict[int, Revision] = field(default_factory=dict)
    early: list[Segment] = field(default_factory=list)
    late: list[Segment] = field(default_factory=list)
    keys: Keys = field(default_factory=Keys)

    @property
    def is_open(self) -> bool:
        """Whether it has not been decided yet."""
        return self.header is None and any(segment.sources for segment in self.early)

    @property
    def is_known(self) -> bool:
        """Whether there is a batch at all, and not only what is left of one."""
        return self.header is not None or self.is_open

    @property
    def is_published(self) -> bool:
        """Whether each of its decisions is out."""
        header = self.header
        return (
            header is not None
            and header.state is State.CLOSED
            and all(revision.state is State.CLOSED for revision in self.revisions.values())
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """The records by batch. `leftovers` are to be deleted."""

    batches: dict[str, StoredBatch] = field(default_factory=dict)
    leftovers: list[Write] = field(default_factory=list)


def read_stored(records: Records) -> Stored:
    """Sort the records of a partition.

    Left over is what was to be deleted when the owner died, or what an owner wrote that was none any more: segments in
    time of a batch that has been published, and records of one that has been forgotten.

    Raises:
        UnreadableRecordError: a record is not one of ours, or a newer version's.
    """
    stored = Stored()
    segments: list[tuple[bytes, bytes]] = []
    for key, value in records.items(Table.BATCHES):
        batch = stored.batches.setdefault(batch_of_key(key), StoredBatch())
        if is_header(key):
            batch.header = decode_header(key, value)
        elif is_revision(key):
            revision = decode_revision(key, value)
            batch.revisions[revision.number] = revision
            batch.keys.add(key)
        else:
            segments.append((key, value))
    for key, value in segments:
        _sort_segment(key, value, stored)
    for batch_id in [batch_id for batch_id, batch in stored.batches.items() if not batch.is_known]:
        keys = stored.batches.pop(batch_id).keys.all()
        stored.leftovers.extend(Write(Table.BATCHES, key, None) for key in keys)
    return stored


def _sort_segment(key: bytes, value: bytes, stored: Stored) -> None:
    batch = stored.batches[batch_of_key(key)]
    header = batch.header
    is_revised = header is not None and header.late_policy is LatePolicy.REVISE
    is_closed = header is not None and header.state is State.CLOSED
    if header is None if is_late(key) else is_closed and not is_revised:
        stored.leftovers.append(Write(Table.BATCHES, key, None))
        return
    batch.keys.add(key)
    if is_late(key):
        if is_revised or not is_closed:
            batch.late.append(decode_segment(key, value))
    elif not is_closed or not batch.is_published:
        batch.early.append(decode_segment(key, value))
