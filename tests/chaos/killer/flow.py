"""When outputs flow again: a live reader of the output topic, beside the producer's journal."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from tests.chaos.killer.expected import number_of
from tests.integration.support.background import Background

__all__ = ["Flow", "first_out"]

PAUSE = 0.2  # seconds between two attempts to reach a broker that is away


def first_out(acknowledged: dict[int, float], complete: dict[int, float], since: float) -> float | None:
    """Return when the first batch that the broker acknowledged since then came out complete; None: none has yet.

    Both map batches to Unix seconds, in the order of time.
    """
    for number in reversed(acknowledged):
        if acknowledged[number] < since:
            break
        if number in complete:
            return min(at for batch, at in complete.items() if acknowledged.get(batch, 0.0) >= since)
    return None


class Flow:
    """Reads while it is entered, in a thread of its own, whatever becomes of the brokers.

    Attributes:
        out: batches that have come out, with the broker's time of append of the first output; `complete`: those without
            a missing station.
    """

    def __init__(self, servers: str, source: str, output: str, partitions: int) -> None:
        self.out: dict[int, float] = {}
        self.complete: dict[int, float] = {}
        self._servers, self._source = servers, source
        self._positions = {TopicPartition(output, number): 0 for number in range(partitions)}
        self._loop = Background()
        self._stopping = False

    def __enter__(self) -> Flow:
        self._reading = self._loop.start(self._read())
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._loop.ended(self._reading)
        self._loop.close()

    async def _read(self) -> None:
        while not self._stopping:
            with suppress(KafkaError):
                await self._read_with(AIOKafkaConsumer(bootstrap_servers=self._servers))
            await asyncio.sleep(PAUSE)

    async def _read_with(self, consumer: AIOKafkaConsumer) -> None:
        try:
            await consumer.start()
            consumer.assign(list(self._positions))
            for partition, position in self._positions.items():
                consumer.seek(partition, position)
            while not self._stopping:
                for partition, records in (await consumer.getmany(timeout_ms=100)).items():
                    self._positions[partition] = records[-1].offset + 1
                    for record in records:
                        self._note(record.timestamp / 1000, record.value)
        finally:
            await consumer.stop()

    def _note(self, at: float, value: bytes) -> None:
        payload = orjson.loads(value)
        number = number_of(self._source, payload["batch_id"])
        if number is not None:  # else the checker tells
            self.out.setdefault(number, at)
            if not payload["meta"]["missing"]:
                self.complete.setdefault(number, at)
