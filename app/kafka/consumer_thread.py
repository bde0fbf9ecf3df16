"""The thread of Faust's aiokafka consumer: what it notes of the broker's answers, and what it commits.

Everything here runs in the thread's own loop; what it notes is read by the worker's.

Overrides of Faust's, and what is without them:

    on_start                  a lost connection can end the heartbeat for ever, and nobody knows when it was answered; a
                              topic that was deleted is made by asking for it, and commits for it hold all others up;
                              a partition that is left out of a fetch, and whatever else is asked, waits for 500 ms;
                              a message whose header has a name that is not UTF-8 ends the worker at every start;
                              a stop while the broker is away leaves the thread with a traceback, and takes 4.5 s
    verify_event_path         the worker ends while aiokafka looks where a log begins that was truncated
    _fetch_records            a permission that was taken away ends the worker with a traceback, or (on_start: the
                              group's) makes it wait without end
    earliest_offsets, …       a leader that is away for 30 s while a worker recovers ends it
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar, cast

from aiokafka import OffsetAndMetadata, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError, UnknownTopicOrPartitionError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from app.kafka.assignor import AggregatorAssignor
from app.kafka.client import Application, never_create_topics, survive_lost_connections
from app.kafka.header_names import read_any_name
from app.kafka.permissions import AUTHORIZATION_ERRORS
from app.kafka.static_member import NamedHeartbeat, is_fenced, is_unknown
from app.kafka.topic_ids import topic_ids

# aiokafka has one fetch under way at a broker, and the broker answers it as soon as it has something. A partition that
# is left out, because not all that came from it has been taken, waits as long as that fetch may. So it is short then;
# with all partitions in it, it may be long: fifty fetches a second were two thirds of an idle worker's CPU.
FETCH_WAIT_MS: Final = 200
PARTIAL_FETCH_WAIT_MS: Final = 20
_FETCHES: Final = 2  # a group of connections as aiokafka's `ConnectionGroup`: what is asked must not wait for a fetch
_FETCH: Final = 1  # the key of fetch requests and responses
_WITH_LOG_STARTS: Final = 5  # since this version a response tells where logs start
_LOG_START: Final = 4  # place of that among the fields of a partition
_END: Final = 2  # of where the log ends
_LOOKS: Final = 16  # at where a log ends, that are remembered
_LOOK_SECONDS: Final = 1.0  # from one to the next

Looks = tuple[tuple[float, int], ...]  # where a log ended (offset) at a time or later (Unix seconds), oldest first

Send = Callable[..., Awaitable[Any]]
Answer = TypeVar("Answer")


def note_log_starts(response: Any, starts: dict[TP, int]) -> None:
    """Take from a broker's response, if it is one to a fetch, where the logs of its partitions start."""
    if response.API_KEY != _FETCH or response.API_VERSION < _WITH_LOG_STARTS:
        return
    for topic, partitions in response.topics:
        for partition in partitions:
            starts[TP(topic, partition[0])] = partition[_LOG_START]


def note_ends(response: Any, topic: str, asked: float, ends: dict[TP, Looks]) -> None:
    """Take from a broker's response, if it is one to a fetch, where the logs of a topic's partitions end.

    `asked` is when the request was sent, Unix seconds: what stands behind that end came later.
    """
    if response.API_KEY != _FETCH:
        return
    for name, partitions in response.topics:
        if name == topic:
            for partition in partitions:
                looks = ends.get(tp := TP(topic, partition[0]), ())
                # A clock that was put back makes what was noted worthless.
                if partition[1] == 0 and not (looks and 0.0 <= asked - looks[-1][0] < _LOOK_SECONDS):
                    before = looks[1 - _LOOKS :] if looks and looks[-1][0] < asked else ()
                    ends[tp] = (*before, (asked, partition[_END]))


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's thread, with fetches that hold nothing up and an eye on heartbeats and logs.

    Attributes:
        last_heartbeat: `time.monotonic()` of the last one that the coordinator has answered well.
        log_starts: where the logs of partitions started when they were last fetched; -1 where that was not told.
        ends: where the logs of batch events ended lately.
        commit_metadata: gives the text that goes with the commits of a partition.
        on_fenced: called when another worker has taken this one's name (AGG_INSTANCE_ID); must end the process.
        on_denied: called when the broker does not allow what a worker does (ACLs); must end the process.
    """

    last_heartbeat = -math.inf

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.log_starts: dict[TP, int] = {}
        self.ends: dict[TP, Looks] = {}
        self.commit_metadata: Callable[[TP], str] = lambda _: ""
        self.on_fenced: Callable[[], None] = lambda: None
        self.on_denied: Callable[[KafkaError], None] = lambda _: None

    async def on_start(self) -> None:
        """Start the consumer, and listen to what the broker answers it."""
        read_any_name()
        await super().on_start()
        consumer = self._ensure_consumer()
        survive_lost_connections(consumer._client)
        never_create_topics(consumer._client)
        consumer._client.send = self._noting(consumer._client.send)
        coordinator = consumer._coordinator
        cast(AggregatorAssignor, self.app.assignor).rejoin = coordinator.request_rejoin
        coordinator._do_heartbeat = self._beating(coordinator._do_heartbeat)
        coordinator._do_commit_offsets = self._committing(coordinator._do_commit_offsets)
        coordinator._push_error_to_user = self._denying(coordinator._push_error_to_user)
        consumer._fetcher.close = _closing(consumer._fetcher.close)

    async def on_thread_stop(self) -> None:
        """Leave the group, also under a name: the others go on at once, and who comes back joins anew."""
        if self._consumer is not None and self._consumer._coordinator is not None:
            self._consumer._coordinator._group_instance_id = None
        await super().on_thread_stop()

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit what this worker still owns; returns False where that is nothing.

        A rebalance may have taken everything away since the caller looked, while the producer's messages were waited
        for. aiokafka refuses a commit of nothing, and Faust ended the worker for it. The next owner does it again.
        """
        if self.assignment().isdisjoint(offsets):
            return False
        return await super()._commit(offsets)

    def _noting(self, send: Send) -> Send:
        name: str | None = self.app.conf.consumer_group_instance_id
        events = cast(Application, self.app).settings.batch_events_topic

        async def send_and_note(node: Any, request: Any, **options: Any) -> Any:
            if isinstance(request, FetchRequest):
                request._max_wait_ms = PARTIAL_FETCH_WAIT_MS if self._has_untaken() else FETCH_WAIT_MS
                options["group"] = _FETCHES
            elif name is not None and isinstance(request, HeartbeatRequest):
                request = NamedHeartbeat(request, name)
            asked = time.time()
            response = await send(node, request, **options)
            if response is not None:
                note_log_starts(response, self.log_starts)
                note_ends(response, events, asked, self.ends)
                if name is not None and (is_fenced(response) or (is_unknown(response) and await fenced(node, options))):
                    self.on_fenced()
            return response

        async def fenced(node: Any, options: Any) -> bool:
            """Ask, before aiokafka joins anew under the name, whether that is because another worker has it now."""
            coordinator = self._ensure_consumer()._coordinator
            heartbeat = HeartbeatRequest(coordinator.group_id, coordinator.generation, coordinator.member_id)
            return is_fenced(await send(node, NamedHeartbeat(heartbeat, str(name)), **options))

        return send_and_note

    def assigned(self) -> object:
        """Return what stands for the assignment as aiokafka has it: another object after each rebalance."""
        subscription = self._ensure_consumer()._subscription.subscription
        return None if subscription is None else subscription.assignment

    def _has_untaken(self) -> bool:
        """Say whether something has been fetched that has not been taken: its partitions are left out of a fetch."""
        return bool(self._ensure_consumer()._fetcher._records)

    def _beating(self, beat: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
        async def do_heartbeat() -> bool:
            started = time.monotonic()
            alive = await beat()
            if alive:
                self.last_heartbeat = started
            return alive

        return do_heartbeat

    def _committing(self, commit: Send) -> Send:
        """Add the metadata; what is committed of a topic that was deleted meanwhile is no matter.

        aiokafka would try that again until the topic is there, and all other partitions, and rebalances, would wait.
        """

        async def do_commit_offsets(assignment: Any, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
            text_of = self.commit_metadata
            told = {tp: OffsetAndMetadata(one.offset, text_of(TP(*tp))) for tp, one in offsets.items()}
            try:
                await commit(assignment, told)
            except UnknownTopicOrPartitionError:
                return
            except AUTHORIZATION_ERRORS as error:
                self.on_denied(error)
                raise

        return do_commit_offsets

    def _denying(self, push: Send) -> Send:
        """Take up what the group's coordinator refuses: aiokafka keeps it for a call that Faust never makes."""

        def push_error_to_user(error: BaseException) -> Awaitable[Any]:
            if isinstance(error, AUTHORIZATION_ERRORS):
                self.on_denied(error)
            return push(error)

        return push_error_to_user

    async def _fetch_records(self, *args: Any, **options: Any) -> Any:
        try:
            return await super()._fetch_records(*args, **options)
        except AUTHORIZATION_ERRORS as error:
            self.on_denied(error)
            raise

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Say of a partition, as Faust does, that it has not moved for minutes.

        It has no position while aiokafka finds out where a log begins that ours lies outside of: that ended the worker.
        """
        with suppress(AssertionError):
            super().verify_event_path(now, tp)

    # -- what the worker's loop asks ---------------------------------------------------------------------------------

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Return the first offsets of partitions."""
        return await _told(partial(super().earliest_offsets, *partitions))

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Return the offsets behind the last ones of partitions."""
        return await _told(partial(super().highwaters, *partitions))

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Seek partitions, and wait until they have their positions."""
        await _told(partial(super().seek_wait, partitions))

    def highwater(self, tp: TP) -> int:
        """Return where the log of a partition ends, as its last fetch has told; 0 where that is not known.

        This thread may have given the partition back since the worker's loop looked which ones it has: aiokafka fails
        an assertion then, which ended the worker for a figure of its dashboard.
        """
        with suppress(AssertionError):
            return super().highwater(tp) or 0
        return 0

    def fetched_to(self, tp: TP) -> int | None:
        """Return the offset up to which the partition has been handed out; markers at its end count as handed out."""
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = subscription and subscription.assignment
        state = assignment and assignment.state_value(TopicPartition(*tp))
        return state._position if state else None

    def appended_after(self, tp: TP, offset: int) -> float | None:
        """Return when it was last seen that an offset of batch events did not stand in the log yet.

        Unix seconds, exact to a second or so for what came in the last few seconds; None for what came before.
        """
        return next((asked for asked, end in reversed(self.ends.get(tp, ())) if end <= offset), None)

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, bytes]:
        """Ask a broker for the ids of topics; those that are not there are left out.

        Raises:
            KafkaError: it does not answer.
        """
        ids: Mapping[str, bytes] = await self.call_thread(self._topic_ids, topics)
        return ids

    async def _topic_ids(self, topics: Collection[str]) -> Mapping[str, bytes]:
        client = self._ensure_consumer()._client
        ids = await topic_ids(client, topics)
        if not ids.keys() <= client.cluster.topics(exclude_internal_topics=False):
            client.force_metadata_update()  # it has been made since: the group is to read it now
        return ids

    async def commit_texts(self, topics: Collection[str]) -> dict[str, dict[int, str | None]]:
        """Return the metadata of the group's commits, by topic and partition; None for a partition without a commit.

        Raises:
            KafkaError: the coordinator refuses.
        """
        texts: dict[str, dict[int, str | None]] = await self.call_thread(self._commit_texts, topics)
        return texts

    async def _commit_texts(self, topics: Collection[str]) -> dict[str, dict[int, str | None]]:
        consumer = self._ensure_consumer()
        partitions = {topic: sorted(consumer.partitions_for_topic(topic) or ()) for topic in topics}
        asked = [TopicPartition(topic, number) for topic, numbers in partitions.items() for number in numbers]
        committed = await consumer._coordinator.fetch_committed_offsets(asked)
        texts = {tp: one.metadata for tp, one in committed.items()}
        return {
            topic: {number: texts.get(TopicPartition(topic, number)) for number in numbers}
            for topic, numbers in partitions.items()
        }


def _closing(close: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """Close aiokafka's fetcher also where the broker is away.

    It takes the end of its own fetch, cancelled between two tries, for the cancellation of its caller: connections
    stayed open, and the worker waited for a thread that was gone.
    """

    async def close_all() -> None:
        with suppress(asyncio.CancelledError):
            await close()

    return close_all


async def _told(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask until there is an answer: how long a broker may be away is the watchdog's business.

    aiokafka and Faust give up after 30 s, with an error that ends the worker.
    """
    while True:
        with suppress(KafkaTimeoutError, TimeoutError):
            return await ask()
