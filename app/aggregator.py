"""The aggregator: applies the batches' log to the state machine and carries out the effects, in order.

One writer for each batch: the owner of the batch's partition. A chunk of the log is applied in memory, event by event;
then what it means to others (dead letters, late outcomes) is sent, then the state is stored, and only then may the
chunk be acknowledged. Publishing is the outbox's work (app/publisher.py), from the stored decision.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import orjson

from app.dead_letters import DeadLetters, Reason
from app.frames import event_frames
from app.log import BatchLog
from app.messages import FrameError, decode_events
from app.publisher import Publisher, Release
from app.statistics import Statistics
from app.transport import Clock, InMessage, OutMessage, Sender
from tables.batch import Batch
from tables.codes import Code, CompletedBy, State, Status
from tables.events import BatchEvent, Commanded, Decision, Effect, FailedStation, Late, Opened, Position, Released
from tables.records import Destination, Write
from tables.working_set import Records, WorkingSet

__all__ = ["TICK_SECONDS", "Aggregator", "AggregatorConfig", "StateStore"]

TICK_SECONDS = 0.05  # between two looks for deadlines

logger = logging.getLogger(__name__)

STATUS_OF = {Code.RESULT: "result", Code.EMPTY: "empty", Code.FAILED: "failed", Code.SKIPPED: "skipped"}


class StateStore(Protocol):
    """The tables: what they hold in memory, and the changelog messages that make a change durable."""

    def records(self, partition: int) -> Records:
        """The records of one partition."""

    def apply(self, partition: int, writes: Iterable[Write]) -> list[OutMessage]:
        """Change the records in memory; the messages are what `save` has to be given."""

    async def save(self, messages: Sequence[OutMessage]) -> None:
        """Make changes durable."""


@dataclass(frozen=True, slots=True)
class AggregatorConfig:
    """What the aggregator goes by. Times in seconds."""

    batch_events_topic: str
    late_topic: str
    max_batch_age: float
    closed_ttl: float
    closed_max: int
    forget_grace: float  # after a recovery: what was read and not acknowledged before it comes again first


@dataclass(slots=True)
class _Chunk:
    """What a chunk of the log leads to: messages to send before, and decisions to publish after its state is stored."""

    outgoing: list[OutMessage] = field(default_factory=list)
    state: list[OutMessage] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)


class Aggregator:
    """Keeps the batches of the partitions that this worker owns."""

    def __init__(
        self,
        config: AggregatorConfig,
        *,
        store: StateStore,
        sender: Sender,
        publisher: Publisher,
        dead_letters: DeadLetters,
        clock: Clock,
        log: BatchLog,
        statistics: Statistics,
    ) -> None:
        self._config = config
        self._store = store
        self._sender = sender
        self._publisher = publisher
        self._dead_letters = dead_letters
        self._clock = clock
        self._log = log
        self._statistics = statistics
        self._metrics = statistics.metrics
        self.sets: dict[int, WorkingSet] = {}
        self._recovered_at = -math.inf

    # -- partitions --------------------------------------------------------------------------------------------------

    def recover(self, partitions: Iterable[int]) -> None:
        """Take over partitions whose tables have been recovered, and go on with the outboxes that were left."""
        releases: list[Release] = []
        self._recovered_at = self._clock()
        for partition in sorted(partitions):
            working_set = WorkingSet(self._store.records(partition), max_age=self._config.max_batch_age)
            self.sets[partition] = working_set
            for left in working_set.recover():
                if left.batch.decision is not None:
                    releases.append(self._release(partition, left.batch.decision, left.destination))
                    releases[-1].prepared = left.prepared
        self._publisher.recover(releases)

    def drop_all(self) -> None:
        """Give up every partition: another worker may be its owner from now on."""
        self.sets.clear()

    # -- the log -----------------------------------------------------------------------------------------------------

    async def handle(self, messages: Sequence[InMessage]) -> None:
        """Apply a chunk of the log; when this returns, all that it led to is stored and it may be acknowledged."""
        chunk = self._apply(messages)
        if chunk.outgoing:
            await self._sender.send(chunk.outgoing)
        if chunk.state:
            await self._store.save(chunk.state)
        if chunk.releases:
            self._publisher.release(chunk.releases)

    def _apply(self, messages: Sequence[InMessage]) -> _Chunk:
        chunk = _Chunk()
        destinations: dict[int, dict[str, Destination]] = {}
        progressed: dict[str, Batch] = {}
        for message in messages:
            working_set = self.sets[message.partition]
            released = destinations.setdefault(message.partition, {})
            for ordinal, event in enumerate(self._read(message, chunk)):
                for effect in working_set.apply(event, Position(message.offset, ordinal)):
                    self._carry_out(effect, message.partition, released, chunk)
                batch = working_set.open.get(event.batch_id)
                if batch is not None:
                    progressed[event.batch_id] = batch
        for partition, released in destinations.items():
            chunk.state += self._store.apply(partition, self.sets[partition].take_writes(released))
        for batch in progressed.values():
            if batch.state is State.OPEN:
                expected = len(batch.expected)
                arrived = expected - batch.pending
                if arrived:
                    self._log.progress(batch.batch_id, arrived, expected, batch.waiting_for)
        return chunk

    def _read(self, message: InMessage, chunk: _Chunk) -> list[BatchEvent]:
        try:
            return decode_events(message.value)
        except FrameError as error:
            chunk.outgoing.append(self._dead_letters.of_message(message, str(error)))
            return []

    # -- effects -----------------------------------------------------------------------------------------------------

    def _carry_out(self, effect: Effect, partition: int, released: dict[str, Destination], chunk: _Chunk) -> None:
        if isinstance(effect, Released):
            decision = effect.decision
            destination = self._publisher.destination(decision.batch_id)
            released[decision.batch_id] = destination
            chunk.releases.append(self._release(partition, decision, destination))
            self._statistics.released(decision)
            self._tell_closing(decision)
        elif isinstance(effect, Late):
            self._metrics.late_outcomes[effect.reason] += 1
            self._log.late(effect.batch_id, effect.station, STATUS_OF[effect.code], effect.reason)
            chunk.outgoing.append(self._late_message(effect))
        elif isinstance(effect, FailedStation):
            chunk.outgoing.append(self._failure_letter(effect))
        elif isinstance(effect, Opened):
            self._metrics.batches_opened += 1
            self._log.opened(effect.batch_id, effect.expected)
        elif isinstance(effect, Commanded):
            self._log.commanded(effect.command, effect.deadline)

    def _tell_closing(self, decision: Decision) -> None:
        batch_id, arrived, expected = decision.batch_id, decision.arrived_count, len(decision.expected)
        if decision.completed_by is CompletedBy.TIMEOUT:
            self._log.timed_out(batch_id, arrived, expected, decision.missing)
        elif decision.status is Status.PARTIAL:
            self._log.released_early(batch_id, decision.completed_by, arrived, expected, decision.missing)
        elif decision.status is Status.COMPLETE:
            self._log.completed(batch_id, decision.expected)
        if decision.status is Status.DISCARDED:
            self._log.discarded(batch_id, decision.completed_by, arrived, expected)

    def _release(self, partition: int, decision: Decision, destination: Destination) -> Release:
        batch_id = decision.batch_id
        working_set = self.sets[partition]
        return Release(
            decision,
            destination,
            store_prepared=lambda prepared: self._store.apply(partition, working_set.prepared(batch_id, prepared)),
            store_published=lambda: self._store.apply(partition, working_set.published(batch_id)),
        )

    def _late_message(self, late: Late) -> OutMessage:
        record: dict[str, object] = {"batch_id": late.batch_id, "station_id": late.station}
        record["status"] = STATUS_OF[late.code]
        if late.code is Code.RESULT:
            record["result"] = orjson.Fragment(late.value or "null")
        elif late.value is not None:
            record["error"] = late.value
        record["reason"] = late.reason
        record["revision"] = late.revision
        record["closed_at"] = late.closed_at
        record["timestamp"] = late.at
        headers = [
            ("batch-id", late.batch_id.encode()),
            ("station-id", late.station.encode()),
            ("reason", late.reason.encode()),
        ]
        return OutMessage(self._config.late_topic, orjson.dumps(record), key=late.batch_id.encode(), headers=headers)

    def _failure_letter(self, failed: FailedStation) -> OutMessage:
        letter = failed.letter
        reason = Reason.TOO_LARGE if letter.too_large else Reason.STATION_FAILED
        return self._dead_letters.letter(
            reason,
            letter.error,
            value=letter.value.encode(),
            key=letter.key,
            failed_at=failed.at,
            source=failed.source,
            batch_id=failed.batch_id,
            station_id=failed.station,
        )

    # -- time --------------------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """Send an `expire` for each batch that is due and a `forget` for each that has been remembered long enough."""
        frames = self._timely_events(self._clock())
        if frames:
            await self._sender.send(frames)

    def _timely_events(self, now: float) -> list[OutMessage]:
        beyond = self._beyond_the_limit()
        # A batch that aged out while nobody ran may still be about to get its messages again: forgotten, it would open
        # a second time.
        held = self._recovered_at if now < self._recovered_at + self._config.forget_grace else -math.inf
        frames: list[OutMessage] = []
        for partition, working_set in self.sets.items():
            events: list[BatchEvent] = [*working_set.due(now)]
            events += working_set.forgettable(now, ttl=self._config.closed_ttl, beyond=beyond[partition], held=held)
            frames += event_frames(self._config.batch_events_topic, partition, events)
        return frames

    def _beyond_the_limit(self) -> Counter[int]:
        """How many of each partition's oldest closed batches are too many for this worker."""
        too_many = sum(len(working_set.closed) for working_set in self.sets.values()) - self._config.closed_max
        if too_many <= 0:
            return Counter()
        by_age = heapq.merge(
            *(
                [(closed.closed_at, partition) for closed in islice(working_set.closed.values(), too_many)]
                for partition, working_set in self.sets.items()
            )
        )
        return Counter(partition for _, partition in islice(by_age, too_many))
