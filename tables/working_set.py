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
from itertools import islice, takewhile

from tables.closed_batches import ClosedBatch, ClosedBatches, line_of_decision, line_of_records
from tables.model.batch import FIRST_REVISION, Batch, Piece
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
    unknown_batch,
)
from tables.model.policies import Rules
from tables.model.timeouts import Observation
from tables.storage.records import (
    Destination,
    Header,
    Prepared,
    Revision,
    Segment,
    Table,
    Write,
    decode_header,
    decode_revision,
    decode_segment,
    encode_segment,
    header_of,
    revision_of,
    segment_key,
    write_of,
)
from tables.storage.recovery import (
    NO_KEYS,
    Keys,
    Records,
    StoredBatch,
    first_late,
    observation_of,
    read_stored,
    rebuild_closed,
    rebuild_open,
)

__all__ = ["ClosedBatch", "Records", "Unpublished", "WorkingSet"]


@dataclass(frozen=True, slots=True)
class Unpublished:
    """A decision that a predecessor stored and may or may not have published."""

    decision: Decision
    destination: Destination
    prepared: Prepared | None


class WorkingSet:
    """Applies the events of one partition's log under the rules."""

    def __init__(self, records: Records, rules: Rules) -> None:
        self._records = records
        self._rules = rules
        self.open: dict[str, Batch] = {}
        self.closing: dict[str, Batch] = {}  # whose first output is not out yet
        self._closed = ClosedBatches()
        # Decisions that are not out yet, of closing batches and of closed ones that have been revised.
        self._undone: dict[str, dict[int, Header | Revision]] = {}
        self._pending: dict[str, float] = {}  # batches that are to be revised, and since when
        self._keys: dict[str, Keys] = {}  # of those batches that have more than a header
        # What has changed and is not stored yet: closed batches, and open ones, each with the first offset that is not.
        self._urgent: dict[str, Batch] = {}
        self._touched: dict[str, int] = {}
        self._owed: list[Write] = []  # of forgetting and of recovery, for the next `take_writes`
        self._deadlines: list[tuple[float, str]] = []
        self._revisions: list[tuple[float, str]] = []

    @property
    def closed(self) -> OrderedDict[str, ClosedBatch]:
        """The batches whose first output is out, in the order of closing."""
        return self._closed.lines

    def __contains__(self, batch_id: object) -> bool:
        """Whether the batch is known: no message opens it any more."""
        return batch_id in self.open or batch_id in self.closing or batch_id in self.closed

    # -- events ------------------------------------------------------------------------------------------------------

    def apply(self, event: BatchEvent, position: Position) -> list[Effect]:
        """Apply one event of the log; what is to be stored because of it is given out by `take_writes`."""
        if isinstance(event, Forget):
            self._forget(event)
            return []
        batch = self.open.get(event.batch_id) if isinstance(event, Expire) else self._find(event.batch_id)
        # A replayed message that stands before the opening is read again after a crash: it had no effect then either.
        if isinstance(event, Open) and event.replayed and (batch is None or position < batch.first_position):
            return []
        deadline = batch.deadline if batch else None
        if batch is None:
            if not isinstance(event, Open):
                return _of_unknown(event)
            batch = self.open[event.batch_id] = Batch(event.batch_id, event.opened_at, self._rules)
        effects = self._apply_to(batch, event, position)
        if not batch.is_open:
            if batch.batch_id in self.open:
                self.closing[batch.batch_id] = self.open.pop(batch.batch_id)
                self._touched.pop(batch.batch_id, None)
            self._urgent[batch.batch_id] = batch
            self._note_late(batch, effects)
            return effects
        self._touched.setdefault(batch.batch_id, position.offset)
        if batch.deadline != deadline:
            heapq.heappush(self._deadlines, (batch.deadline, batch.batch_id))
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

    def _find(self, batch_id: str) -> Batch | None:
        return self.open.get(batch_id) or self.closing.get(batch_id) or self._closed_object(batch_id)

    def _closed_object(self, batch_id: str) -> Batch | None:
        if batch_id not in self.closed:
            return None
        # What has been touched and not stored yet is not in the records.
        batch = self._urgent.get(batch_id) or self._closed.live.get(batch_id)
        if batch is None:
            batch = self._read(batch_id)
        self._closed.keep_live(batch)
        return batch

    def _read(self, batch_id: str) -> Batch:
        key = batch_id.encode()
        value = self._records.get(Table.BATCHES, key)
        if value is None:
            message = f"batch {batch_id} is remembered as closed, but its header is not in the table"
            raise LookupError(message)
        keys = self._keys.get(batch_id, NO_KEYS)
        revisions = [decode_revision(*one) for one in self._values(keys.revisions)]
        early, late = self._segments(keys.early), self._segments(keys.late)
        return rebuild_closed(decode_header(key, value), early, late, revisions, self._rules)[0]

    def _segments(self, keys: Mapping[bytes, None]) -> list[Segment]:
        return [decode_segment(*one) for one in self._values(keys)]

    def _values(self, keys: Mapping[bytes, None]) -> list[tuple[bytes, bytes]]:
        values = [(key, self._records.get(Table.BATCHES, key)) for key in keys]
        return [(key, value) for key, value in values if value is not None]

    def _note_late(self, batch: Batch, effects: Sequence[Effect]) -> None:
        """Have a batch revised once its first late event is old enough, and its line say what it is then."""
        line = self.closed.get(batch.batch_id)
        for effect in effects:
            if isinstance(effect, Released) and line is not None:
                self.closed[batch.batch_id] = line_of_decision(effect.decision, line.first_closed_at)
        since = batch.pending_since
        if since is None:
            self._pending.pop(batch.batch_id, None)
        elif batch.batch_id not in self._pending:
            self._watch(batch.batch_id, since)

    def _watch(self, batch_id: str, since: float) -> None:
        self._pending[batch_id] = since
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
        self._urgent.pop(batch_id, None)
        # The header last: what a crash leaves of a batch must not look like one that is open.
        self._owed += [Write(Table.BATCHES, key, None) for key in self._keys.pop(batch_id, NO_KEYS).all()]
        self._owed.append(Write(Table.BATCHES, batch_id.encode(), None))

    # -- what is to be stored ----------------------------------------------------------------------------------------

    @property
    def unstored_from(self) -> float:
        """The first offset of the log of which something is not stored yet; infinite where all is."""
        return next(iter(self._touched.values()), math.inf)

    def take_writes(self, destination_of: Mapping[str, Destination], *, upto: float = math.inf) -> list[Write]:
        """The records that the events applied so far have made, as far as no call has given them out before, in order.

        `destination_of` gives where the output of each batch that has been released since the last call goes. What has
        come to a batch that is still open is left for another call, unless some of it stands at the offset `upto` or
        before that: a batch that closes first needs one record, where it would have had one for each chunk of the log,
        and the deletion of each.
        """
        writes, self._owed = self._owed, []
        due = list(self._urgent.values())
        due += [self.open[batch_id] for batch_id in takewhile(lambda one: self._touched[one] <= upto, self._touched)]
        for batch in due:
            for piece in batch.fresh:
                writes += self._store(batch, piece, destination_of)
            batch.fresh = []
            self._touched.pop(batch.batch_id, None)
        self._urgent.clear()
        return writes

    def _store(self, batch: Batch, piece: Piece, destination_of: Mapping[str, Destination]) -> list[Write]:
        decision, batch_id = piece.decision, batch.batch_id
        if decision is None:
            return [self._segment(batch_id, piece)]
        if not piece.late:
            # What this chunk brought goes into the header itself, so that the decision and all that it was made of
            # become durable in one record.
            header = header_of(batch, decision, batch.late_policy, destination_of[batch_id], piece.groups)
            return [self._keep_undone(batch_id, FIRST_REVISION, header)]
        writes = [self._segment(batch_id, piece)] if piece.sources or piece.groups else []
        revision = revision_of(decision, piece.position, destination_of[batch_id])
        write = self._keep_undone(batch_id, decision.revision, revision)
        self._remember(batch_id, write.key)
        return [*writes, write]

    def _segment(self, batch_id: str, piece: Piece) -> Write:
        """What a chunk has brought to a batch, as one record."""
        key = segment_key(batch_id, piece)
        self._remember(batch_id, key)
        return Write(Table.BATCHES, key, encode_segment(piece))

    def _remember(self, batch_id: str, key: bytes) -> None:
        keys = self._keys.get(batch_id)
        if keys is None:
            keys = self._keys[batch_id] = Keys()
        keys.add(key)

    def _keep_undone(self, batch_id: str, number: int, record: Header | Revision) -> Write:
        self._undone.setdefault(batch_id, {})[number] = record
        return write_of(record)

    # -- the outbox --------------------------------------------------------------------------------------------------

    def prepared(self, batch_id: str, revision: int, prepared: Prepared) -> list[Write]:
        """Store a custom handler's answer: from here on the handler is not called again."""
        record = replace(self._undone[batch_id][revision], state=State.PREPARED, prepared=prepared)
        return [self._keep_undone(batch_id, revision, record)]

    def published(self, batch_id: str, revision: int) -> list[Write]:
        """Store that a decision is out, and delete what only its publication needed."""
        undone = self._undone[batch_id]
        record = undone.pop(revision)
        if not undone:
            del self._undone[batch_id]
        writes = self._first_published(record) if isinstance(record, Header) else [write_of(record, closed=True)]
        if batch_id in self._pending:
            self._watch(batch_id, self._pending[batch_id])
        return writes

    def _first_published(self, header: Header) -> list[Write]:
        batch_id, batch = header.batch_id, self.closing.pop(header.batch_id)
        decision = batch.decision
        if decision is not None:
            self.closed[batch_id] = line_of_decision(decision, header.closed_at)
        if batch.late_policy is LatePolicy.REVISE:
            self._closed.keep_live(batch)
            return [write_of(header, closed=True)]
        if decision is not None and decision.missing:  # what is missing may come late: most batches miss nothing
            for source in batch.sources.values():
                source.outcomes = {station: (code, None) for station, (code, _) in source.outcomes.items()}
            batch.decision = replace(decision, results=())
            self._closed.keep_live(batch)
        keys = self._keys.get(batch_id)
        if keys is None:
            return [write_of(header, closed=True)]
        early, keys.early = keys.early, {}
        return [write_of(header, closed=True), *(Write(Table.BATCHES, key, None) for key in early)]

    # -- time --------------------------------------------------------------------------------------------------------

    def due(self, now: float) -> list[Expire | Revise]:
        """An event for each batch whose deadline has come, or that is to be revised; each is given out once."""
        events: list[Expire | Revise] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            batch = self.open.get(heapq.heappop(self._deadlines)[1])
            if batch is not None and batch.deadline <= now:
                events.append(Expire(batch.batch_id, batch.deadline, now))
        while self._revisions and self._revisions[0][0] <= now:
            batch_id = heapq.heappop(self._revisions)[1]
            # What is on its way out comes first: then it is looked at again.
            if batch_id in self._pending and batch_id not in self._undone and batch_id in self.closed:
                events.append(Revise(batch_id, self.closed[batch_id].revision + 1, now))
        return events

    def forgettable(self, now: float, *, ttl: float, beyond: int = 0, held: float = -math.inf) -> list[Forget]:
        """A `forget` event for each batch closed for `ttl` seconds, and for the `beyond` oldest whatever their age.

        What closed at `held` or before stays for now, however old it is; and so does what is to be revised.
        """
        return self._closed.forgettable(now, ttl=ttl, beyond=beyond, held=held, is_busy=self._is_busy)

    def _is_busy(self, batch_id: str) -> bool:
        return batch_id in self._pending or batch_id in self._undone

    # -- recovery ----------------------------------------------------------------------------------------------------

    def recover(self) -> list[Unpublished]:
        """Rebuild from the stored records; returns the decisions that may not have been published yet."""
        stored = read_stored(self._records)
        self._owed += stored.leftovers
        unpublished: list[Unpublished] = []
        for batch_id, records in stored.batches.items():
            if records.keys.all():
                self._keys[batch_id] = records.keys
            if records.header is not None:
                unpublished += self._recover_decided(records.header, records)
            else:
                batch = self.open[batch_id] = rebuild_open(batch_id, records.early, self._rules)
                heapq.heappush(self._deadlines, (batch.deadline, batch_id))
        self._closed.sort()
        return unpublished

    def _recover_decided(self, header: Header, records: StoredBatch) -> list[Unpublished]:
        batch_id = header.batch_id
        revisions = [records.revisions[number] for number in sorted(records.revisions)]
        undone: dict[int, Header | Revision] = {revision.number: revision for revision in revisions}
        undone[FIRST_REVISION] = header
        undone = {number: record for number, record in sorted(undone.items()) if record.state is not State.CLOSED}
        if header.state is State.CLOSED:
            self.closed[batch_id] = line_of_records(header, revisions[-1] if revisions else None)
        if header.late_policy is LatePolicy.REVISE:
            since = first_late(records.late, revisions)
            if since is not None:
                self._watch(batch_id, since)
        if not undone:
            return []
        batch, decisions = rebuild_closed(header, records.early, records.late, revisions, self._rules)
        self._undone[batch_id] = dict(undone)
        if FIRST_REVISION in undone:
            self.closing[batch_id] = batch
        if decisions:
            return [Unpublished(decisions[n], record.destination, record.prepared) for n, record in undone.items()]
        # Results are deleted when the outputs are out: an owner that was none any more has written this after that.
        self._pending.pop(batch_id, None)
        for number in undone:
            self._owed += self.published(batch_id, number)
        return []

    def observations(self, newest: int) -> list[tuple[float, Observation]]:
        """How the newest of the closed batches have gone, each with the time of its closing."""
        observations: list[tuple[float, Observation]] = []
        for batch_id in islice(reversed(self.closed), newest):
            key = batch_id.encode()
            value = self._records.get(Table.BATCHES, key)
            if value is not None:
                header = decode_header(key, value)
                observations.append(
                    (header.closed_at, observation_of(header, self._segments(self._keys.get(batch_id, NO_KEYS).late)))
                )
        return observations

    # -- a look from outside -----------------------------------------------------------------------------------------

    def look_up(self, batch_id: str) -> Batch | None:
        """A batch as an object, whatever its state; None when it is not known."""
        return self._find(batch_id)

    def decision_of(self, batch_id: str) -> Decision | None:
        """The latest decision of a batch that has closed, None when there is none; nothing is kept for this look."""
        batch = self.closing.get(batch_id) or self._urgent.get(batch_id) or self._closed.live.get(batch_id)
        if batch is None and batch_id in self.closed:
            batch = self._read(batch_id)
        return batch.decision if batch is not None else None


def _of_unknown(event: BatchEvent) -> list[Effect]:
    """Effects of an event whose batch is not known."""
    if isinstance(event, Arrived):
        return unknown_batch(event)
    return [Commanded(event, None)] if isinstance(event, Command) else []
