"""The batches of one partition as live objects, over the stored records. Pure: what has to be stored comes out as data.

Open batches live here as objects. Closed ones are kept as a line each; the object is rebuilt from its records when
something late comes, and a few of these stay, because late outcomes come in runs.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from tables.batch import Batch, Group, unknown_batch
from tables.codes import CompletedBy, State, Status
from tables.events import Arrived, BatchEvent, Effect, Expire, Forget, Open, Position
from tables.rebuild import rebuild_closed, rebuild_open
from tables.records import (
    Destination,
    Header,
    Prepared,
    StoredSource,
    Table,
    Write,
    batch_of_key,
    decode_header,
    decode_open,
    decode_segment,
    encode_header,
    encode_open,
    encode_segment,
    header_of,
    late_segment_key,
    open_key,
    segment_key,
)

__all__ = ["ClosedBatch", "Records", "Unpublished", "WorkingSet"]

LIVE_CLOSED = 32  # closed batches that are kept as objects for a run of late outcomes


class Records(Protocol):
    """The stored records of one partition."""

    def items(self, table: Table) -> Iterable[tuple[bytes, bytes]]:
        """All records of a table."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """One record, or None."""


@dataclass(frozen=True, slots=True)
class ClosedBatch:
    """A closed batch that is remembered: what a listing shows. Times are Unix seconds."""

    batch_id: str
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


@dataclass(frozen=True, slots=True)
class Unpublished:
    """A decision that a predecessor stored and may or may not have published."""

    batch: Batch
    destination: Destination
    prepared: Prepared | None


@dataclass(slots=True)
class _Keys:
    """Records that a batch has besides its header: to be deleted when published, and when forgotten."""

    early: list[tuple[Table, bytes]] = field(default_factory=list)
    late: list[tuple[Table, bytes]] = field(default_factory=list)

    def all(self) -> list[tuple[Table, bytes]]:
        return [*self.early, *self.late]


class WorkingSet:
    """Applies the events of one partition's log. `max_age` (seconds) bounds how far a supplement moves a deadline."""

    def __init__(self, records: Records, *, max_age: float) -> None:
        self._records = records
        self._max_age = max_age
        self.open: dict[str, Batch] = {}
        self.closing: dict[str, Batch] = {}
        self.closed: OrderedDict[str, ClosedBatch] = OrderedDict()
        self._headers: dict[str, Header] = {}
        self._keys: dict[str, _Keys] = {}
        self._live: OrderedDict[str, Batch] = OrderedDict()
        self._touched: dict[str, Batch] = {}
        self._deletes: list[Write] = []
        self._deadlines: list[tuple[float, str]] = []
        self._forgetting: set[str] = set()

    # -- events ------------------------------------------------------------------------------------------------------

    def apply(self, event: BatchEvent, position: Position) -> list[Effect]:
        """Apply one event of the log; what is to be stored because of it is given out by `take_writes`."""
        if isinstance(event, Arrived):
            batch = self._find(event.batch_id)
            if batch is None:
                return unknown_batch(event)
            effects = batch.arrive(event, position)
        elif isinstance(event, Open):
            batch = self._find(event.batch_id) or self._new_batch(event)
            effects = batch.open(event, position, max_age=self._max_age)
            if batch.state is State.OPEN:
                heapq.heappush(self._deadlines, (batch.deadline, batch.batch_id))
        elif isinstance(event, Expire):
            batch = self.open.get(event.batch_id)
            if batch is None:
                return []
            effects = batch.expire(event)
        else:
            self._forget(event)
            return []
        self._touched[batch.batch_id] = batch
        if batch.state is State.CLOSING and batch.batch_id in self.open:
            self.closing[batch.batch_id] = self.open.pop(batch.batch_id)
        return effects

    def _new_batch(self, event: Open) -> Batch:
        batch = self.open[event.batch_id] = Batch(event.batch_id, event.opened_at)
        return batch

    def _find(self, batch_id: str) -> Batch | None:
        return self.open.get(batch_id) or self.closing.get(batch_id) or self._closed_object(batch_id)

    def _closed_object(self, batch_id: str) -> Batch | None:
        if batch_id not in self.closed:
            return None
        batch = self._live.pop(batch_id, None)
        if batch is None:
            header, opens, groups = self._read(batch_id)
            if header is None:
                message = f"batch {batch_id} is remembered as closed, but its header is not in the table"
                raise LookupError(message)
            batch = rebuild_closed(header, opens, groups)
        self._keep_live(batch)
        return batch

    def _keep_live(self, batch: Batch) -> None:
        self._live[batch.batch_id] = batch
        while len(self._live) > LIVE_CLOSED:
            self._live.popitem(last=False)

    def _read(self, batch_id: str) -> tuple[Header | None, list[StoredSource], list[Group]]:
        value = self._records.get(Table.BATCHES, batch_id.encode())
        header = None if value is None else decode_header(batch_id.encode(), value)
        opens: list[StoredSource] = []
        groups: list[Group] = []
        for table, key in self._keys.get(batch_id, _Keys()).all():
            value = self._records.get(table, key)
            if value is not None and table is Table.OPENS:
                opens.append(decode_open(key, value))
            elif value is not None:
                groups.extend(decode_segment(key, value))
        return header, opens, groups

    def _forget(self, event: Forget) -> None:
        closed = self.closed.get(event.batch_id)
        if closed is None or closed.closed_at != event.closed_at:
            return
        del self.closed[event.batch_id]
        self._live.pop(event.batch_id, None)
        self._touched.pop(event.batch_id, None)
        self._forgetting.discard(event.batch_id)
        self._deletes.append(Write(Table.BATCHES, event.batch_id.encode(), None))
        keys = self._keys.pop(event.batch_id, _Keys())
        self._deletes.extend(Write(table, key, None) for table, key in keys.all())

    # -- what is to be stored ----------------------------------------------------------------------------------------

    def take_writes(self, destination_of: Mapping[str, Destination]) -> list[Write]:
        """The records that the events applied since the last call have made, in the order to store them.

        `destination_of` gives where the output of each batch that has been released since then goes.
        """
        writes, self._deletes = self._deletes, []
        for batch in self._touched.values():
            keys = self._keys.setdefault(batch.batch_id, _Keys())
            released = destination_of.get(batch.batch_id)
            for source in batch.fresh_sources:
                if source.late or released is None:
                    key = open_key(batch.batch_id, source.source)
                    (keys.late if source.late else keys.early).append((Table.OPENS, key))
                    writes.append(Write(Table.OPENS, key, encode_open(batch.batch_id, source)))
            if released is not None:
                # What this chunk brought goes into the header itself, so that the decision and all that it was made
                # of become durable in one record.
                header = self._headers[batch.batch_id] = header_of(batch, released, batch.fresh_groups)
                writes.append(Write(Table.BATCHES, batch.batch_id.encode(), encode_header(header)))
            elif batch.fresh_groups:
                key = segment_key(batch.batch_id, batch.fresh_groups[0].position.offset)
                keys.early.append((Table.RESULTS, key))
                writes.append(Write(Table.RESULTS, key, encode_segment(batch.fresh_groups)))
            if batch.fresh_late:
                key = late_segment_key(batch.batch_id, batch.fresh_late[0].position.offset)
                keys.late.append((Table.RESULTS, key))
                writes.append(Write(Table.RESULTS, key, encode_segment(batch.fresh_late)))
            batch.fresh_sources, batch.fresh_groups, batch.fresh_late = [], [], []
        self._touched.clear()
        return writes

    def prepared(self, batch_id: str, prepared: Prepared) -> list[Write]:
        """Store a custom handler's answer: from here on the handler is not called again."""
        header = replace(self._headers[batch_id], state=State.PREPARED, prepared=prepared)
        self._headers[batch_id] = header
        self.closing[batch_id].state = State.PREPARED
        return [Write(Table.BATCHES, batch_id.encode(), encode_header(header))]

    def published(self, batch_id: str) -> list[Write]:
        """Store that a batch is out, and delete what only its publication needed."""
        header = replace(self._headers.pop(batch_id), state=State.CLOSED, tail=(), prepared=None)
        batch = self.closing.pop(batch_id)
        batch.state = State.CLOSED
        for source in batch.sources.values():
            source.outcomes = {station: (code, None) for station, (code, _) in source.outcomes.items()}
        self.closed[batch_id] = closed_line(header)
        self._keep_live(batch)
        keys = self._keys[batch_id]
        early, keys.early = keys.early, []
        return [
            Write(Table.BATCHES, batch_id.encode(), encode_header(header)),
            *(Write(table, key, None) for table, key in early),
        ]

    # -- time --------------------------------------------------------------------------------------------------------

    def due(self, now: float) -> list[Expire]:
        """An `expire` event for each batch whose deadline has come; each is given out once for a deadline."""
        events: list[Expire] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, batch_id = heapq.heappop(self._deadlines)
            batch = self.open.get(batch_id)
            if batch is not None and batch.deadline <= now:
                events.append(Expire(batch_id, batch.deadline, now))
        return events

    def forgettable(self, now: float, *, ttl: float, beyond: int = 0) -> list[Forget]:
        """A `forget` event for each batch closed for `ttl` seconds, and for the `beyond` oldest whatever their age."""
        events: list[Forget] = []
        for age_rank, closed in enumerate(self.closed.values()):
            if age_rank >= beyond and closed.closed_at + ttl > now:
                break
            if closed.batch_id not in self._forgetting:
                self._forgetting.add(closed.batch_id)
                events.append(Forget(closed.batch_id, closed.closed_at, now))
        return events

    # -- recovery ----------------------------------------------------------------------------------------------------

    def recover(self) -> list[Unpublished]:
        """Rebuild from the stored records; returns the decisions that may not have been published yet."""
        opens: dict[str, list[StoredSource]] = {}
        groups: dict[str, list[Group]] = {}
        for key, value in self._records.items(Table.OPENS):
            self._remember_key(Table.OPENS, key)
            opens.setdefault(batch_of_key(key), []).append(decode_open(key, value))
        closed: list[ClosedBatch] = []
        decided: dict[str, Header] = {}
        for key, value in self._records.items(Table.BATCHES):
            header = decode_header(key, value)
            decided[header.batch_id] = header
            if header.state is State.CLOSED:
                closed.append(closed_line(header))
        for key, value in self._records.items(Table.RESULTS):
            self._remember_key(Table.RESULTS, key)
            known = decided.get(batch_of_key(key))
            if known is None or known.state is not State.CLOSED:
                groups.setdefault(batch_of_key(key), []).extend(decode_segment(key, value))
        self.closed = OrderedDict((line.batch_id, line) for line in sorted(closed, key=lambda line: line.closed_at))
        for batch_id, stored in opens.items():
            if batch_id not in decided:
                self._recover_open(batch_id, stored, groups.get(batch_id, []))
        return [
            self._recover_closing(header, opens.get(batch_id, []), groups.get(batch_id, []))
            for batch_id, header in decided.items()
            if header.state is not State.CLOSED
        ]

    def _recover_open(self, batch_id: str, opens: list[StoredSource], groups: list[Group]) -> None:
        batch = self.open[batch_id] = rebuild_open(batch_id, opens, groups, max_age=self._max_age)
        heapq.heappush(self._deadlines, (batch.deadline, batch_id))

    def _recover_closing(self, header: Header, opens: list[StoredSource], groups: list[Group]) -> Unpublished:
        batch = self.closing[header.batch_id] = rebuild_closed(header, opens, groups)
        self._headers[header.batch_id] = header
        keys = self._keys.setdefault(header.batch_id, _Keys())
        late = {open_key(header.batch_id, source.source) for source in batch.sources.values() if source.late}
        keys.late.extend((table, key) for table, key in keys.early if key in late)
        keys.early = [(table, key) for table, key in keys.early if key not in late]
        return Unpublished(batch, header.destination, header.prepared)

    def _remember_key(self, table: Table, key: bytes) -> None:
        keys = self._keys.setdefault(batch_of_key(key), _Keys())
        late = table is Table.RESULTS and key.endswith(b"+")
        (keys.late if late else keys.early).append((table, key))

    # -- a look from outside -----------------------------------------------------------------------------------------

    def look_up(self, batch_id: str) -> Batch | None:
        """A batch as an object, whatever its state; None when it is not known."""
        return self._find(batch_id)


def closed_line(header: Header) -> ClosedBatch:
    """What a listing shows of a header."""
    return ClosedBatch(
        batch_id=header.batch_id,
        status=header.status,
        completed_by=header.completed_by,
        revision=header.revision,
        opened_at=header.opened_at,
        deadline=header.deadline,
        closed_at=header.closed_at,
        expected_count=header.expected_count,
        arrived_count=header.arrived_count,
        failed_count=header.failed_count,
        empty_count=header.empty_count,
    )
