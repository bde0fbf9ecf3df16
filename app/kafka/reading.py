"""Reading partitions to where they end now, and no further; and what the pipeline looks up on the broker that way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.structs import ConsumerRecord
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential

from app.kafka.client import reading
from app.messages.message import InMessage
from app.messages.output import OutputId, output_id
from app.settings import Settings
from tables.model.events import Source

WAIT_MS = 500
STALLED_SECONDS = 30.0  # without anything coming: the broker has gone
CLOCK_SLACK = 60.0  # seconds by which a broker's clock may be off when it stamps what it appends


def in_message(record: ConsumerRecord) -> InMessage:
    """A record as the pipeline knows messages."""
    return InMessage(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp / 1000,
        record.key,
        record.value,
        record.headers,
    )


class Stalled(KafkaConnectionError):  # type: ignore[misc]  # noqa: N818 - untyped there; says it
    """Nothing has come for too long."""


# -- to the end --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets of a partition, from `start` up to before `end`."""

    start: int
    end: int


def partitions_of(topic: str, counts: Mapping[str, int]) -> list[TopicPartition]:
    """Return all partitions of a topic, given how many each topic has; none where there is no such topic."""
    return [TopicPartition(topic, number) for number in range(counts.get(topic, 0))]


async def ranges_of(
    consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition], *, since: float | None = None
) -> dict[TopicPartition, OffsetRange]:
    """All that partitions hold now, or what was appended from `since` (Unix seconds) on.

    Raises:
        KafkaError: the broker refuses, or does not answer.
    """
    tps = list(partitions)
    if not tps:
        return {}
    consumer.assign(tps)
    start = await consumer.beginning_offsets(tps)
    end = await consumer.end_offsets(tps)
    if since is not None:
        milliseconds = max(0, int(since * 1000))
        found = await consumer.offsets_for_times(dict.fromkeys(tps, milliseconds))
        start = {tp: end[tp] if found[tp] is None else found[tp].offset for tp in tps}
    return {tp: OffsetRange(start[tp], end[tp]) for tp in tps}


async def read_ranges(
    consumer: AIOKafkaConsumer, ranges: Mapping[TopicPartition, OffsetRange], *, stalled_after: float = STALLED_SECONDS
) -> AsyncIterator[InMessage]:
    """The messages of these ranges, each partition's in order.

    Raises:
        KafkaError: the broker refuses, or does not answer any more.
    """
    async for tp, records in read_batches(consumer, ranges, stalled_after=stalled_after):
        end = ranges[tp].end
        for record in records:
            if record.offset < end:
                yield in_message(record)


async def read_in_time(
    consumer: AIOKafkaConsumer, ranges: Mapping[TopicPartition, OffsetRange], *, stalled_after: float = STALLED_SECONDS
) -> AsyncIterator[InMessage]:
    """The messages of these ranges in the order of their times; of no partition more is held than one fetch brings.

    A partition's own order is kept: where a message's time is before that of the one in front of it, it comes later.

    Raises:
        KafkaError: the broker refuses, or does not answer any more.
    """
    left = {tp: offsets.end for tp, offsets in ranges.items() if offsets.start < offsets.end}
    if not left:
        return  # a consumer that is given no partition at all never gets to its end
    _stand_at(consumer, {tp: ranges[tp].start for tp in left})
    held: dict[TopicPartition, deque[ConsumerRecord]] = {tp: deque() for tp in left}
    loop = asyncio.get_running_loop()
    moved_at = loop.time()
    while True:
        if empty := [tp for tp in left if not held[tp]]:
            fetched = await consumer.getmany(*empty, timeout_ms=WAIT_MS)
            for tp, records in fetched.items():
                held[tp].extend(record for record in records if record.offset < left[tp])
            done = await _read_to(consumer, {tp: left[tp] for tp in empty}, stalled_after)
            for tp in done:
                del left[tp]
            if fetched or done:
                moved_at = loop.time()
            elif loop.time() > moved_at + stalled_after:
                raise _stalled(stalled_after)
            consumer.pause(*done)
            continue
        first = min((tp for tp, records in held.items() if records), key=lambda tp: _when(held[tp][0]), default=None)
        if first is None:
            return
        yield in_message(held[first].popleft())


def _when(record: ConsumerRecord) -> tuple[int, int, int]:
    return record.timestamp, record.partition, record.offset


def _stand_at(consumer: AIOKafkaConsumer, offsets: Mapping[TopicPartition, int]) -> None:
    """Have the next fetch begin at these offsets, and at no other partition."""
    consumer.assign(list(offsets))
    for tp, offset in offsets.items():
        consumer.seek(tp, offset)


def _stalled(seconds: float) -> Stalled:
    message = f"nothing has come for {seconds:g} s"
    return Stalled(message)


async def read_batches(
    consumer: AIOKafkaConsumer, ranges: Mapping[TopicPartition, OffsetRange], *, stalled_after: float | None
) -> AsyncGenerator[tuple[TopicPartition, Sequence[ConsumerRecord]], None]:
    """The records of these ranges as they are fetched; the last ones of a partition may lie beyond its range.

    Holes in a partition, also at its end, are no matter. `stalled_after` is how long nothing may come, in seconds;
    None waits for as long as it takes.

    Raises:
        KafkaError: the broker refuses, or nothing has come for too long (`Stalled`).
    """
    left = {tp: offsets.end for tp, offsets in ranges.items() if offsets.start < offsets.end}
    if not left:
        return
    _stand_at(consumer, {tp: ranges[tp].start for tp in left})
    loop = asyncio.get_running_loop()
    moved_at = loop.time()
    while left:
        fetched = await consumer.getmany(timeout_ms=WAIT_MS)
        for tp, records in fetched.items():
            if tp in left:
                yield tp, records
        done = await _read_to(consumer, left, stalled_after)
        for tp in done:
            del left[tp]
        if fetched or done:
            moved_at = loop.time()
        elif stalled_after is not None and loop.time() > moved_at + stalled_after:
            raise _stalled(stalled_after)
        # A partition that has been read to its end is not fetched any further.
        consumer.pause(*done)


async def _read_to(
    consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], patience: float | None
) -> list[TopicPartition]:
    """Partitions that have been read to these ends. Where one stands may be known only after a while."""
    try:
        async with asyncio.timeout(patience):
            return [tp for tp, end in ends.items() if await consumer.position(tp) >= end]
    except TimeoutError as error:
        message = f"it has not said within {patience:g} s where its topics begin"
        raise KafkaConnectionError(message) from error


# -- looking up --------------------------------------------------------------------------------------------------------


def patiently(settings: Settings) -> AsyncRetrying:
    """Return what calls again while a broker is away, up to AGG_BROKER_PATIENCE."""
    return AsyncRetrying(
        retry=retry_if_exception_type(KafkaError),
        stop=stop_after_delay(settings.broker_patience),
        wait=wait_exponential(multiplier=0.1, max=2.0),
        reraise=True,
    )


async def find_outputs(settings: Settings, topic: str, partition: int, since: float) -> set[OutputId]:
    """Find which output messages stand in a partition, from `since` (Unix seconds) up to its end now.

    A broker that is away is waited for, up to AGG_BROKER_PATIENCE.
    """

    async def find() -> set[OutputId]:
        async with reading(settings) as consumer:
            ranges = await ranges_of(consumer, [TopicPartition(topic, partition)], since=since - CLOCK_SLACK)
            ids = [output_id(one.key, one.headers, one.value) async for one in read_ranges(consumer, ranges)]
        return {found for found in ids if found is not None}

    return await patiently(settings)(find)


async def find_sources(settings: Settings, sources: Sequence[Source]) -> dict[Source, InMessage]:
    """Read the messages that stand at these places, as far as the broker still has them.

    A broker that is away is waited for, up to AGG_BROKER_PATIENCE.
    """

    async def find() -> dict[Source, InMessage]:
        async with reading(settings) as consumer:
            return await read_sources(consumer, sources)

    return await patiently(settings)(find)


async def read_sources(consumer: AIOKafkaConsumer, sources: Sequence[Source]) -> dict[Source, InMessage]:
    """Read the messages that stand at these places, as far as the broker still has them.

    Raises:
        KafkaError: the broker refuses, or does not answer any more.
    """
    found: dict[Source, InMessage] = {}
    for source in sorted(sources):
        tp = TopicPartition(source.topic, source.partition)
        held = (await ranges_of(consumer, [tp]))[tp]
        if held.start <= source.offset < held.end:
            place = OffsetRange(source.offset, source.offset + 1)
            with suppress(Stalled):  # compacted away, with nothing behind it
                async for message in read_ranges(consumer, {tp: place}, stalled_after=10.0):
                    found[source] = message
    return found
