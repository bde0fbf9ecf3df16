"""A small steady load of batches with stations on all partitions, and when the broker got their outputs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count, pairwise

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from tests.bench.cluster import PARTITIONS, create_topics, producing, source_message
from tests.chaos.silences.report import Counts
from tests.integration.support.background import Background

__all__ = ["Load", "Out", "is_steady", "longest_silence"]

BATCHES_A_SECOND = 20.0
STATIONS = 64
STEADY_SECONDS = 1.0  # for which outputs must have come without a break before a fault counts as over
STEADY_GAP = 0.5
OUT_WITHIN = 0.6  # seconds in which a batch is out when nothing is wrong


@dataclass(frozen=True, slots=True)
class Out:
    """An output: when the broker appended it (Unix seconds), its batch, and whether no station was missing."""

    at: float
    batch: str
    complete: bool


def longest_silence(outs: Iterable[Out], began: float, ended: float) -> float:
    """Return the longest time without a complete batch, in seconds, from the last one before `began` to `ended`."""
    times = sorted(out.at for out in outs if out.complete and out.at <= ended)
    first = max((at for at in times if at <= began), default=began)
    return max((later - at for at, later in pairwise([first, *[at for at in times if at > began], ended])), default=0.0)


def is_steady(outs: Iterable[Out], sent: Iterable[float], since: float, now: float) -> bool:
    """Say whether all that was sent since then, but for the last moment, is out complete, without a break.

    `sent` are the times at which batches that have not come out complete were sent (Unix seconds).
    """
    if now - since < STEADY_SECONDS or any(since <= at <= now - OUT_WITHIN for at in sent):
        return False
    return longest_silence([out for out in outs if out.at >= since], since, now) < STEADY_GAP


class Load:
    """Sends for as long as it is entered, in a thread of its own; times are the broker's, which is on this machine."""

    def __init__(self, servers: str, source: str, output: str) -> None:
        self._servers, self._source, self._output = servers, source, output
        self._loop = Background()
        self._stopping = False
        self._sent: dict[str, float] = {}
        self._outs: list[Out] = []
        self._loop.run(create_topics(servers, [source, output]))

    def __enter__(self) -> Load:
        self._sending = self._loop.start(self._send())
        self._reading = self._loop.start(self._read())
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        for task in (self._sending, self._reading):
            self._loop.ended(task)
        self._loop.close()

    @property
    def outs(self) -> Sequence[Out]:
        """What has come out so far."""
        return tuple(self._outs)

    def longest_silence(self, began: float, ended: float) -> float:
        """Return the longest time without a complete batch, in seconds, in what is out by now."""
        return longest_silence(self.outs, began, ended)

    def steady_since(self, since: float) -> bool:
        """Say whether outputs have flowed without a break since then."""
        outs, sent = self.outs, dict(self._sent)
        for out in outs:
            if out.complete:
                sent.pop(out.batch, None)
        return is_steady(outs, sent.values(), since, time.time())

    def out_of(self, since: float) -> bool:
        """Say whether a batch that was sent since then is out complete."""
        return any(out.complete and self._sent[out.batch] >= since for out in self.outs)

    def counts(self, since: float, until: float) -> Counts:
        """Count the batches that were sent in that time. What has not come out is not complete."""
        complete = {out.batch for out in self.outs if out.complete}
        sent = [batch for batch, at in dict(self._sent).items() if since <= at < until]
        return Counts(sum(batch in complete for batch in sent), len(sent))

    def pending(self) -> int:
        """Return how many batches are not out."""
        return len(self._sent) - len({out.batch for out in self.outs})

    def stop_sending(self) -> None:
        """Send nothing more; what comes out is still read."""
        self._loop.run(self._cancel_sending())

    async def _cancel_sending(self) -> None:
        self._sending.cancel()

    async def _send(self) -> None:
        started = time.monotonic()
        async with producing(self._servers) as producer:
            for number in count():
                await asyncio.sleep(max(0.0, started + number / BATCHES_A_SECOND - time.monotonic()))
                if self._stopping:
                    return
                batch = f"batch-{number}"
                self._sent[batch] = time.time()
                header = [("batch-id", batch.encode())]
                message = source_message(number, STATIONS)
                await producer.send(self._source, message, partition=number % PARTITIONS, headers=header)

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._servers, auto_offset_reset="earliest")
        async with consumer:
            consumer.assign([TopicPartition(self._output, number) for number in range(PARTITIONS)])
            while not self._stopping:
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    self._outs += [_out_of(record) for record in records]


def _out_of(record: ConsumerRecord) -> Out:
    payload = orjson.loads(record.value)
    return Out(record.timestamp / 1000, payload["batch_id"], payload["meta"]["status"] == "complete")
