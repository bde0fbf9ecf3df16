"""When messages come to a topic, as the broker tells it by time, without sending any.

A broker tells the first message of a partition that is not older than a time, and that message's time.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from statistics import median
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

DAY: Final = 86_400_000  # all times here are milliseconds, as Kafka's
WEEK: Final = 7 * DAY
FEW: Final = 5  # messages in a day, for a week to be looked at
_MOMENTS: Final = 25  # that are looked at
_STEP: Final = 1000  # how far back the last message is looked for first, then further and further
_FURTHER: Final = 16
_CLOSE: Final = 50  # up to which the time of the last message is found


async def arrivals_of(consumer: AIOKafkaConsumer, topic: str, now: float) -> tuple[float | None, float | None]:
    """Return when the last message came to a topic that is there (Unix seconds), and the gap (s) that is usual.

    The gap is twice the median of the time from a moment to the next message, over moments of the day before the last
    one, or of the week where that day has few. So half of the time went by in gaps of about that or less: it is the
    time between two bursts, not between two messages of one, and a silence by night does not make it longer.

    The first is None where there is no message, the second with less than two.

    Raises:
        KafkaError: the broker refuses, or does not answer.
    """
    tps = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
    last = await _last(consumer, tps, int(now * 1000))
    if last is None:
        return None, None
    first = await _next(consumer, tps, 0)
    since = last - DAY
    if await _count(consumer, tps, since) < FEW:
        since = last - WEEK
    since = max(since, first or 0)
    if since >= last:
        return last / 1000, None
    chance = Random(last)  # noqa: S311 - no secret: moments that keep step with no schedule, the same at each worker
    moments = [since + int((last - since) * chance.random()) for _ in range(_MOMENTS)]
    waits = [((await _next(consumer, tps, moment)) or moment) - moment for moment in moments]
    return last / 1000, 2 * median(waits) / 1000


async def _next(consumer: AIOKafkaConsumer, tps: Sequence[TopicPartition], at: int) -> int | None:
    """Return the time of the first message from a time on, of those that are first in their partitions."""
    found = await consumer.offsets_for_times(dict.fromkeys(tps, max(0, at)))
    return min((one.timestamp for one in found.values() if one is not None), default=None)


async def _newest(consumer: AIOKafkaConsumer, tps: Sequence[TopicPartition], at: int) -> int | None:
    """Return the latest of these times; None where no message is that new."""
    found = await consumer.offsets_for_times(dict.fromkeys(tps, max(0, at)))
    return max((one.timestamp for one in found.values() if one is not None), default=None)


async def _last(consumer: AIOKafkaConsumer, tps: Sequence[TopicPartition], now: int) -> int | None:
    """Return the time of the last message, to _CLOSE; None where there is none."""
    none_from, step = now + 1, _STEP
    found = await _newest(consumer, tps, none_from)
    while found is None:
        if none_from <= 0:
            return None
        at = max(0, now - step)
        found = await _newest(consumer, tps, at)
        if found is None:
            none_from = at
        step *= _FURTHER
    if found > now:  # its sender's clock is ahead, or dates what is to come
        return found
    while none_from - found > _CLOSE:
        later = await _newest(consumer, tps, found + 1)
        if later is None:
            break
        found = later
        middle = (found + none_from) // 2
        later = await _newest(consumer, tps, middle) if none_from - found > _CLOSE else None
        if later is None:
            none_from = min(none_from, middle)
        else:
            found = max(found, later)
    return found


async def _count(consumer: AIOKafkaConsumer, tps: Sequence[TopicPartition], since: int) -> int:
    """Count the messages from a time on."""
    ends = await consumer.end_offsets(tps)
    found = await consumer.offsets_for_times(dict.fromkeys(tps, max(0, since)))
    return sum(ends[tp] - one.offset for tp, one in found.items() if one is not None)
