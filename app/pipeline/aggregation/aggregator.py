"""The aggregator: applies the batches' log to the state machine and carries out the effects, in order.

One writer for each batch: the owner of the batch's partition. A chunk of the log is applied in memory, event by event;
then what it leads to (dead letters, late outcomes) is sent, then the state is stored, and only then is the chunk
acknowledged. Publishing is the outbox's work (publisher.py), from the stored decision.

A decision is stored at once; what has come to batches that are still open may wait a little (`DeferredAcks`).
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field
from itertools import islice, takewhile
from typing import Final

from app.messages.frames import FrameError, decode_events, event_frames
from app.messages.message import Clock, Delivery, InMessage, OutMessage, newer
from app.pipeline.aggregation.effects import EffectWriter
from app.pipeline.aggregation.publisher import Publisher, Release
from app.pipeline.dead_letters import DeadLetters, SourceLetters
from app.pipeline.ports import SETTLE_SECONDS, Backend
from app.pipeline.splitting.flow_control import OpenBatches
from app.settings import Settings
from tables.model.batch import Batch
from tables.model.events import BatchEvent, Open, Position, Released, SkippedFailed
from tables.model.fast_dataclass import fast_dataclass
from tables.model.policies import Rules
from tables.storage.checks import NewerFormatError
from tables.storage.records import Table, UnreadableRecordError
from tables.working_set import WorkingSet

TICK_SECONDS: Final = 0.05  # between two looks for deadlines
STORE_SECONDS: Final = 1.0  # as long as Faust takes to commit what is acknowledged: a crash repeats that much anyway
STORE_BYTES: Final = 8 * 1024 * 1024  # of the log that wait for that; of more, the oldest are stored
CLOCK_SET: Final = 10.0  # seconds by which a clock jumps that has been set; less makes nothing old
FORGET_GRACE: Final = 30.0  # on top of the time in which what was read before a crash comes again


OnOpen = Callable[[Open, InMessage], None]  # gets an `open` event and the message that it stands in


def ignore_open(_event: Open, _message: InMessage) -> None:
    """Do nothing about an `open` event beyond what the batches' log asks for."""


@fast_dataclass(frozen=True, slots=True)
class _AppliedChunk:
    """A chunk of the log; with it, all that is applied stands at the offsets `upto` or before, by partition."""

    applied_at: float  # Unix seconds
    upto: Mapping[int, int]
    size: int  # bytes
    acks: Sequence[Callable[[], None]]


class DeferredAcks:
    """Chunks of the log that are applied and not stored yet, in order, with what acknowledges them.

    A decision is stored at once. What has come to a batch that is still open may wait, unacknowledged: most batches
    close soon, and then one record holds all there is to store.
    """

    def __init__(self) -> None:
        self._chunks: deque[_AppliedChunk] = deque()
        self._upto: dict[int, int] = {}
        self._size = 0

    def add(self, deliveries: Sequence[Delivery], now: float) -> None:
        """Add a chunk that has been applied."""
        self._upto |= {delivery.message.partition: delivery.message.offset for delivery in deliveries}
        size = sum([delivery.message.size for delivery in deliveries])
        self._size += size
        self._chunks.append(_AppliedChunk(now, dict(self._upto), size, [delivery.ack for delivery in deliveries]))

    def due(self, now: float) -> Mapping[int, int]:
        """Return up to which offset, by partition, everything is to be stored now; empty where all may wait."""
        size = self._size
        upto: Mapping[int, int] = {}
        for chunk in self._chunks:
            # A clock that was put back makes it due, too.
            if 0.0 <= now - chunk.applied_at < STORE_SECONDS and size <= STORE_BYTES:
                break
            size -= chunk.size
            upto = chunk.upto
        return upto

    def count_stored(self, unstored_from: Mapping[int, float]) -> int:
        """Return how many chunks, from the front, have nothing at these offsets or behind them, by partition."""
        return sum(
            1
            for _ in takewhile(
                lambda chunk: all(unstored_from[number] > last for number, last in chunk.upto.items()), self._chunks
            )
        )

    def stored(self, count: int) -> None:
        """Acknowledge so many chunks, from the front, unless all have been dropped meanwhile."""
        for _ in range(min(count, len(self._chunks))):
            chunk = self._chunks.popleft()
            self._size -= chunk.size
            for ack in chunk.acks:
                ack()

    def drop(self) -> None:
        """Forget all chunks: the next owner does them again."""
        self._chunks.clear()
        self._upto.clear()
        self._size = 0


@fast_dataclass(slots=True)
class _ChunkWork:
    """Messages to send before the state that a chunk of the log makes is stored, and decisions to publish after it."""

    outgoing: list[OutMessage] = field(default_factory=list)
    skipped: list[SkippedFailed] = field(default_factory=list)  # their letters have to be made first
    releases: list[Release] = field(default_factory=list)


class Aggregator:
    """Keeps the batches of the partitions that this worker owns."""

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        *,
        rules: Rules,
        publisher: Publisher,
        effects: EffectWriter,
        open_batches: OpenBatches,
        clock: Clock,
        on_open: OnOpen = ignore_open,
    ) -> None:
        self._on_open = on_open
        self._batch_events_topic = settings.batch_events_topic
        self._closed_ttl = settings.closed_ttl
        self._closed_max = settings.closed_max
        # What was read and not acknowledged before a recovery comes again first.
        self._forget_grace = settings.max_batch_age + settings.station_timeout + FORGET_GRACE
        self._store = backend.store
        self._sender = backend.sender
        self._rules = rules
        self._publisher = publisher
        self._effects = effects
        self._source_letters = SourceLetters(settings, backend.find_sources)
        self._dead_letters = DeadLetters(settings.dead_letter_topic)
        self._clock = clock
        self.sets: dict[int, WorkingSet] = {}
        self._open_batches = open_batches
        open_batches.own(self.sets)
        # Nothing that closed before this is forgotten for a while: since a recovery, or since the clock was set.
        self._remember_since = -math.inf
        self._clock_ahead: float | None = None  # of the loop's, which nobody sets
        self._deferred = DeferredAcks()
        self._storing = asyncio.Lock()  # what is stored later must not overtake what is stored now

    # -- partitions --------------------------------------------------------------------------------------------------

    def recover(self, partitions: Iterable[int]) -> None:
        """Take over partitions whose tables have been recovered, and go on with the outboxes that were left.

        Raises:
            UnreadableRecordError: a record is damaged, or a newer version's.
        """
        releases: list[Release] = []
        now = self._clock()
        self._watch_clock(now)
        self._remember_since = now
        for partition in sorted(partitions):
            try:
                working_set = WorkingSet(self._store.records(partition), self._rules)
                recovered = working_set.recover()
            except UnreadableRecordError as error:
                message = f"table {Table.BATCHES}, partition {partition}: {error}"
                raise UnreadableRecordError(message) from error
            self.sets[partition] = working_set
            self._open_batches.recovered(working_set.open)
            releases += [
                Release(left.decision, left.destination, partition, working_set, left.prepared) for left in recovered
            ]
        self._effects.recovered(self.sets.values())
        self._publisher.recover(releases)

    async def settle(self) -> None:
        """Store what is not stored yet, within SETTLE_SECONDS; what then is not is for the next owner to do again."""
        if self._deferred.due(math.inf):
            with suppress(Exception):
                async with asyncio.timeout(SETTLE_SECONDS):
                    await self._store_what_waits(math.inf)

    async def cancel(self) -> None:
        """Stop publishing, and give up every partition: another worker may be its owner from now on."""
        await self._publisher.cancel()
        self._deferred.drop()
        self.sets.clear()
        self._open_batches.clear()

    # -- the log -----------------------------------------------------------------------------------------------------

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Apply a chunk of the log, and acknowledge it when everything that it led to is stored."""
        async with self._storing:
            work = self._apply([delivery.message for delivery in deliveries])
            now = self._clock()
            self._deferred.add(deliveries, now)
            with self._nothing_done_if_it_fails():
                if work.skipped:
                    for failed in await self._source_letters.of(work.skipped):
                        work.outgoing += self._effects.carry_out(failed)
                if work.outgoing:
                    await self._sender.send(work.outgoing)
                # What was sent would be sent again after a crash: the sooner it is stored, the more seldom.
                await self._store_state(work.releases, math.inf if work.outgoing else now)
        if work.releases:
            self._publisher.release(work.releases)

    async def _store_what_waits(self, now: float) -> None:
        async with self._storing:
            with self._nothing_done_if_it_fails():
                await self._store_state((), now)

    async def _store_state(self, releases: Sequence[Release], now: float) -> None:
        """Store what the events applied so far have changed, as far as it must not wait; acknowledge what is stored."""
        destination_of = {release.decision.batch_id: release.destination for release in releases}
        upto = self._deferred.due(now)
        changes: list[OutMessage] = []
        for partition, working_set in self.sets.items():
            writes = working_set.take_writes(destination_of, upto=upto.get(partition, -1))
            changes += self._store.apply(partition, writes)
        unstored_from = {partition: working_set.unstored_from for partition, working_set in self.sets.items()}
        stored = self._deferred.count_stored(unstored_from)
        if changes:
            await self._store.save(changes)
        self._deferred.stored(stored)

    @contextmanager
    def _nothing_done_if_it_fails(self) -> Iterator[None]:
        """Acknowledge nothing of it then: what has been taken out of the working sets may not be stored."""
        try:
            yield
        except BaseException:
            self._deferred.drop()
            raise

    def _apply(self, messages: Sequence[InMessage]) -> _ChunkWork:
        work = _ChunkWork()
        progressed: dict[str, Batch] = {}
        for message in messages:
            working_set = self.sets[message.partition]
            for ordinal, event in enumerate(self._read(message, work)):
                if isinstance(event, Open):
                    self._on_open(event, message)
                for effect in working_set.apply(event, Position(message.offset, ordinal)):
                    work.outgoing += self._effects.carry_out(effect)
                    if isinstance(effect, SkippedFailed):
                        work.skipped.append(effect)
                    elif isinstance(effect, Released):
                        decision = effect.decision
                        destination = self._publisher.destination(decision.batch_id)
                        work.releases.append(Release(decision, destination, message.partition, working_set))
                batch = working_set.open.get(event.batch_id)
                if batch is not None:
                    progressed[event.batch_id] = batch
        self._effects.progressed(progressed.values())
        return work

    def _read(self, message: InMessage, work: _ChunkWork) -> list[BatchEvent]:
        try:
            return decode_events(message.value)
        except NewerFormatError as error:
            raise newer(message, error) from error
        except FrameError as error:
            work.outgoing.append(self._dead_letters.of_message(message, str(error)))
            return []

    # -- time --------------------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """Send an `expire` for each batch that is due and a `forget` for each that has been remembered long enough.

        Then store what has waited long enough for it.
        """
        now = self._clock()
        self._watch_clock(now)
        frames = self._timely_events(now)
        if frames:
            await self._sender.send(frames)
        if self._deferred.due(now):
            await self._store_what_waits(now)

    def _watch_clock(self, now: float) -> None:
        """Forget nothing for a while when the clock has been set.

        What closed a moment ago may look an hour old, and its messages, not acknowledged yet, may come again.
        """
        ahead, before = now - asyncio.get_running_loop().time(), self._clock_ahead
        self._clock_ahead = ahead
        if before is not None and abs(ahead - before) > CLOCK_SET:
            self._remember_since = now

    def _timely_events(self, now: float) -> list[OutMessage]:
        beyond = self._beyond_the_limit()
        # A batch that aged out while nobody ran may still be about to get its messages again: forgotten, it would open
        # a second time.
        held = self._remember_since if now < self._remember_since + self._forget_grace else -math.inf
        frames: list[OutMessage] = []
        for partition, working_set in self.sets.items():
            events: list[BatchEvent] = [*working_set.due(now)]
            events += working_set.forgettable(now, ttl=self._closed_ttl, beyond=beyond[partition], held=held)
            frames += event_frames(self._batch_events_topic, partition, events)
        return frames

    def _beyond_the_limit(self) -> Counter[int]:
        """Return how many of each partition's oldest closed batches are too many for this worker."""
        too_many = sum(len(working_set.closed) for working_set in self.sets.values()) - self._closed_max
        if too_many <= 0:
            return Counter()
        by_age = heapq.merge(
            *(
                [(closed.closed_at, partition) for closed in islice(working_set.closed_in_order(), too_many)]
                for partition, working_set in self.sets.items()
            )
        )
        return Counter(partition for _, partition in islice(by_age, too_many))
