"""The topics that the producer knows, and those that are not there (any more).

aiokafka's client asks for the metadata of every topic that it has ever been told of. One that is not there stays on
that list for ever: it is asked for, and complained of, again and again. And a batch of messages for a partition that is
gone is kept and tried for ever, with a request for metadata as often as the broker answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager

from aiokafka import AIOKafkaProducer, TopicPartition, cluster
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError

from app.kafka.topics import topic_specs
from app.messages.message import PlaceGoneError, SendError, UnknownTopicError
from app.observability.log_lines import Line, tell
from app.settings import Settings
from app.words import counted_word, words

logger = logging.getLogger(__name__)

UNKNOWN_SECONDS = 5.0  # that a topic which was created just now, perhaps by asking for it, gets to come up
PAUSE = 0.1  # seconds between two requests for metadata; it doubles up to
LONGEST_PAUSE = 1.0  # while a topic is not there: each request logs an error


def pace_metadata(client: AIOKafkaClient) -> None:
    """Have a client ask for metadata ten times a second at most, and more seldom while a topic is not there."""
    update: Callable[..., Awaitable[bool]] = client._metadata_update
    loop = asyncio.get_running_loop()
    pause, answered = PAUSE, 0.0

    async def paced(cluster: ClusterMetadata, topics: Collection[str] | None) -> bool:
        nonlocal pause, answered
        await asyncio.sleep(answered + pause - loop.time())
        try:
            return await update(cluster, topics)
        finally:
            answered = loop.time()
            is_whole = all(cluster.partitions_for_topic(topic) for topic in topics or ())
            pause = PAUSE if is_whole else min(2 * pause, LONGEST_PAUSE)

    client._metadata_update = paced


class ProducerTopics:
    """Looks after the topics of one producer.

    Topics of the application's own are waited for, as long as the broker is (AGG_BROKER_PATIENCE): they belong there.
    Any other that is not there is an error after UNKNOWN_SECONDS.
    """

    def __init__(self, settings: Settings, producer: Callable[[], AIOKafkaProducer]) -> None:
        """Know nothing yet; `producer` gives the worker's producer."""
        self._producer = producer
        self._own = {spec.name for spec in topic_specs(settings)}
        self._patience = max(settings.broker_patience, UNKNOWN_SECONDS)
        self._language = settings.log_language

    async def choose_from(self, topic: str) -> list[int]:
        """Return the partitions of a topic, in order.

        Raises:
            UnknownTopicError: there is no such topic, and it is none of ours.
            SendError: it may not be written.
        """
        found: set[int] | None = self._client.cluster.partitions_for_topic(topic)
        return sorted(found or await self._wait_for(topic, None))

    def has(self, topic: str, partition: int) -> bool:
        """Say whether the producer knows a partition."""
        return self._client.cluster.leader_for_partition(TopicPartition(topic, partition)) is not None

    async def ensure(self, topic: str, partition: int) -> None:
        """Return when the producer knows a partition.

        Raises:
            PlaceGoneError: the topic is there without it.
            UnknownTopicError: there is no such topic, and it is none of ours.
            SendError: it may not be written.
        """
        if self.has(topic, partition):
            return
        # A place of another topic was chosen when that was there. Asking for it could create it.
        if topic not in self._own and not await self._exists(topic):
            text = f"there is no topic {topic} any more"
            raise UnknownTopicError(text, topic, 0)
        found = await self._wait_for(topic, partition)
        if partition not in found:
            text = f"there is no partition {partition} of {topic}: it has {counted_word(len(found), 'partition')} now"
            raise PlaceGoneError(text, topic, len(found))

    def problem(self, topic: str, partition: int | None) -> str | None:
        """Return what is wrong with a place; None if it is there as far as the producer knows."""
        found = self._client.cluster.partitions_for_topic(topic)
        if not found:
            return f"there is no topic {topic}" + ("; a start of the worker creates it" if topic in self._own else "")
        if partition is not None and partition not in found:
            return f"{topic} has {counted_word(len(found), 'partition')} now"
        return None

    async def withdraw(self, topic: str, partition: int, error: Exception) -> None:
        """Fail what the producer holds for a partition that is not there: it would try it for ever.

        If the partition was there once more, it would appear beside what was sent in its stead.
        """
        accumulator = self._producer()._message_accumulator
        tp = TopicPartition(topic, partition)
        give_up_at = asyncio.get_running_loop().time() + UNKNOWN_SECONDS
        # A request that is under way hands back what it has not got rid of.
        while any(batch.tp == tp for batch in accumulator._pending_batches):
            if asyncio.get_running_loop().time() > give_up_at:
                return
            await asyncio.sleep(PAUSE)
        while batches := accumulator._batches.get(tp):
            # One that has been under way is counted as such again first; one that has not has no number yet.
            batch = accumulator._pop_batch(tp) if batches[0].retry_count else batches.popleft()
            batch.drain_ready()
            batch.failure(error)
            batch.future.exception()  # it has been heard of, even where nobody waits for it any more
        accumulator._batches.pop(tp, None)

    async def _exists(self, topic: str) -> bool:
        while True:
            try:
                return bool((await self._client.fetch_all_metadata()).partitions_for_topic(topic))
            except KafkaError:  # the broker is away; how long it is waited for is the caller's business
                await asyncio.sleep(LONGEST_PAUSE)

    @property
    def _client(self) -> AIOKafkaClient:
        return self._producer().client

    async def _wait_for(self, topic: str, partition: int | None) -> set[int]:
        """Ask until the topic is there, and say so while it is not; returns its partitions, as they are now."""
        loop, client = asyncio.get_running_loop(), self._client
        own = topic in self._own
        place = topic if partition is None else f"{topic}[{partition}]"
        absent_since: float | None = None
        found: set[int] | None = None
        try:
            while not found:
                client.add_topic(topic)
                with _quiet_about(topic):
                    answered = await client.force_metadata_update()
                found = client.cluster.partitions_for_topic(topic)
                if not found and answered:
                    if absent_since is None:
                        absent_since = loop.time()
                        if own:
                            self._say(logging.WARNING, Line.TOPIC_AWAY, place, patience=self._patience)
                    self._give_up_on(topic, loop.time() - absent_since)
                if not found:
                    await asyncio.sleep(PAUSE)
        finally:
            if not found and not own:
                client._topics.discard(topic)
        if own and absent_since is not None:
            self._say(logging.INFO, Line.TOPIC_BACK, place, away=loop.time() - absent_since)
        return found

    def _give_up_on(self, topic: str, absent: float) -> None:
        """Raise where a topic that has been asked for and not been there for so many seconds is not waited for."""
        if topic in self._client.cluster.unauthorized_topics:
            text = (
                f"the broker does not let this worker write to {topic}: its principal needs the operation Write there"
            )
            raise SendError(text)
        if topic not in self._own and absent > UNKNOWN_SECONDS:
            text = words(
                "there is no topic {topic}, and the broker does not create it: create it, or name another",
                "没有主题 {topic}，Kafka 也不自动创建：请创建它，或改用其他主题",
                topic=topic,
            )
            raise UnknownTopicError(text, topic, 0)
        if absent > self._patience:
            text = f"{self.problem(topic, None)} (waited {absent:.0f} s, AGG_BROKER_PATIENCE)"
            raise SendError(text)

    def _say(self, level: int, line: Line, place: str, **fields: object) -> None:
        tell(logger, level, self._language, line, place=place, **fields)


@contextmanager
def _quiet_about(topic: str) -> Iterator[None]:
    """Leave out that aiokafka's client complains of a topic that is not there: who asks for it says so, once."""

    def is_other(record: logging.LogRecord) -> bool:
        return not (isinstance(record.args, tuple) and topic in record.args)

    complaints = logging.getLogger(cluster.__name__)
    complaints.addFilter(is_other)
    try:
        yield
    finally:
        complaints.removeFilter(is_other)
