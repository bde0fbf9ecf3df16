"""The batches of one partition as live objects, over the stored records. Pure: what has to be stored comes out as data.

Open batches live here as objects. Closed ones are kept as a line each; the object is rebuilt from its records when
something late comes, and a few of these stay, because late outcomes come in runs.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tables.batch import Batch, Extension, Group, SourceState
from tables.codes import CompletedBy, State, Status
from tables.effects import unknown_batch
from tables.events import Arrived, BatchEvent, Command, Commanded, Effect, Expire, Forget, Open, Position
from tables.rebuild import has_all_results, rebuild_closed, rebuild_open
from tables.records import (
    Destination,
    Header,
    Prepared,
    Segment,
    Table,
    Write,
    decode_header,
    decode_segment,
    encode_header,
    encode_segment,
    header_of,
    segment_key,
)
from tables.stored import Keys, Records, read_stored

__all__ = ["ClosedBatch", "Records", "Unpublished", "WorkingSet"]

LIVE_STATIONS = 50_000  # of closed batches that are kept as objects for a run of late outcomes, in a partition


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


class WorkingSet:
    """Applies the events of one partition's log. `max_age` (seconds) bounds how far a supplement moves a deadline."""

    def __init__(self, records: Records, *, max_age: float) -> None:
        self._records = records
        self._max_age = max_age
        self.open: dict[str, Batch] = {}
        self.closing: dict[str, Batch] = {}
        self.closed: OrderedDict[str, ClosedBatch] = OrderedDict()
        self._headers: dict[str, Header] = {}
        self._keys: dict[str, Keys] = {}
        self._live: OrderedDict[str, Batch] = OrderedDict()
        self._live_stations = 0
        self._touched: dict[str, Batch] = {}
        self._owed: list[Write] = []  # of forgetting and of recovery, for the next `take_writes`
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
            known = self._find(event.batch_id)
            # One that stands before the opening of the batch is read again after a crash: it had no effect then either.
            if event.replayed and (known is None or position < known.first_position):
                return []
            deadline = known.deadline if known else None
            batch = known or self._new_batch(event)
            effects = batch.open(event, position, max_age=self._max_age)
            self._watch_deadline(batch, deadline)
        elif isinstance(event, Expire):
            batch = self.open.get(event.batch_id)
            if batch is None:
                return []
            effects = batch.expire(event)
        elif isinstance(event, Command):
            batch = self._find(event.batch_id)
            if batch is None:
                return [Commanded(event, None)]
            deadline = batch.deadline
            effects = batch.command(event, position, max_age=self._max_age)
            self._watch_deadline(batch, deadline)
        else:
            self._forget(event)
            return []
        self._touched[batch.batch_id] = batch
        if batch.state is State.CLOSING and batch.batch_id in self.open:
            self.closing[batch.batch_id] = self.open.pop(batch.batch_id)
        return effects

    def _watch_deadline(self, batch: Batch, before: float | None) -> None:
        if batch.state is State.OPEN and batch.deadline != before:
            heapq.heappush(self._deadlines, (batch.deadline, batch.batch_id))

    def _new_batch(self, event: Open) -> Batch:
        batch = self.open[event.batch_id] = Batch(event.batch_id, event.opened_at)
        return batch

    def _find(self, batch_id: str) -> Batch | None:
        return self.open.get(batch_id) or self.closing.get(batch_id) or self._closed_object(batch_id)

    def _closed_object(self, batch_id: str) -> Batch | None:
        if batch_id not in self.closed:
            return None
        # What has been touched and not stored yet is not in the records.
        batch = self._touched.get(batch_id) or self._live.get(batch_id)
        if batch is None:
            batch = rebuild_closed(*self._read(batch_id))
        self._keep_live(batch)
        return batch

    def _keep_live(self, batch: Batch) -> None:
        if batch.batch_id not in self._live:
            self._live[batch.batch_id] = batch
            self._live_stations += len(batch.expected)
        self._live.move_to_end(batch.batch_id)
        while self._live_stations > LIVE_STATIONS and len(self._live) > 1:
            self._drop_live(next(iter(self._live)))

    def _drop_live(self, batch_id: str) -> None:
        batch = self._live.pop(batch_id, None)
        if batch is not None:
            self._live_stations -= len(batch.expected)

    def _read(self, batch_id: str) -> tuple[Header, list[Segment]]:
        key = batch_id.encode()
        value = self._records.get(Table.BATCHES, key)
        if value is None:
            message = f"batch {batch_id} is remembered as closed, but its header is not in the table"
            raise LookupError(message)
        keys = self._keys[batch_id].late
        segments = [(key, self._records.get(Table.BATCHES, key)) for key in keys]
        return decode_header(key, value), [decode_segment(key, value) for key, value in segments if value is not None]

    def _forget(self, event: Forget) -> None:
        closed = self.closed.get(event.batch_id)
        if closed is None or closed.closed_at != event.closed_at:
            return
        del self.closed[event.batch_id]
        self._drop_live(event.batch_id)
        self._touched.pop(event.batch_id, None)
        self._forgetting.discard(event.batch_id)
        # The header last: what a crash leaves of a batch must not look like one that is open.
        self._owed += [Write(Table.BATCHES, key, None) for key in self._keys.pop(event.batch_id).all()]
        self._owed.append(Write(Table.BATCHES, event.batch_id.encode(), None))

    # -- what is to be stored ----------------------------------------------------------------------------------------

    def take_writes(self, destination_of: Mapping[str, Destination]) -> list[Write]:
        """The records that the events applied since the last call have made, in the order to store them.

        `destination_of` gives where the output of each batch that has been released since then goes.
        """
        writes, self._owed = self._owed, []
        for batch in self._touched.values():
            keys = self._keys.setdefault(batch.batch_id, Keys())
            late = [source for source in batch.fresh_sources if source.late]
            in_time = [source for source in batch.fresh_sources if not source.late]
            released = destination_of.get(batch.batch_id)
            if released is not None:
                # What this chunk brought goes into the header itself, so that the decision and all that it was made
                # of become durable in one record.
                header = self._headers[batch.batch_id] = header_of(batch, released, batch.fresh_groups)
                writes.append(Write(Table.BATCHES, batch.batch_id.encode(), encode_header(header)))
            else:
                writes += _segment(
                    batch.batch_id, keys, in_time, batch.fresh_groups, batch.fresh_extensions, late=False
                )
            writes += _segment(batch.batch_id, keys, late, batch.fresh_late, [], late=True)
            batch.fresh_sources, batch.fresh_groups, batch.fresh_late, batch.fresh_extensions = [], [], [], []
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
        if batch.decision is not None:
            batch.decision = replace(batch.decision, results=())
        self.closed[batch_id] = closed_line(header)
        self._keep_live(batch)
        keys = self._keys[batch_id]
        early, keys.early = keys.early, {}
        return [
            Write(Table.BATCHES, batch_id.encode(), encode_header(header)),
            *(Write(Table.BATCHES, key, None) for key in early),
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

    def forgettable(self, now: float, *, ttl: float, beyond: int = 0, held: float = -math.inf) -> list[Forget]:
        """A `forget` event for each batch closed for `ttl` seconds, and for the `beyond` oldest whatever their age.

        What closed at `held` or before stays for now, however old it is.
        """
        events: list[Forget] = []
        for age_rank, closed in enumerate(self.closed.values()):
            if age_rank >= beyond and closed.closed_at + ttl > now:
                break
            if age_rank >= beyond and closed.closed_at <= held:
                continue
            if closed.batch_id not in self._forgetting:
                self._forgetting.add(closed.batch_id)
                events.append(Forget(closed.batch_id, closed.closed_at, now))
        return events

    # -- recovery ----------------------------------------------------------------------------------------------------

    def recover(self) -> list[Unpublished]:
        """Rebuild from the stored records; returns the decisions that may not have been published yet."""
        stored = read_stored(self._records)
        self._keys = stored.keys
        self._owed += stored.leftovers
        unpublished: list[Unpublished] = []
        for batch_id, segments in stored.segments.items():
            if batch_id not in stored.headers:
                batch = self.open[batch_id] = rebuild_open(batch_id, segments, max_age=self._max_age)
                heapq.heappush(self._deadlines, (batch.deadline, batch_id))
        for batch_id, header in stored.headers.items():
            self._keys.setdefault(batch_id, Keys())
            if header.state is State.CLOSED:
                self.closed[batch_id] = closed_line(header)
            elif self._recover_closing(header, stored.segments.get(batch_id, [])):
                unpublished.append(Unpublished(self.closing[batch_id], header.destination, header.prepared))
            else:
                # Results are deleted when the output is out: an owner that was none any more has written this header
                # after that.
                self._owed += self.published(batch_id)
        self.closed = OrderedDict(sorted(self.closed.items(), key=lambda item: item[1].closed_at))
        return unpublished

    def _recover_closing(self, header: Header, segments: list[Segment]) -> bool:
        """Take up a decision; whether all that it was made of is still there."""
        batch = self.closing[header.batch_id] = rebuild_closed(header, segments)
        self._headers[header.batch_id] = header
        return has_all_results(batch)

    # -- a look from outside -----------------------------------------------------------------------------------------

    def look_up(self, batch_id: str) -> Batch | None:
        """A batch as an object, whatever its state; None when it is not known."""
        return self._find(batch_id)


def _segment(
    batch_id: str,
    keys: Keys,
    sources: Sequence[SourceState],
    groups: Sequence[Group],
    extensions: Sequence[Extension],
    *,
    late: bool,
) -> list[Write]:
    """What a chunk has brought to a batch, as one record; its key is remembered."""
    if not sources and not groups and not extensions:
        return []
    key = segment_key(batch_id, sources, groups, extensions, late=late)
    keys.add(key)
    return [Write(Table.BATCHES, key, encode_segment(sources, groups, extensions))]


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
