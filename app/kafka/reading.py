"""Reading topics from somewhere to where they end now, and no further."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError

from app.messages.message import InMessage

__all__ = ["Span", "read_spans", "spans_of"]

STALLED_SECONDS = 30.0  # without anything coming: the broker has gone


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets of a partition, from `start` up to before `end`. `first` is the oldest that the broker still has."""

    first: int
    start: int
    end: int


async def spans_of(
    consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition], *, since: float | None = None
) -> dict[TopicPartition, Span]:
    """All that partitions hold now, or what was appended from `since` (Unix seconds) on.

    Raises:
        KafkaError: the broker refuses, or does not answer.
    """
    tps = list(partitions)
    if not tps:
        return {}
    consumer.assign(tps)
    first = await consumer.beginning_offsets(tps)
    end = await consumer.end_offsets(tps)
    start = dict(first)
    if since is not None:
        milliseconds = max(0, int(since * 1000))
        found = await consumer.offsets_for_times(dict.fromkeys(tps, milliseconds))
        start = {tp: end[tp] if found[tp] is None else found[tp].offset for tp in tps}
    return {tp: Span(first[tp], start[tp], end[tp]) for tp in tps}


async def read_spans(consumer: AIOKafkaConsumer, spans: Mapping[TopicPartition, Span]) -> AsyncIterator[InMessage]:
    """The messages of these spans, each partition's in order. Holes in a partition, also at its end, are no matter.

    Raises:
        KafkaError: the broker refuses, or does not answer any more.
    """
    left = {tp: span.end for tp, span in spans.items() if span.start < span.end}
    if not left:
        return
    consumer.assign(list(left))
    for tp in left:
        consumer.seek(tp, spans[tp].start)
    loop = asyncio.get_running_loop()
    moved_at = loop.time()
    while left:
        found = await consumer.getmany(timeout_ms=500)
        for tp, records in found.items():
            for record in records:
                if record.offset < left.get(tp, 0):
                    yield _message(record)
        done = await _read_to(consumer, left)
        for tp in done:
            del left[tp]
        if found or done:
            moved_at = loop.time()
        elif loop.time() > moved_at + STALLED_SECONDS:
            message = f"nothing has come for {STALLED_SECONDS:g} s"
            raise KafkaConnectionError(message)
        # What has been read to its end is not fetched any further.
        consumer.pause(*done)


async def _read_to(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> list[TopicPartition]:
    """Partitions that have been read to these ends. Where one stands may be known only after a while."""
    try:
        async with asyncio.timeout(STALLED_SECONDS):
            return [tp for tp, end in ends.items() if await consumer.position(tp) >= end]
    except TimeoutError as error:
        message = f"it has not said within {STALLED_SECONDS:g} s where its topics begin"
        raise KafkaConnectionError(message) from error


def _message(record: Any) -> InMessage:
    headers = tuple((name, value) for name, value in record.headers)
    return InMessage(
        record.topic, record.partition, record.offset, record.timestamp / 1000, record.key, record.value, headers
    )
