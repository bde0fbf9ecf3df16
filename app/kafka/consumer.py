"""The Kafka consumer under Faust, made so that nothing is lost.

Faust's own consumer can commit what was never processed: it takes a hole in what it reads for acknowledged, and a
restart with a backlog makes such holes. This subclass of its driver is installed by `AggregatorApp._new_transport`.
It gives every partition a base before it is read, and commits only the contiguous run from there. How this was found:
docs/faust.md.

Faust carries a message at a time to the stream of its agent, which costs more than most messages are worth. Here what
has been fetched of a partition travels as one message, in pieces of bounded size, and is acknowledged by offset.

That is so for topics of the pipeline. Those that agents of the user's read come message by message, as Faust's
documentation says, and are acknowledged by Faust's streams.

Every override replaces a method of Faust. Without it:

    reading
    perform_seek              the flow is open during the seek: what is delivered then is cleared from the queues, lost
    _seek                     the worker's thread seeks under a fetch of the consumer's: a KeyError ends the worker
    getmany                   makes two tasks for each message: work that belongs together, as a batch's, comes apart
    _getmany, _to_message     each message goes to its stream by itself; bytes in flight have no bound; where a log goes
                              on before our position, all is dropped until that is reached; an agent of the user's that
                              hangs holds up all others (app/kafka/users_topics.py)
    on_buffer_drop            a buffer that has room resumes a partition that is paused for a recovery
    _add_gap                  a hole counts as acknowledged, and is committed

    acknowledging
    _new_offset               commits what was never processed, and is off by one with a single message in flight
    _filter_tps_with_…        knows Faust's acknowledgements only: no partition is ever committed
    _commit_offsets           waits for all that the producer has: a topic that is gone holds all commits up
    track_message             remembers every message that was delivered, and waits for it in `wait_empty`
    wait_empty                a rebalance waits without end for a station that hangs
    subscribe                 a stream of the user's that begins later takes all partitions away, with work in flight
    on_partitions_assigned    a base that was never committed is found again when its partition comes back, hours later
    on_partitions_revoked     the ledger keeps partitions that are another worker's now

The producer's are in transport.py, the thread's in consumer_thread.py, the group's in assignor.py, what is done with a
closed flow in fetching.py. Which base a partition has is found in bases.py.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, cast

from aiokafka.errors import IllegalStateError
from aiokafka.structs import ConsumerRecord
from faust.exceptions import ConsumerNotStarted
from faust.transport.consumer import RecordMap
from faust.types import TP, ConsumerMessage, Message
from mode import Service

from app.kafka.bases import Bases
from app.kafka.client import Application
from app.kafka.commit_notes import CommitNotes
from app.kafka.consumer_thread import ConsumerThread
from app.kafka.delivery import Fetched, pieces_of, weight_of
from app.kafka.fetching import FetchingConsumer
from app.kafka.log_changes import LogChanges
from app.kafka.offset_ledger import OffsetLedger
from app.kafka.positions import Base, Cause, lost_before
from app.kafka.reading import in_message
from app.kafka.users_topics import UsersTopics
from app.messages.message import Delivery

LOOK_SECONDS = 5.0
START_COMMIT_SECONDS = 0.1
MAX_BYTES_IN_FLIGHT = 64 * 1024 * 1024  # of one topic: delivered and not acknowledged
THROTTLED_SLEEP = 0.01
_NOTHING = (0, 0)


class AggregatorConsumer(FetchingConsumer):
    """Commits only what is contiguously done."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ledger: OffsetLedger[TP] = OffsetLedger()
        # Of what is delivered and not acknowledged, by offset: bytes, and the message's time in milliseconds.
        self._in_flight: dict[TP, dict[int, tuple[int, int]]] = {}
        self._bytes: Counter[str] = Counter()  # topic -> the sum of that
        self._reading: dict[TP, object] = {}  # of a partition, since its last base: what was read before is no matter
        self._based: int | None = None  # the group's generation whose partitions have their bases
        self._based_on: object = None  # the assignment that they were found for
        # Of the station events: partitions where this start has committed nothing yet, and their bases.
        self._starting: dict[TP, int] = {}
        self._start_noted = asyncio.Event()
        self._changes = LogChanges(self._application)
        self._bases = Bases(self, self._thread, self._changes)
        self._users = UsersTopics(self.callback)
        self.notes = CommitNotes(self._commit_again, time.monotonic)

    @property
    def _application(self) -> Application:
        return cast(Application, self.app)

    @cached_property
    def _pipeline_topics(self) -> frozenset[str]:
        return frozenset(self._application.settings.pipeline_topics)

    def _comes_in_pieces(self, tp: TP) -> bool:
        return tp.topic in self._pipeline_topics

    def _new_consumer_thread(self) -> ConsumerThread:
        thread = ConsumerThread(self, loop=self.loop, beacon=self.beacon)
        thread.commit_metadata = self._commit_metadata
        thread.on_fenced = self._application.fenced
        thread.on_denied = self._application.denied
        return thread

    def heartbeat_age(self) -> float:
        """Seconds since the group's coordinator last answered that we are a member; infinite before it ever has."""
        return time.monotonic() - self._thread.last_heartbeat

    def has_bases(self, generation: int) -> bool:
        """Say whether every partition of this generation's assignment has its base."""
        return generation == self._based or not self.assignment()

    # -- reading -----------------------------------------------------------------------------------------------------

    async def perform_seek(self) -> None:
        """Seek every partition to its base: what is committed, or where reading begins when nothing is.

        Both gates, the consumer's flow and the application's flow control, are closed first. The recovery opens them
        again afterwards.
        """
        generation = self.app.consumer_generation_id
        self._seeks += 1
        self.stop_flow()
        self.app.flow_control.suspend()
        assigned = self._thread.assigned()
        committed = await super().seek_to_committed()
        # What has been assigned meanwhile was not asked for, so it does not look as if nothing were committed: its seek
        # is to come.
        ours = [tp for tp in self.assignment() if tp in committed and not self._is_changelog_tp(tp)]
        bases = await self._bases.find(ours, committed, self._committed_offset, self._next) if ours else {}
        for tp, base in bases.items():
            await self._seek(tp, base.offset)
            self._begin(tp, base.offset)
        self._in_flight.clear()
        self._bytes.clear()
        self._unacked_messages.clear()
        self._users.clear()
        self._acked.clear()
        self._acked_index.clear()
        await self._commit_moved()
        await self._note_start({tp: base.offset for tp, base in bases.items() if tp.topic == self._noted_topic})
        self._based, self._based_on = generation, assigned
        self._thread.last_heartbeat = max(self._thread.last_heartbeat, time.monotonic())

    async def _note_start(self, bases: Mapping[TP, int]) -> None:
        """Note that this start has found something to do in partitions of the station events."""
        ends = await self.highwaters(*bases) if bases else {}
        behind = {tp: end for tp, base in bases.items() if (end := ends.get(tp) or 0) > base}
        texts = (await self._thread.commit_texts([self._noted_topic]))[self._noted_topic] if behind else {}
        started = {tp.partition: (texts.get(tp.partition) or "", end) for tp, end in behind.items()}
        self._starting = {tp: bases[tp] for tp in behind}
        self._start_noted.set()
        for partition in await self.notes.begin(started):
            tp = TP(self._noted_topic, partition)
            self._changes.suspected(tp, bases[tp], behind[tp])

    @Service.task
    async def _commit_starts(self) -> None:
        """Commit the first progress of a start at once.

        A worker that is killed before its first commit looks like one that what it has found has ended.
        """
        while not self.should_stop:
            await self.wait(self._start_noted)  # type: ignore[arg-type]  # an asyncio.Event does, mode forgets it
            while self._starting and not self.should_stop:
                await self.sleep(START_COMMIT_SECONDS)
                await self._commit_first_progress()
            self._start_noted.clear()

    async def _commit_first_progress(self) -> None:
        moved = {tp for tp, base in self._starting.items() if (self.ledger.committable(tp) or base) > base}
        if moved:
            await self.commit(moved)
        committed = self._committed_offset
        self._starting = {tp: base for tp, base in self._starting.items() if (committed.get(tp) or base) <= base}

    async def _commit_again(self, partitions: Iterable[int]) -> None:
        """Commit the offsets of these partitions of the station events again, for the notes beside them."""
        offsets = {tp: self.ledger.committable(tp) for tp in [TP(self._noted_topic, number) for number in partitions]}
        await self._commit({tp: offset for tp, offset in offsets.items() if offset is not None})

    @property
    def _noted_topic(self) -> str:
        return self._application.settings.station_events_topic

    async def _commit_moved(self) -> None:
        """Commit bases that are not what was committed; they are found again by the next seek until that is done."""
        moved = dict(self._bases.moved)
        if moved and await self._commit({tp: base.offset for tp, base in moved.items()}):
            self._bases.stored(moved)

    def _commit_metadata(self, tp: TP) -> str:
        """Return what a commit says of a partition, beside its offset. Called in the consumer's thread."""
        if tp.topic == self._noted_topic:
            return self.notes.texts.get(tp.partition, "")
        return self._bases.text(tp)

    @Service.task
    async def _watch_topics(self) -> None:
        """Look regularly: a topic that is made again within a moment may have messages at our position by then."""
        while not self.should_stop:
            await self.sleep(LOOK_SECONDS)
            if self._based is None:
                continue
            if not self.assignment():  # who reads them starts over those that have been made again
                await self._bases.look_at_topics()
                self._bases.settle_topics()
            elif self._based == self.app.consumer_generation_id:
                await self._bases.look_at_topics()

    async def _seek(self, partition: TP, offset: int) -> None:
        """Seek in the thread of the aiokafka consumer."""
        seek: Any = self._thread.seek  # no coroutine: mode takes both, its types do not
        await self._thread.call_thread(seek, partition, offset)

    def _begin(self, tp: TP, base: int) -> None:
        """Count a partition from its base."""
        self._read_offset[tp] = base - 1
        self._committed_offset[tp] = base
        self._next[tp] = base
        self._reading[tp] = object()
        self.ledger.rebase(tp, base)

    async def _restart(self, tp: TP, base: Base) -> None:
        """Count a partition that is being read from a base of another log, and commit that.

        What is in flight is of the log before: it is carried on with, and its acknowledgements are no matter.
        """
        while self._commit_fut is not None:  # of an offset of the log before
            await self.maybe_wait_for_commit_to_finish()
        self._bytes[tp.topic] -= sum(weight for weight, _ in self._in_flight.pop(tp, {}).values())
        self._begin(tp, base.offset)
        self._bases.moved[tp] = base
        await self._commit_moved()

    async def _start_over(self) -> None:
        """Read the partitions of topics that have been made again from their beginning."""
        if self._based != self.app.consumer_generation_id:
            return  # the seek that is to come will
        self._bases.read_from_their_beginning()
        for topic in self._bases.topics_again.keys() & self.app.tables.changelog_topics:
            self._changes.changelog_made_again(topic)
        for tp in self.ledger.partitions():
            if tp.topic in self._bases.topics_again:
                position = self._next[tp]
                await self._restart(tp, Base(0, Cause.MADE_AGAIN))
                await self._seek(tp, 0)
                self._changes.made_again(tp, position, 0)
        self._bases.settle_topics()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109 - Faust's
        """Deliver what has been fetched of our partitions, one value for each topic; leave a changelog's to Faust.

        Faust makes two tasks for each message, one to deliver it and one that ends this when the flow is suspended, and
        its streams give the loop a turn before each value. Meanwhile whatever is delivered is worked off before the
        next partition's messages are there. With both gates open nothing here is waited for.
        """
        if self._bases.topics_again:  # here nothing is being fetched
            with suppress(IllegalStateError):  # no longer assigned: the seek that is to come will
                await self._start_over()
        together: dict[str, list[Message]] = {}
        async for tp, message in super().getmany(timeout):
            if not self._comes_in_pieces(tp) and not self._is_changelog_tp(tp):
                self._users.put(cast(ConsumerMessage, message))
            elif self._is_changelog_tp(tp) or self.suspend_flow.is_set() or not self.app.flow_control.is_active():
                await self._deliver(together)
                yield tp, message
            elif message.offset >= (self._read_offset[tp] or 0):
                self._read_offset[tp] = message.offset
                together.setdefault(tp.topic, []).append(message)
        await self._deliver(together)

    async def _deliver(self, together: dict[str, list[Message]]) -> None:
        """Deliver messages by topic, those of a topic as one that has the values of all."""
        for messages in together.values():
            first = messages[0]
            whole: Any = first
            if len(messages) > 1:
                whole = ConsumerMessage.from_message(first, first.tp)
                whole.generation_id = first.generation_id
                whole.value = [fetched for message in messages for fetched in cast(list[Fetched], message.value)]
            await self.callback(whole)
        together.clear()

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> RecordMap:  # noqa: ASYNC109 - Faust's
        """Fetch by partition: a changelog's records one by one, ours in pieces."""
        if active_partitions is not None:
            active_partitions = {
                tp
                for tp in active_partitions
                if self._bytes[tp.topic] < MAX_BYTES_IN_FLIGHT and not self._users.is_full(tp.topic)
            }
            if not active_partitions:
                await asyncio.sleep(THROTTLED_SLEEP)
                return {}
        seeks = self._seeks
        fetched = await super()._getmany(active_partitions, timeout)
        # What a new assignment begins with is what is committed, before what has been read; its seek is to come.
        if seeks == self._seeks and self._thread.assigned() is self._based_on:
            fetched = await self._follow_back(fetched)
        return {tp: pieces_of(records) if self._comes_in_pieces(tp) else records for tp, records in fetched.items()}

    def _went_back(self, tp: TP, records: Sequence[ConsumerRecord]) -> bool:
        """Say whether a partition goes on before its position: aiokafka starts over where that is behind the end."""
        return records[0].offset < self._next.get(tp, 0) and self._comes_in_pieces(tp)

    async def _follow_back(self, fetched: RecordMap) -> RecordMap:
        """Follow partitions to where their logs are read from now; returns the fetched records that are to be used."""
        back = [tp for tp, records in fetched.items() if self._went_back(tp, records)]
        if not back:
            return fetched
        seeks = self._seeks
        await self._bases.look_at_topics()
        if seeks != self._seeks:  # they are read from their bases next
            return {tp: records for tp, records in fetched.items() if tp not in back}
        again = self._bases.topics_again
        for tp in back:
            if tp.topic not in again:
                position, at = self._next[tp], fetched[tp][0].offset
                await self._restart(tp, Base(at, Cause.SHORTER))
                self._changes.shorter(tp, position, self.highwater(tp) or 0, at)
        # Those of topics that have been made again are read from their beginning next.
        return {tp: records for tp, records in fetched.items() if tp.topic not in again}

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        """Make the message that Faust delivers: of a single record, or of a piece of a partition of ours."""
        if not self._comes_in_pieces(tp):
            if not self._is_changelog_tp(tp):
                self._pass_to(tp, record.offset)
            return super()._to_message(tp, record)
        piece: Sequence[ConsumerRecord] = record
        in_flight = self._in_flight.setdefault(tp, {})
        expected = self._next.get(tp, piece[0].offset)
        for one in piece:
            offset = one.offset
            if offset > expected:
                self._on_hole(tp, expected, offset)
            expected = offset + 1
            weight = weight_of(one)
            in_flight[offset] = weight, one.timestamp
            self._bytes[tp.topic] += weight
        self._next[tp] = expected
        generation = self.app.consumer_generation_id
        acknowledge = partial(self.acknowledge, tp, generation, self._reading.get(tp))
        deliveries = [Delivery(in_message(one), partial(acknowledge, one.offset)) for one in piece]
        message: Any = super()._to_message(tp, piece[-1])
        message.value = [Fetched(deliveries, generation)]
        return cast(ConsumerMessage, message)

    def _pass_to(self, tp: TP, offset: int) -> None:
        """Note that a message of a topic of the user's is delivered; an agent of it may have sought another one."""
        expected = self._next.get(tp, offset)
        if offset > expected:
            self._on_hole(tp, expected, offset)
        self._next[tp] = offset + 1

    def _on_hole(self, tp: TP, start: int, stop: int) -> None:
        """Pass over a hole: what the broker has let go of, which is said, and what never was a message.

        Compaction and transactions make such holes in a topic of others. In a topic of ours they are an error: they
        stay uncommitted, and are read again by the partition's next owner.
        """
        lost = lost_before(start, stop, self._thread.log_starts.get(tp, 0))
        if lost > start:
            self._changes.gone(tp, start, lost)
            self.ledger.skip(tp, start, lost)
        if lost == stop:
            return
        if tp.topic in self._application.settings.event_topics:
            self._changes.not_delivered(tp, lost, stop)
        else:
            self._application.count_gap(stop - lost)
            self.ledger.skip(tp, lost, stop)

    def lag(self, tp: TP) -> int:
        """Return how many messages of a partition are not done: delivered, or still on the broker.

        Markers of transactions at its end are no messages, as soon as it has been read up to there.
        """
        done = self.ledger.committable(tp) or 0
        read = max(self._next.get(tp, done), self._thread.fetched_to(tp) or 0)
        return self._next.get(tp, done) - done + max(0, (self.highwater(tp) or 0) - read)

    def oldest_in_flight(self, tp: TP) -> float | None:
        """Return the time (Unix seconds) of the oldest message that is delivered and not acknowledged, if any."""
        oldest = next(iter(self._in_flight.get(tp, {}).values()), None)  # they come in the order of their offsets
        return None if oldest is None else oldest[1] / 1000

    def committed(self, tp: TP) -> int | None:
        """Return the offset up to which the group's progress in a partition is stored, as far as this worker knows."""
        return self._committed_offset.get(tp)

    def owned(self) -> list[TP]:
        """Return the partitions that are assigned to this worker, changelogs left out; none before it has started."""
        with suppress(ConsumerNotStarted):
            return sorted(tp for tp in self.assignment() if not self._is_changelog_tp(tp))
        return []

    def appended_after(self, tp: TP, offset: int) -> float | None:
        """Return a time (Unix seconds), the latest known, at which a message of batch events was not in the log yet."""
        return self._thread.appended_after(tp, offset)

    def is_behind(self, tp: TP) -> bool:
        """Say whether something in the partition is not done: delivered, or still on the broker."""
        done = self.ledger.committable(tp) or 0
        if tp.topic in self._application.settings.event_topics:
            return done < (self.highwater(tp) or 0)
        return done < self._next.get(tp, 0)  # its end may be a transaction's marker, which is never delivered

    def on_buffer_drop(self, tp: TP) -> None:
        """Resume a partition whose stream's buffer has room again, unless it is paused for a recovery."""
        if tp not in self._paused_partitions:
            super().on_buffer_drop(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Acknowledge nothing; see `_on_hole`."""

    # -- acknowledging -----------------------------------------------------------------------------------------------

    def track_message(self, message: Message) -> None:
        """Tell Faust's sensors, and track nothing; see `wait_empty`."""
        self._on_message_in(message.tp, message.offset, message)

    def acknowledge(self, tp: TP, generation: int, reading: object, offset: int) -> None:
        """Note that all that was made of a message is stored.

        `generation` and `reading` are what it was read in: it may have stood in another log at that offset.
        """
        if generation == self.app.consumer_generation_id and reading is self._reading.get(tp):
            self._bytes[tp.topic] -= self._in_flight.get(tp, {}).pop(offset, _NOTHING)[0]
            self.ledger.done(tp, offset)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in self.ledger.partitions() if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        if (acked := self._acked.get(tp)) is not None:  # by Faust's streams, of topics of the user's
            for offset in acked:
                self.ledger.done(tp, offset)
            acked.clear()
            self._acked_index[tp].clear()
        return self.ledger.committable(tp)

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:  # noqa: ARG002
        """Commit once what the user's code has sent is out; what is ours was stored before it was acknowledged."""
        producer: Any = self.app.producer
        await producer.confirmed()
        owned = self.assignment()
        offsets = {tp: offset for tp, offset in offsets.items() if tp in owned}
        if not offsets or not await self._commit(offsets):
            return False
        self.app.tables.on_commit(offsets)
        self._committed_offset.update(offsets)
        self.app.monitor.on_tp_commit(offsets)
        return True

    async def wait_empty(self) -> None:
        """Give up what is in flight, bounded in time, commit what is done, and wait for what the producer has.

        Called when partitions are revoked and when the worker stops. The next owner looks for what is out.
        """
        await self._application.give_up_work()
        await self.notes.end()
        while self._commit_fut is not None:  # its offsets may be older; one that is asked for meanwhile is not made
            await self.maybe_wait_for_commit_to_finish()
        await self.commit_and_end_transactions()
        await self.app.producer.flush()

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Give up what is in flight first, if anything is ours."""
        if self.owned():
            self.stop_flow()
            self.app.flow_control.suspend()
            self.app.flow_control.clear()
            await self.wait_empty()
        await super().subscribe(topics)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Keep nothing of partitions that are not ours any more."""
        self._bases.keep(assigned)
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget the partitions after their last commit."""
        await super().on_partitions_revoked(revoked)
        self._users.clear()
        self.ledger.forget(revoked)
