"""The worker's looks into topics for its web: without a group, a few at once, each within a second and a half."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from app.kafka.arrivals import arrivals_of
from app.kafka.client import reading
from app.kafka.looks import TooMuchError, count_messages, find_outputs_of, know, time_of
from app.kafka.reading import read_sources
from app.messages.message import InMessage
from app.settings import Settings
from app.web.topics import Arrivals, NotReadable, Published
from tables.model.events import Source

T = TypeVar("T")

WITHIN: Final = 1.4  # seconds of a look, waiting for its turn among them
AT_ONCE: Final = 2
_FETCH_BYTES: Final = 1024 * 1024  # of a partition at once; a larger message comes alone
_SOURCES: Final = 20  # whose times are looked up
_CLOCKS: Final = 60.0  # seconds by which the clock that dates what is appended may be off


class WorkerTopics:
    """Looks into topics; a client is made for each and closed after it, so that the pipeline's are left alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._places = asyncio.Semaphore(AT_ONCE)
        self._looking: set[asyncio.Task[object]] = set()

    async def count(self, topics: Sequence[str], since: float, until: float) -> Mapping[str, int]:
        """Count the messages that were written to topics of ours in a range (Unix seconds)."""
        partitions = dict.fromkeys(topics, self._settings.partitions)

        async def count(consumer: AIOKafkaConsumer) -> Mapping[str, int]:
            return await count_messages(consumer, partitions, since, until)

        return await self._look(" and ".join(topics), count)

    async def arrivals(self, topics: Sequence[str]) -> Mapping[str, Arrivals]:
        """Find when messages come to topics; one that is not there is left out."""

        async def find(consumer: AIOKafkaConsumer) -> Mapping[str, Arrivals]:
            found: dict[str, Arrivals] = {}
            for topic in topics:
                if await _has(consumer, topic, 0):
                    found[topic] = Arrivals(*await arrivals_of(consumer, topic, time.time()))
            return found

        return await self._look(" and ".join(topics), find)

    async def outputs(self, batch_id: str, topic: str, partition: int, closings: Mapping[int, float]) -> Published:
        """Find the outputs of a batch, given when each of its revisions was decided (Unix seconds)."""
        settings = self._settings
        patience = settings.handler_timeout * (settings.handler_retries + 1) + _CLOCKS

        async def find(consumer: AIOKafkaConsumer) -> Published:
            if not await _has(consumer, topic, partition):
                return Published([], is_gone=True)
            tp = TopicPartition(topic, partition)
            return Published(*await find_outputs_of(consumer, tp, batch_id.encode(), closings, patience=patience))

        return await self._look(f"the output of batch {batch_id} in {topic}[{partition}]", find)

    async def source_times(self, sources: Mapping[Source, float]) -> Mapping[Source, float]:
        """Find the Kafka timestamps of source messages that were read at about these times; Unix seconds."""

        async def find(consumer: AIOKafkaConsumer) -> Mapping[Source, float]:
            found: dict[Source, float] = {}
            for source, near in list(sources.items())[:_SOURCES]:
                if await _has(consumer, source.topic, source.partition):
                    time = await time_of(consumer, source, near)
                    if time is not None:
                        found[source] = time
            return found

        return await self._look("the times of source messages", find)

    async def source_message(self, source: Source) -> InMessage | None:
        """Read a source message; None if the broker does not have it any more."""

        async def read(consumer: AIOKafkaConsumer) -> InMessage | None:
            if not await _has(consumer, source.topic, source.partition):
                return None
            return (await read_sources(consumer, [source])).get(source)

        return await self._look(f"{source.topic}[{source.partition}] offset {source.offset}", read)

    async def _look(self, what: str, work: Callable[[AIOKafkaConsumer], Awaitable[T]]) -> T:
        """Do the work with a client of its own. What has run out of time is left alone: its client may close slowly."""

        async def in_turn() -> T:
            async with self._places, reading(self._settings, max_partition_fetch_bytes=_FETCH_BYTES) as consumer:
                return await work(consumer)

        task = asyncio.ensure_future(in_turn())
        self._looking.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait([task], timeout=WITHIN)
        finally:
            if not task.done():
                task.cancel()
        try:
            if not task.done() or task.cancelled():  # a client cancels itself when its broker has gone
                message = f"{what} can't be read: Kafka has not answered within {WITHIN:g} s"
                raise NotReadable(message)
            return task.result()
        except (KafkaError, OSError) as error:
            message = f"{what} can't be read: Kafka says {error or repr(error)}"
            raise NotReadable(message) from error
        except TooMuchError as error:
            message = f"{what} is not read: {error}"
            raise NotReadable(message) from error

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._looking.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it, or has gone


async def _has(consumer: AIOKafkaConsumer, topic: str, partition: int) -> bool:
    """Say whether there is such a partition: asked about one that is not there, a consumer would ask on and on."""
    cluster = await consumer._client.fetch_all_metadata()
    if partition not in (cluster.partitions_for_topic(topic) or ()):
        return False
    await know(consumer, [topic])
    return True
