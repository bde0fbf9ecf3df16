"""Everything that stands in some topics, read as it comes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

__all__ = ["Collector", "Received", "committed_offsets", "end_offsets"]

LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True)
class Received:
    """One message as it was read."""

    topic: str
    partition: int
    offset: int
    timestamp: int  # ms
    key: bytes | None
    value: bytes | None = field(repr=False)
    headers: tuple[tuple[str, bytes], ...]

    @property
    def name(self) -> str:
        """The key as text."""
        return (self.key or b"").decode()

    @property
    def json(self) -> Any:
        """The value, parsed."""
        return orjson.loads(self.value or b"null")

    def header(self, name: str) -> str:
        """A header as text, "" if it is not there."""
        return dict(self.headers).get(name, b"").decode()

    @property
    def content(self) -> tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]:
        """What must be the same in a second copy."""
        return self.key, self.value, self.headers


class Collector:
    """Reads topics from their beginning, as soon as they are there, until it is told to stop."""

    def __init__(self, bootstrap: str, topics: Sequence[str]) -> None:
        self._bootstrap = bootstrap
        self._topics = topics
        self._read: dict[TopicPartition, int] = {}
        self._records: defaultdict[str, list[Received]] = defaultdict(list)
        self._stopped = False

    def of(self, topic: str) -> list[Received]:
        """What has been read of a topic so far."""
        return list(self._records[topic])

    def has_read(self, ends: dict[TopicPartition, int]) -> bool:
        """Whether all that was there at some time has been read."""
        return all(self._read.get(tp, 0) >= end for tp, end in ends.items())

    def stop(self) -> None:
        """Have `run` return."""
        self._stopped = True

    async def run(self) -> None:
        """Read."""
        if not await self._topics_are_there():
            return
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=LARGEST,
            fetch_max_wait_ms=20,
        )
        try:
            await consumer.start()
            consumer.assign(
                [
                    TopicPartition(topic, partition)
                    for topic in self._topics
                    for partition in await partitions_of(consumer, topic)
                ]
            )
            while not self._stopped:
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    self._records[tp.topic] += [_received(record) for record in records]
                    self._read[tp] = records[-1].offset + 1
        finally:
            await consumer.stop()  # also when the broker goes while it starts

    async def _topics_are_there(self) -> bool:
        async with admin_client(self._bootstrap) as admin:
            while not self._stopped:
                if set(self._topics).issubset(await admin.list_topics()):
                    return True
                await asyncio.sleep(0.05)
        return False


@asynccontextmanager
async def admin_client(bootstrap: str) -> AsyncIterator[Any]:
    """An admin client for a `with`; closed also when the broker goes while it starts."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await client.start()
        yield client
    finally:
        await client.close()


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    """The partitions of a topic that is there."""
    while True:
        partitions: set[int] = await consumer._client._wait_on_metadata(topic)
        if partitions:
            return partitions


async def end_offsets(bootstrap: str, topics: Sequence[str]) -> dict[TopicPartition, int]:
    """Where the topics end now."""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        tps = [
            TopicPartition(topic, partition) for topic in topics for partition in await partitions_of(consumer, topic)
        ]
        ends: dict[TopicPartition, int] = await consumer.end_offsets(tps)
        return ends


async def committed_offsets(bootstrap: str, group: str) -> dict[TopicPartition, int]:
    """What a group has acknowledged; nothing while its coordinator is away."""
    try:
        async with admin_client(bootstrap) as admin:
            found = await admin.list_consumer_group_offsets(group)
    except KafkaError:
        return {}
    return {tp: meta.offset for tp, meta in found.items()}


def _received(record: Any) -> Received:
    return Received(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        tuple((name, value) for name, value in record.headers),
    )
