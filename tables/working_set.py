"""The batches of one partition, over their stored records. Pure: what has to be stored comes out as data.

Open and closing batches are kept as objects. A closed one is a line (`closed_batches.py`). Its object is rebuilt from
its records when something late comes, and a few of these objects stay, because late outcomes come in runs.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from tables.closed_batches import Block, ClosedBatch, ClosedBatches, line_of_decision, line_of_records
from tables.model.batch import FIRST_REVISION, Batch
from tables.model.enums import LatePolicy, State
from tables.model.events import (
    Arrived,
    BatchEvent,
    Command,
    Commanded,
    Decision,
    Effect,
    Expire,
    Forget,
    Open,
    Position,
    Released,
    Revise,
    Segment,
    all_late,
)
from tables.model.policies import Rules
from tables.model.timeouts import Observation
from tables.storage.decided import Undone, revision_of, undone_closing, undone_of, undone_revision, write_of
from tables.storage.records import (
    Destination,
    Header,
    Prepared,
    RecordKind,
    Revision,
    Table,
    Write,
    decode_header,
    decode_revision,
    decode_segment,
    deletions,
    encode_segment,
    kind_of,
    segment_key,
)
from tables.storage.recovery import (
    Records,
    StoredBatch,
    first_late,
    observation_of,
    read_stored,
    rebuild_closed,
    rebuild_open,
)


@dataclass(frozen=True, slots=True)
class Unpublished:
    """A decision that a predecessor stored and may or may not have published."""

    decision: Decision
    destination: Destination
    prepared: Prepared | None


@dataclass(slots=True, eq=False)
class _Tracked:
    """A batch that is open or closing, is to be stored or revised, or has more records than a header.

    Attributes:
        batch: the object of an open or closing batch, and of a closed one with changes that are not stored; else None.
        keys: those of its records besides the header; a dict stands for an ordered set.
        undone: decisions that are not out yet, by revision.
        pending_since: the time of the first late event that is to lead to a revision.
        unstored_from: offset of the first event on the open batch that is not stored yet.
        is_due: whether it has closed or got something late, and that is not stored yet.
    """

    batch: Batch | None = None
    keys: dict[bytes, None] = field(default_factory=dict)
    undone: dict[int, Undone] = field(default_factory=dict)
    pending_since: float | None = None
    unstored_from: int | None = None
    is_due: bool = False

    @property
    def is_busy(self) -> bool:
        """Whether a revision or a publication of the batch is still to come."""
        return self.pending_since is not None or bool(self.undone)

    def keys_of(self, kind: RecordKind) -> list[bytes]:
        """Return the keys of one kind."""
        return [key for key in self.keys if kind_of(key) is kind]


class WorkingSet:
    """Applies the events of one partition's log under the rules."""

    def __init__(self, records: Records, rules: Rules) -> None:
        self._records = records
        self._rules = rules
        self._tracked: dict[str, _Tracked] = {}
        # Of these, for those who look again and again: open ones, and those whose first output is not out yet.
        self.open: dict[str, Batch] = {}
        self.closing: dict[str, Batch] = {}
        self._with_late: dict[str, None] = {}  # closed batches for which something late is stored, in order
        self._closed = ClosedBatches()
        # Queues of tracked batches. An entry that is out of date is passed over when its turn comes.
        self._deadlines: list[tuple[float, str]] = []
        self._revisions: list[tuple[float, str]] = []
        self._unstored: deque[tuple[int, _Tracked]] = deque()  # open batches by `unstored_from`
        self._due: list[_Tracked] = []
        self._owed: list[Write] = []  # of forgetting and of recovery, for the next `take_writes`

    @property
    def closed(self) -> dict[str, ClosedBatch]:
        """The batches whose first output is out."""
        return self._closed.lines

    @property
    def closed_blocks(self) -> list[Block]:
        """The same in the order of closing, in blocks."""
        return self._closed.blocks

    def closed_in_order(self, *, newest_first: bool = False) -> Iterator[ClosedBatch]:
        """Go through the same, those that closed first first, or the other way."""
        return self._closed.newest_first() if newest_first else self._closed.in_order()

    # -- events ------------------------------------------------------------------------------------------------------

    def apply(self, event: BatchEvent, position: Position) -> list[Effect]:
        """Apply one event of the log. `take_writes` gives out what is to be stored because of it."""
        if isinstance(event, Forget):
            self._forget(event)
            return []
        batch_id = event.batch_id
        tracked, batch = self._tracked.get(batch_id), self.open.get(batch_id)
        if batch is None:
            if isinstance(event, Expire):
                return []
            batch = self.look_up(batch_id)
        # A replayed message that stands before the opening is read again after a crash: it had no effect then either.
        if isinstance(event, Open) and event.replayed and (batch is None or position < batch.first_position):
            return []
        if batch is None:
            if not isinstance(event, Open):
                return _of_unknown(event)
            batch = Batch(batch_id, event.opened_at, self._rules)
            tracked = self._tracked[batch_id] = _Tracked(batch)
            self.open[batch_id] = batch
        deadline = batch.deadline
        effects = self._apply_to(batch, event, position)
        if tracked is None or not batch.is_open:
            self._note_closed(batch, effects)
            return effects
        if tracked.unstored_from is None:
            tracked.unstored_from = position.offset
            self._unstored.append((position.offset, tracked))
        if batch.deadline != deadline:
            heapq.heappush(self._deadlines, (batch.deadline, batch_id))
        return effects

    def _apply_to(self, batch: Batch, event: BatchEvent, position: Position) -> list[Effect]:
        if isinstance(event, Arrived):
            return batch.arrive(event, position)
        if isinstance(event, Open):
            return batch.open(event, position)
        if isinstance(event, Expire):
            return batch.expire(event, position)
        if isinstance(event, Command):
            return batch.command(event, position)
        if isinstance(event, Revise):
            return batch.revise(event, position)
        return []

    def _untrack_if_idle(self, batch_id: str, tracked: _Tracked) -> None:
        """Keep only the line of a closed batch, if there is nothing else to keep."""
        if tracked.batch is None and not tracked.keys and not tracked.is_busy:
            del self._tracked[batch_id]

    def look_up(self, batch_id: str) -> Batch | None:
        """Return a batch as an object, whatever its state; None when it is not known."""
        tracked = self._tracked.get(batch_id)
        batch = tracked.batch if tracked is not None else None
        if batch_id in self.closed:
            batch = batch or self._closed.live.get(batch_id) or self._read(batch_id)
            self._closed.keep_live(batch)
        return batch

    def _read(self, batch_id: str) -> Batch:
        """Rebuild a closed batch from its records; it must have no changes that are not stored."""
        key = batch_id.encode()
        value = self._records.get(Table.BATCHES, key)
        if value is None:
            message = f"batch {batch_id} is remembered as closed, but its header is not in the table"
            raise LookupError(message)
        revisions = [decode_revision(*one) for one in self._stored(batch_id, RecordKind.REVISION)]
        early, late = self._segments(batch_id, RecordKind.EARLY), self._segments(batch_id, RecordKind.LATE)
        return rebuild_closed(decode_header(key, value), early, late, revisions, self._rules)[0]

    def _segments(self, batch_id: str, kind: RecordKind) -> list[Segment]:
        return [decode_segment(*one) for one in self._stored(batch_id, kind)]

    def _stored(self, batch_id: str, kind: RecordKind) -> Iterable[tuple[bytes, bytes]]:
        tracked = self._tracked.get(batch_id)
        for key in tracked.keys_of(kind) if tracked is not None else ():
            value = self._records.get(Table.BATCHES, key)
            if value is not None:
                yield key, value

    def _note_closed(self, batch: Batch, effects: Sequence[Effect]) -> None:
        """Have the changes of a batch that is not open stored, and have it revised if some are late."""
        batch_id = batch.batch_id
        tracked = self._tracked.get(batch_id)
        if tracked is None:
            tracked = self._tracked[batch_id] = _Tracked()
        tracked.batch, tracked.unstored_from = batch, None
        self.open.pop(batch_id, None)
        if not tracked.is_due:
            tracked.is_due = True
            self._due.append(tracked)
        line = self.closed.get(batch_id)
        if line is None:
            self.closing[batch_id] = batch
        for effect in effects:
            if isinstance(effect, Released) and line is not None:
                decision = effect.decision
                self._closed.put(line_of_decision(decision, line.first_closed_at, line.first_completed_by))
        if batch.pending_since is None:
            tracked.pending_since = None
        elif tracked.pending_since is None:
            self._revise_later(batch_id, tracked, batch.pending_since)

    def _revise_later(self, batch_id: str, tracked: _Tracked, since: float) -> None:
        tracked.pending_since = since
        heapq.heappush(self._revisions, (since + self._rules.revise_delay, batch_id))

    def _forget(self, event: Forget) -> None:
        batch_id = event.batch_id
        line = self.closed.get(batch_id)
        if line is None or line.first_closed_at != event.closed_at:
            return
        if self._is_busy(batch_id):
            self._closed.forgetting.discard(batch_id)
            return
        self._closed.forget(batch_id)
        self._with_late.pop(batch_id, None)
        tracked = self._tracked.pop(batch_id, None) or _Tracked()
        tracked.batch = None  # nothing of it is stored any more, even if it is due
        self._owed += deletions([*tracked.keys, batch_id.encode()])

    # -- what is to be stored ----------------------------------------------------------------------------------------

    @property
    def unstored_from(self) -> float:
        """The first offset of the log of which something is not stored yet; infinite where all is."""
        return next((offset for offset, tracked in self._unstored if tracked.unstored_from == offset), math.inf)

    def take_writes(self, destination_of: Mapping[str, Destination], *, upto: float = math.inf) -> list[Write]:
        """Return the records that the events applied so far have made and that no call has returned before, in order.

        `destination_of` gives where the output of each batch goes that has been released since the last call. The
        changes of a batch that is still open are left for another call, unless some of them stand at the offset `upto`
        or before that. A batch that closes first then needs one record, where it would have had one for each chunk of
        the log, and the deletion of each.
        """
        writes, self._owed = self._owed, []
        due, self._due = self._due, []
        while self._unstored:
            offset, tracked = self._unstored[0]
            if tracked.unstored_from == offset:
                if offset > upto:
                    break
                due.append(tracked)
            self._unstored.popleft()
        for tracked in due:
            if tracked.batch is not None:  # else it has been forgotten
                writes += self._store(tracked, tracked.batch, destination_of)
        return writes

    def _store(self, tracked: _Tracked, batch: Batch, destination_of: Mapping[str, Destination]) -> list[Write]:
        batch_id = batch.batch_id
        writes: list[Write] = []
        for segment in batch.unstored:
            decision = segment.decision
            if decision is None or (segment.late and (segment.sources or segment.groups)):
                key = segment_key(batch_id, segment)
                tracked.keys[key] = None
                if segment.late:
                    self._with_late[batch_id] = None
                writes.append(Write(Table.BATCHES, key, encode_segment(segment)))
            if decision is None:
                continue
            destination = destination_of[batch_id]
            if segment.late:
                undone = undone_revision(revision_of(decision, segment.position, destination))
            else:
                # What the segment brought goes into the header itself, so that the decision and all that it was made of
                # become durable in one record.
                undone = undone_closing(batch, decision, destination, segment.groups)
            writes.append(write_of(undone))
            tracked.undone[decision.revision] = undone
            if segment.late:
                tracked.keys[writes[-1].key] = None
        batch.unstored = []
        tracked.unstored_from, tracked.is_due = None, False
        if batch_id in self.closed:
            tracked.batch = None
            self._untrack_if_idle(batch_id, tracked)
        return writes

    # -- the outbox --------------------------------------------------------------------------------------------------

    def prepared(self, batch_id: str, revision: int, prepared: Prepared) -> list[Write]:
        """Store a custom handler's answer: from here on the handler is not called again."""
        undone = self._tracked[batch_id].undone
        changed = undone[revision] = replace(undone[revision], state=State.PREPARED, prepared=prepared)
        return [write_of(changed)]

    def moved(self, batch_id: str, revision: int, destination: Destination) -> list[Write]:
        """Store another destination of a decision that is not out: the one that was stored with it is gone."""
        undone = self._tracked[batch_id].undone
        changed = undone[revision] = replace(undone[revision], destination=destination)
        return [write_of(changed)]

    def published(self, batch_id: str, revision: int) -> list[Write]:
        """Store that a decision is out, and delete what only its publication needed."""
        tracked = self._tracked[batch_id]
        undone = tracked.undone.pop(revision)
        writes = [write_of(undone, closed=True)]
        if revision == FIRST_REVISION and tracked.batch is not None:
            writes += self._first_published(undone.closed_at, tracked, tracked.batch)
        if tracked.pending_since is not None:
            self._revise_later(batch_id, tracked, tracked.pending_since)
        self._untrack_if_idle(batch_id, tracked)
        return writes

    def _first_published(self, closed_at: float, tracked: _Tracked, batch: Batch) -> list[Write]:
        """Go from closing to closed. Returns the deletions of the records that only the publication needed."""
        batch_id, decision = batch.batch_id, batch.decision
        if not tracked.is_due:
            tracked.batch = None
        if decision is not None:
            self.closing.pop(batch_id, None)
            self._closed.put(line_of_decision(decision, closed_at))
        if batch.late_policy is LatePolicy.REVISE:
            self._closed.keep_live(batch)
            return []
        if decision is not None and decision.missing:  # what is missing may come late: most batches miss nothing
            for source in batch.sources.values():
                source.outcomes = {station: (code, None) for station, (code, _) in source.outcomes.items()}
            batch.decision = replace(decision, results=())
            self._closed.keep_live(batch)
        early = tracked.keys_of(RecordKind.EARLY)
        for key in early:
            del tracked.keys[key]
        return deletions(early)

    # -- time --------------------------------------------------------------------------------------------------------

    def due(self, now: float) -> list[Expire | Revise]:
        """Return an event for each batch whose deadline has come, or that is to be revised; each is given out once."""
        events: list[Expire | Revise] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            batch = self.open.get(heapq.heappop(self._deadlines)[1])
            if batch is not None and batch.deadline <= now:
                events.append(Expire(batch.batch_id, batch.deadline, now))
        while self._revisions and self._revisions[0][0] <= now:
            batch_id = heapq.heappop(self._revisions)[1]
            tracked, line = self._tracked.get(batch_id), self.closed.get(batch_id)
            # What is on its way out comes first: then it is looked at again.
            if tracked is not None and tracked.pending_since is not None and not tracked.undone and line is not None:
                events.append(Revise(batch_id, line.revision + 1, now))
        return events

    def forgettable(self, now: float, *, ttl: float, beyond: int = 0, held: float = -math.inf) -> list[Forget]:
        """Return a `forget` event for each batch closed for `ttl` seconds, and for the `beyond` oldest of any age.

        What closed before `held` stays for now, however old it is; and so does what is to be revised.
        """
        return self._closed.forgettable(now, ttl=ttl, beyond=beyond, held=held, is_busy=self._is_busy)

    def _is_busy(self, batch_id: str) -> bool:
        tracked = self._tracked.get(batch_id)
        return tracked is not None and tracked.is_busy

    # -- recovery ----------------------------------------------------------------------------------------------------

    def recover(self) -> list[Unpublished]:
        """Rebuild from the stored records; returns the decisions that may not have been published yet."""
        stored = read_stored(self._records)
        self._owed += stored.leftovers
        unpublished: list[Unpublished] = []
        closed: dict[str, ClosedBatch] = {}
        for batch_id, records in stored.batches.items():
            tracked = self._tracked[batch_id] = _Tracked(keys=records.keys)
            if tracked.keys_of(RecordKind.LATE):
                self._with_late[batch_id] = None
            if records.header is not None:
                unpublished += self._recover_decided(records.header, records, tracked, closed)
            else:
                tracked.batch = rebuild_open(batch_id, records.early, self._rules)
                self.open[batch_id] = tracked.batch
                heapq.heappush(self._deadlines, (tracked.batch.deadline, batch_id))
        self._closed.restore(closed.values())
        return unpublished

    def _recover_decided(
        self, header: Header, records: StoredBatch, tracked: _Tracked, closed: dict[str, ClosedBatch]
    ) -> list[Unpublished]:
        """Rebuild a batch that has been decided; its line goes to `closed` once its first output is out."""
        batch_id, revisions = header.batch_id, records.revisions
        decided: dict[int, Header | Revision] = {FIRST_REVISION: header, **{one.number: one for one in revisions}}
        tracked.undone = {
            number: undone_of(record) for number, record in decided.items() if record.state is not State.CLOSED
        }
        if header.state is State.CLOSED:
            closed[batch_id] = line_of_records(header, revisions[-1] if revisions else None)
        if header.late_policy is LatePolicy.REVISE:
            since = first_late(records.late, revisions)
            if since is not None:
                self._revise_later(batch_id, tracked, since)
        if not tracked.undone:
            self._untrack_if_idle(batch_id, tracked)
            return []
        batch, decisions = rebuild_closed(header, records.early, records.late, revisions, self._rules)
        if FIRST_REVISION in tracked.undone:
            tracked.batch = self.closing[batch_id] = batch
        if decisions:
            undone = tracked.undone.items()
            return [Unpublished(decisions[number], one.destination, one.prepared) for number, one in undone]
        # Results are deleted once the outputs are out: a zombie has written these records again after that.
        tracked.pending_since = None
        for number in list(tracked.undone):
            self._owed += self.published(batch_id, number)
        closed[batch_id] = line_of_records(header, revisions[-1] if revisions else None)
        return []

    def observations(self, newest: int) -> list[tuple[float, Observation]]:
        """Return how the newest of the closed batches have gone, each with the time of its closing."""
        observations: list[tuple[float, Observation]] = []
        for line in islice(self._closed.newest_first(), newest):
            key = line.batch_id.encode()
            value = self._records.get(Table.BATCHES, key)
            if value is not None:
                header = decode_header(key, value)
                observation = observation_of(header, self._segments(line.batch_id, RecordKind.LATE))
                observations.append((header.closed_at, observation))
        return observations

    # -- a look from outside -----------------------------------------------------------------------------------------

    def __contains__(self, batch_id: object) -> bool:
        """Whether the batch is known: no message opens it any more."""
        return batch_id in self._tracked or batch_id in self.closed

    def decision_of(self, batch_id: str) -> Decision | None:
        """Return the latest decision of a batch that has closed, None if there is none. The object is not kept."""
        batch = self.object_of(batch_id)
        if batch is None and batch_id in self.closed:
            batch = self._read(batch_id)
        return batch.decision if batch is not None else None

    def stored_of(self, batch_id: str, kind: RecordKind) -> Iterable[tuple[bytes, bytes]]:
        """Return the stored records of a batch of one kind, keys and values."""
        if kind is not RecordKind.HEADER:
            return self._stored(batch_id, kind)
        key = batch_id.encode()
        value = self._records.get(Table.BATCHES, key)
        return [] if value is None else [(key, value)]

    def object_of(self, batch_id: str) -> Batch | None:
        """Return a batch as it is in memory, None where it is not, or not as an object: nothing is rebuilt."""
        tracked = self._tracked.get(batch_id)
        batch = tracked.batch if tracked is not None else None
        return batch or self._closed.live.get(batch_id)

    def with_late(self) -> list[str]:
        """Return the closed batches for which something late is stored."""
        return list(self._with_late)


def _of_unknown(event: BatchEvent) -> list[Effect]:
    """Effects of an event whose batch is not known."""
    if isinstance(event, Arrived):
        return all_late(event, "unknown-batch", None)
    return [Commanded(event, None)] if isinstance(event, Command) else []
