"""The Kafka consumer under Faust, made so that nothing is lost.

Faust's own consumer can commit what was never processed: it takes a hole in what it reads for acknowledged, and a
restart with a backlog makes such holes. This subclass of its driver is installed by `AggregatorApp._new_transport`.
It gives every partition a base before it is read, and commits only the contiguous run from there. How this was found:
docs/faust.md.

Faust carries a message at a time to the stream of its agent, which costs more than most messages are worth. Here what
has been fetched of a partition travels as one message, in pieces of bounded size, and is acknowledged by offset.

Every override replaces a method of Faust. Without it:

    reading
    perform_seek              the flow is open during the seek: what is delivered then is cleared from the queues, lost
    _seek                     the worker's thread seeks under a fetch of the consumer's: a KeyError ends the worker
    _wait_next_records        when all partitions are paused it sleeps for a second, and begins to read late
    getmany                   makes two tasks for each message: work that belongs together, as a batch's, comes apart
    _getmany, _to_message     each message goes to its stream by itself; bytes in flight have no bound
    on_buffer_drop            a buffer that has room resumes a partition that is paused for a recovery
    _add_gap                  a hole counts as acknowledged, and is committed

    acknowledging
    _new_offset               commits what was never processed, and is off by one with a single message in flight
    _filter_tps_with_…        knows Faust's acknowledgements only: no partition is ever committed
    track_message             remembers every message that was delivered, and waits for it in `wait_empty`
    wait_empty                a rebalance waits without end for a station that hangs
    on_partitions_revoked     the ledger keeps partitions that are another worker's now

    the thread, the group, and the producer
    _create_worker_consumer   a partition that is left out of a fetch waits for 500 ms
    on_start                  a lost connection can end the heartbeat for ever, and nobody knows when it was answered
    _url, _get_external_…     the group is told of Faust's web server, and of one of two workers with the same URL
    _settings_extra           a batch that is sent again after a broker's fault is appended twice
    create_topic              Faust creates topics with its own partition counts
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, IllegalStateError
from aiokafka.structs import ConsumerRecord, TopicPartition
from faust.assignor.partition_assignor import ClientAssignmentMapping, PartitionAssignor
from faust.transport.consumer import RecordMap
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT, ConsumerMessage, Message
from faust.types.assignor import HostToPartitionMap
from yarl import URL

from app.kafka.client import Application, survive_lost_connections
from app.kafka.commit_notes import CommitNotes
from app.kafka.delivery import Fetched
from app.kafka.offset_ledger import OffsetLedger
from app.kafka.reading import in_message
from app.messages.message import Delivery
from app.observability.log_lines import Line, say, tell
from app.settings.enums import Start

logger = logging.getLogger(__name__)

FETCH_WAIT_MS = 20  # aiokafka has one fetch under way at a broker: a partition left out of it waits as long as it waits
MAX_BYTES_IN_FLIGHT = 64 * 1024 * 1024  # of one topic: delivered and not acknowledged
PIECE_MESSAGES = 100
PIECE_BYTES = 1024 * 1024
LEAST_BYTES = 4 * 1024  # that a message counts for: small ones take room too
THROTTLED_SLEEP = 0.01
PAUSED_SLEEP = 0.02


def pieces_of(records: Sequence[ConsumerRecord]) -> list[Sequence[ConsumerRecord]]:
    """Cut what was fetched of a partition, between messages."""
    pieces: list[Sequence[ConsumerRecord]] = []
    start = size = 0
    for index, record in enumerate(records):
        if index - start >= PIECE_MESSAGES or size >= PIECE_BYTES:
            pieces.append(records[start:index])
            start, size = index, 0
        size += len(record.value or b"")
    if records:
        pieces.append(records[start:])
    return pieces


def weight_of(record: ConsumerRecord) -> int:
    """Bytes that a message counts for while it is in flight."""
    return max(LEAST_BYTES, len(record.value or b""))


class FetchedSchema(faust.Schema[Any, Any]):
    """A stream's values are lists of `Fetched`, as the consumer delivers them: they need no decoding."""

    def loads_key(self, app: AppT, message: Message, **_: Any) -> bytes | None:  # noqa: ARG002
        """The key as it is; nothing looks at it."""
        return message.key

    def loads_value(self, app: AppT, message: Message, **_: Any) -> list[Fetched]:  # noqa: ARG002
        """Pieces of partitions."""
        return cast(list[Fetched], message.value)


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's thread of the aiokafka consumer, with a short fetch wait and an eye on the heartbeat."""

    last_heartbeat = -math.inf  # time.monotonic() of the last one that the coordinator has answered well

    def __init__(self, consumer: Any, note_of: Callable[[TP], str], **options: Any) -> None:
        super().__init__(consumer, **options)
        self._note_of = note_of

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        self._commit_plainly = commit = consumer.commit

        async def commit_noted(offsets: Mapping[Any, Any]) -> None:
            await commit({tp: (one.offset, self._note_of(TP(*tp))) for tp, one in offsets.items()})

        consumer.commit = commit_noted
        return consumer

    async def read_notes(self, partitions: Sequence[TP]) -> dict[TP, str]:
        """Read what stands beside the committed offsets of partitions."""
        coordinator = self._ensure_consumer()._coordinator
        found = await self.call_thread(coordinator.fetch_committed_offsets, [TopicPartition(*tp) for tp in partitions])
        return {TP(*tp): meta.metadata for tp, meta in found.items()}

    async def commit_with_notes(self, offsets: Mapping[TP, tuple[int, str]]) -> None:
        """Commit offsets with a text beside each, as far as the partitions are still ours.

        Where they are not any more, what the notes are of is about to be given up, and nobody misses them.
        """

        async def commit() -> None:
            with suppress(CommitFailedError, IllegalStateError):
                await self._commit_plainly({TopicPartition(*tp): noted for tp, noted in offsets.items()})

        await self.call_thread(commit)

    async def on_start(self) -> None:
        """Start the consumer and listen to its heartbeat."""
        await super().on_start()
        survive_lost_connections(self._ensure_consumer()._client)
        coordinator = self._ensure_consumer()._coordinator
        beat: Callable[[], Awaitable[bool]] = coordinator._do_heartbeat

        async def do_heartbeat() -> bool:
            started = time.monotonic()
            alive = await beat()
            if alive:
                self.last_heartbeat = started
            return alive

        coordinator._do_heartbeat = do_heartbeat


class AggregatorConsumer(driver.Consumer):
    """Commits only what is contiguously done."""

    _thread: _ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ledger: OffsetLedger[TP] = OffsetLedger()
        self._in_flight: dict[TP, dict[int, int]] = {}  # offset -> bytes of what is delivered and not acknowledged
        self._bytes: Counter[str] = Counter()  # topic -> the sum of that
        self._next: dict[TP, int] = {}  # the offset that a partition's next message should have
        self._based: int | None = None  # the group's generation whose partitions have their bases
        self.notes = CommitNotes(self._commit_notes, time.monotonic)

    @property
    def _application(self) -> Application:
        return cast(Application, self.app)

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, self._notes_of, loop=self.loop, beacon=self.beacon)

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
        self.stop_flow()
        self.app.flow_control.suspend()
        committed = await super().seek_to_committed()
        ours = {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}
        earliest = await self.earliest_offsets(*ours) if ours else {}
        fresh: dict[TP, int] = {}
        for tp in ours:
            offset = committed.get(tp)
            first = earliest.get(tp) or 0
            if offset is None or offset < 0:
                base = fresh[tp] = await self._first_base(tp, first)
            else:
                base = max(offset, first)
                if base != offset:
                    self._tell(logging.WARNING, Line.OFFSETS_GONE, tp, offset, base)
            await self._seek(tp, base)
            self._read_offset[tp] = base - 1
            self._committed_offset[tp] = base
            self._next[tp] = base
            self.ledger.rebase(tp, base)
        self._in_flight.clear()
        self._bytes.clear()
        self._unacked_messages.clear()
        await self._note_start({tp: self._next[tp] for tp in ours if tp.topic == self._noted_topic})
        # A worker that dies before its first commit must not begin somewhere else the next time.
        if fresh and self._application.settings.start is Start.LATEST:
            await self._commit(fresh)
        self._based = generation
        self._thread.last_heartbeat = max(self._thread.last_heartbeat, time.monotonic())

    async def _note_start(self, bases: Mapping[TP, int]) -> None:
        """Note that this start has found something to do in partitions of the station events."""
        ends = await self.highwaters(*bases) if bases else {}
        behind = [tp for tp, base in bases.items() if base < (ends.get(tp) or 0)]
        texts = await self._thread.read_notes(behind) if behind else {}
        suspected = await self.notes.begin({tp.partition: (texts.get(tp, ""), ends[tp] or 0) for tp in behind})
        for tp in behind:
            if tp.partition in suspected:
                self._tell(logging.WARNING, Line.SUSPECTED, tp, bases[tp], ends[tp] or 0)

    async def _commit_notes(self, texts: Mapping[int, str]) -> None:
        """Commit the offsets of these partitions of the station events again, with a note beside each."""
        partitions = {TP(self._noted_topic, partition): text for partition, text in texts.items()}
        offsets = {tp: self.ledger.committable(tp) for tp in partitions}
        await self._thread.commit_with_notes(
            {tp: (offset, partitions[tp]) for tp, offset in offsets.items() if offset is not None}
        )

    def _notes_of(self, tp: TP) -> str:
        return self.notes.texts.get(tp.partition, "") if tp.topic == self._noted_topic else ""

    @property
    def _noted_topic(self) -> str:
        return self._application.settings.station_events_topic

    async def _seek(self, partition: TP, offset: int) -> None:
        """Seek in the thread of the aiokafka consumer."""
        seek: Any = self._thread.seek  # no coroutine: mode takes both, its types do not
        await self._thread.call_thread(seek, partition, offset)

    async def _first_base(self, tp: TP, earliest: int) -> int:
        if self._application.settings.start is Start.LATEST and tp.topic in self._application.settings.foreign_topics:
            latest = await self.highwaters(tp)
            return latest.get(tp) or 0
        return earliest

    async def _wait_next_records(self, timeout: float) -> tuple[RecordMap, set[TP]]:  # noqa: ASYNC109 - Faust's
        """Wait for records, for a moment only when every partition is paused."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]  # an asyncio.Event does, mode forgets it
        active_partitions = self._get_active_partitions()
        if not active_partitions:
            await self.sleep(PAUSED_SLEEP)
            return {}, active_partitions
        return await self._getmany(active_partitions, timeout), active_partitions

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109 - Faust's
        """Deliver what has been fetched of our partitions, one value for each topic; leave a changelog's to Faust.

        Faust makes two tasks for each message, one to deliver it and one that ends this when the flow is suspended, and
        its streams give the loop a turn before each value. Meanwhile whatever is delivered is worked off before the
        next partition's messages are there. With both gates open nothing here is waited for.
        """
        together: dict[str, list[Message]] = {}
        async for tp, message in super().getmany(timeout):
            if self._is_changelog_tp(tp) or self.suspend_flow.is_set() or not self.app.flow_control.is_active():
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
            active_partitions = {tp for tp in active_partitions if self._bytes[tp.topic] < MAX_BYTES_IN_FLIGHT}
            if not active_partitions:
                await asyncio.sleep(THROTTLED_SLEEP)
                return {}
        fetched = await super()._getmany(active_partitions, timeout)
        return {tp: records if self._is_changelog_tp(tp) else pieces_of(records) for tp, records in fetched.items()}

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        """Make the message that Faust delivers: of a changelog's record, or of a piece of a partition of ours."""
        if self._is_changelog_tp(tp):
            return super()._to_message(tp, record)
        piece: Sequence[ConsumerRecord] = record
        in_flight = self._in_flight.setdefault(tp, {})
        expected = self._next.get(tp, piece[0].offset)
        for one in piece:
            offset = one.offset
            if offset > expected:
                self._on_hole(tp, expected, offset)
            expected = offset + 1
            weight = in_flight[offset] = weight_of(one)
            self._bytes[tp.topic] += weight
        self._next[tp] = expected
        generation = self.app.consumer_generation_id
        acknowledge = partial(self.acknowledge, tp, generation)
        deliveries = [Delivery(in_message(one), partial(acknowledge, one.offset)) for one in piece]
        message: Any = super()._to_message(tp, piece[-1])
        message.value = [Fetched(deliveries, generation)]
        return cast(ConsumerMessage, message)

    def _on_hole(self, tp: TP, start: int, stop: int) -> None:
        """Pass over a hole of a plant's topic, where compaction and transactions make them.

        On a topic of ours it is an error: it stays uncommitted, and is read again by the partition's next owner.
        """
        if tp.topic in self._application.settings.foreign_topics:
            self._application.count_gap(stop - start)
            self.ledger.skip(tp, start, stop)
        else:
            self._tell(logging.ERROR, Line.NOT_DELIVERED, tp, start, stop)

    def _tell(self, level: int, line: Line, tp: TP, start: int, stop: int) -> None:
        """Say something of the offsets from `start` up to `stop`, exclusive."""
        place = f"{tp.topic}[{tp.partition}]"
        text = say(self._application.settings.log_language, line, place=place, first=start, last=stop - 1)
        logger.log(level, "%s", text, extra={"event": str(line), **tp._asdict(), "offset": start})

    def is_behind(self, tp: TP) -> bool:
        """Say whether something in the partition is not done: delivered, or still on the broker."""
        done = self.ledger.committable(tp) or 0
        if tp.topic in self._application.settings.foreign_topics:
            return done < self._next.get(tp, 0)  # its end may be a transaction's marker, which is never delivered
        return done < (self.highwater(tp) or 0)

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

    def acknowledge(self, tp: TP, generation: int, offset: int) -> None:
        """Note that all that was made of a message is stored. `generation` is the one that it was read in."""
        if generation == self.app.consumer_generation_id:
            self._bytes[tp.topic] -= self._in_flight.get(tp, {}).pop(offset, 0)
            self.ledger.done(tp, offset)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in self.ledger.partitions() if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self.ledger.committable(tp)

    async def wait_empty(self) -> None:
        """Give up what is in flight, bounded in time, and commit what is done.

        Called when partitions are revoked and when the worker stops.
        """
        await self._application.give_up_work()
        await self.notes.end()
        await self.commit_and_end_transactions()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget the partitions after their last commit."""
        await super().on_partitions_revoked(revoked)
        self.ledger.forget(revoked)


class AggregatorAssignor(PartitionAssignor):
    """Tells each worker of the group where the others' web servers are.

    A member tells its URL when it joins. With its assignment the leader gives every member the whole distribution: URL
    to topics to partitions. So that is as new as the assignment.
    """

    @property
    def _url(self) -> URL:
        return URL(cast(Application, self.app).url)

    def members(self, topic: str) -> dict[str, frozenset[int]]:
        """The partitions of one topic by the URL of the worker that owns them, ours among them.

        Workers without a partition are in it; empty before the first assignment.
        """
        distribution = cast(Mapping[str, Mapping[str, list[int]]], self.external_topic_distribution)
        return {url.rstrip("/"): frozenset(topics.get(topic, ())) for url, topics in distribution.items()}

    def _get_external_topic_distribution(self, assignments: ClientAssignmentMapping) -> HostToPartitionMap:
        """Give a URL that two workers have the partitions of both: Faust keeps one of them."""
        distribution: HostToPartitionMap = {}
        language = cast(Application, self.app).settings.log_language
        tables = self._table_manager.changelog_topics
        for member, assignment in assignments.items():
            url = self._member_urls[member]
            if url in distribution:
                tell(logger, logging.WARNING, language, Line.SAME_URL, url=url)
            topics = distribution.setdefault(url, {})
            for topic, partitions in assignment.actives.items():
                if topic not in tables:
                    topics.setdefault(topic, []).extend(partitions)
        return distribution


class AggregatorProducer(driver.Producer):
    """Faust's producer, idempotent: a batch that is sent again after a broker's fault is not appended twice."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"enable_idempotence": True}

    async def create_topic(self, topic: str, *_: Any, **__: Any) -> None:
        """Leave out what Faust would create: `ensure_topics` has created and verified all topics before."""


class AggregatorTransport(driver.Transport):
    """Faust's aiokafka transport with our consumer and producer."""

    Consumer = AggregatorConsumer
    Producer = AggregatorProducer
