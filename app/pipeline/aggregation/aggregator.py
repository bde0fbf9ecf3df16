"""The aggregator: applies the batches' log to the state machine and carries out the effects, in order.

One writer for each batch: the owner of the batch's partition. A chunk of the log is applied in memory, event by event;
then what it means to others (dead letters, late outcomes) is sent, then the state is stored, and only then is the
chunk acknowledged. Publishing is the outbox's work (publisher.py), from the stored decision.

A decision is stored at once; what has come to batches that are still open may wait a little (deferred_acks.py).
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import Protocol

from app.messages.frames import FrameError, decode_events, event_frames
from app.messages.message import Clock, Delivery, InMessage, OutMessage, Sender
from app.observability.batch_log import BatchLog
from app.pipeline.aggregation.deferred_acks import Unstored
from app.pipeline.aggregation.effects import EffectWriter
from app.pipeline.aggregation.publisher import Publisher, Release
from app.pipeline.dead_letters import DeadLetters
from app.pipeline.failure_letters import SourceLetters
from app.pipeline.splitting.flow_control import OpenBatches
from tables.model.batch import Batch
from tables.model.events import BatchEvent, Decision, Position, Released, SkippedFailed
from tables.model.policies import Rules
from tables.model.timeouts import WINDOW, TimeoutPolicy
from tables.storage.records import Destination, Write
from tables.working_set import Records, WorkingSet

__all__ = ["TICK_SECONDS", "Aggregator", "AggregatorConfig", "StateStore"]

TICK_SECONDS = 0.05  # between two looks for deadlines
SETTLE_SECONDS = 3.0  # what is not stored yet gets to be stored when partitions are taken away


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
    released: dict[int, dict[str, Destination]] = field(default_factory=dict)  # by partition and batch


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
        self._unstored = Unstored()
        self._storing = asyncio.Lock()  # what is stored later must not overtake what is stored now

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

    async def settle(self) -> None:
        """Store what is not stored yet, within SETTLE_SECONDS; what then is not is for the next owner to do again."""
        if self._unstored.due(math.inf):
            task = asyncio.get_running_loop().create_task(self._store_what_waits(math.inf))
            await asyncio.wait([task], timeout=SETTLE_SECONDS)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def drop_all(self) -> None:
        """Give up every partition: another worker may be its owner from now on."""
        self._unstored.drop()
        self.sets.clear()
        self._open_batches.clear()

    # -- the log -----------------------------------------------------------------------------------------------------

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Apply a chunk of the log, and acknowledge it when everything that it led to is stored."""
        async with self._storing:
            chunk = self._apply([delivery.message for delivery in deliveries])
            now = self._clock()
            self._unstored.add(deliveries, now)
            with self._nothing_done_if_it_fails():
                if chunk.unrun:
                    for failed in await self._source_letters.of(chunk.unrun):
                        chunk.outgoing += self._effects.carry_out(failed)
                if chunk.outgoing:
                    await self._sender.send(chunk.outgoing)
                # What was sent would be sent again after a crash: the sooner it is stored, the more seldom.
                await self._store_state(chunk, math.inf if chunk.outgoing else now)
        if chunk.releases:
            self._publisher.release(chunk.releases)

    async def _store_what_waits(self, now: float) -> None:
        async with self._storing:
            with self._nothing_done_if_it_fails():
                await self._store_state(_Chunk(), now)

    async def _store_state(self, chunk: _Chunk, now: float) -> None:
        """Store what the events applied so far have changed, as far as it must not wait; acknowledge what is stored."""
        upto = self._unstored.due(now)
        for partition, working_set in self.sets.items():
            writes = working_set.take_writes(chunk.released.get(partition, {}), upto=upto.get(partition, -1))
            chunk.state += self._store.apply(partition, writes)
        unstored_from = {partition: working_set.unstored_from for partition, working_set in self.sets.items()}
        stored = self._unstored.count_stored(unstored_from)
        if chunk.state:
            await self._store.save(chunk.state)
        self._unstored.stored(stored)

    @contextmanager
    def _nothing_done_if_it_fails(self) -> Iterator[None]:
        """What has been taken out of the working sets may not be stored then: none of it may be acknowledged."""
        try:
            yield
        except BaseException:
            self._unstored.drop()
            raise

    def _apply(self, messages: Sequence[InMessage]) -> _Chunk:
        chunk = _Chunk()
        progressed: dict[str, Batch] = {}
        for message in messages:
            working_set = self.sets[message.partition]
            released = chunk.released.setdefault(message.partition, {})
            for ordinal, event in enumerate(self._read(message, chunk)):
                for effect in working_set.apply(event, Position(message.offset, ordinal)):
                    chunk.outgoing += self._effects.carry_out(effect)
                    if isinstance(effect, SkippedFailed):
                        chunk.unrun.append(effect)
                    elif isinstance(effect, Released):
                        decision = effect.decision
                        destination = released[decision.batch_id] = self._publisher.destination(decision.batch_id)
                        chunk.releases.append(self._release(message.partition, decision, destination))
                batch = working_set.open_batch(event.batch_id)
                if batch is not None:
                    progressed[event.batch_id] = batch
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
        """Send an `expire` for each batch that is due and a `forget` for each that has been remembered long enough.

        Then store what has waited long enough for it.
        """
        now = self._clock()
        frames = self._timely_events(now)
        if frames:
            await self._sender.send(frames)
        if self._unstored.due(now):
            await self._store_what_waits(now)

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
