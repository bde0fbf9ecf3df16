"""The aggregator: applies the batches' log to the state machine and carries out the effects, in order.

One writer for each batch: the owner of the batch's partition. A chunk of the log is applied in memory, event by event;
then what it means to others (dead letters, late outcomes) is sent, then the state is stored, and only then may the
chunk be acknowledged. Publishing is the outbox's work (app/publisher.py), from the stored decision.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import Protocol

from app.dead_letters import DeadLetters
from app.effects import EffectWriter
from app.failure_letters import SourceLetters
from app.frames import event_frames
from app.log import BatchLog
from app.messages import FrameError, decode_events
from app.open_batches import OpenBatches
from app.publisher import Publisher, Release
from app.transport import Clock, InMessage, OutMessage, Sender
from tables.batch import Batch
from tables.events import BatchEvent, Decision, Position, Released, SkippedFailed
from tables.policies import Rules
from tables.records import Destination, Write
from tables.timeouts import WINDOW, TimeoutPolicy
from tables.working_set import Records, WorkingSet

__all__ = ["TICK_SECONDS", "Aggregator", "AggregatorConfig", "StateStore"]

TICK_SECONDS = 0.05  # between two looks for deadlines


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
    rules: Rules
    closed_ttl: float
    closed_max: int
    forget_grace: float  # after a recovery: what was read and not acknowledged before it comes again first


@dataclass(slots=True)
class _Chunk:
    """What a chunk of the log leads to: messages to send before, and decisions to publish after its state is stored."""

    outgoing: list[OutMessage] = field(default_factory=list)
    unrun: list[SkippedFailed] = field(default_factory=list)  # whose letters have to be made first
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
        effects: EffectWriter,
        source_letters: SourceLetters,
        dead_letters: DeadLetters,
        timeouts: TimeoutPolicy,
        open_batches: OpenBatches,
        clock: Clock,
        log: BatchLog,
    ) -> None:
        self._config = config
        self._store = store
        self._sender = sender
        self._publisher = publisher
        self._effects = effects
        self._source_letters = source_letters
        self._dead_letters = dead_letters
        self._timeouts = timeouts
        self._clock = clock
        self._log = log
        self.sets: dict[int, WorkingSet] = {}
        self._open_batches = open_batches
        open_batches.own(self.sets)
        self._recovered_at = -math.inf

    # -- partitions --------------------------------------------------------------------------------------------------

    def recover(self, partitions: Iterable[int]) -> None:
        """Take over partitions whose tables have been recovered, and go on with the outboxes that were left."""
        releases: list[Release] = []
        self._recovered_at = self._clock()
        for partition in sorted(partitions):
            working_set = WorkingSet(self._store.records(partition), self._config.rules)
            self.sets[partition] = working_set
            for left in working_set.recover():
                releases.append(self._release(partition, left.decision, left.destination))
                releases[-1].prepared = left.prepared
        if self._timeouts.adaptive:
            observations = [one for working_set in self.sets.values() for one in working_set.observations(WINDOW)]
            observations.sort(key=itemgetter(0))
            self._timeouts.reset(observation for _, observation in observations[-WINDOW:])
        self._publisher.recover(releases)

    def drop_all(self) -> None:
        """Give up every partition: another worker may be its owner from now on."""
        self.sets.clear()
        self._open_batches.clear()

    # -- the log -----------------------------------------------------------------------------------------------------

    async def handle(self, messages: Sequence[InMessage]) -> None:
        """Apply a chunk of the log; when this returns, all that it led to is stored and it may be acknowledged."""
        chunk = self._apply(messages)
        if chunk.unrun:
            for failed in await self._source_letters.of(chunk.unrun):
                chunk.outgoing += self._effects.carry_out(failed)
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
                    chunk.outgoing += self._effects.carry_out(effect)
                    if isinstance(effect, SkippedFailed):
                        chunk.unrun.append(effect)
                    elif isinstance(effect, Released):
                        decision = effect.decision
                        destination = released[decision.batch_id] = self._publisher.destination(decision.batch_id)
                        chunk.releases.append(self._release(message.partition, decision, destination))
                batch = working_set.open.get(event.batch_id)
                if batch is not None:
                    progressed[event.batch_id] = batch
        for partition, released in destinations.items():
            chunk.state += self._store.apply(partition, self.sets[partition].take_writes(released))
        self._tell_progress(progressed.values())
        return chunk

    def _tell_progress(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            if batch.is_open:
                expected = len(batch.expected)
                arrived = expected - batch.pending
                if arrived:
                    self._log.progress(batch.batch_id, arrived, expected, batch.waiting_for)

    def _read(self, message: InMessage, chunk: _Chunk) -> list[BatchEvent]:
        try:
            return decode_events(message.value)
        except FrameError as error:
            chunk.outgoing.append(self._dead_letters.of_message(message, str(error)))
            return []

    # -- decisions ---------------------------------------------------------------------------------------------------

    def _release(self, partition: int, decision: Decision, destination: Destination) -> Release:
        batch_id, revision = decision.batch_id, decision.revision
        working_set = self.sets[partition]

        def published() -> list[OutMessage]:
            self._open_batches.closed(batch_id)
            return self._store.apply(partition, working_set.published(batch_id, revision))

        return Release(
            decision,
            destination,
            store_prepared=lambda prepared: self._store.apply(
                partition, working_set.prepared(batch_id, revision, prepared)
            ),
            store_published=published,
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
