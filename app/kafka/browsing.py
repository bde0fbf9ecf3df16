"""Looking into topics for whoever asks a worker's web: without a group, in windows of bounded size.

A client is made for each look and closed after it: looks are rare, and no connection of the pipeline's is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from app.kafka.client import reading
from app.kafka.reading import OffsetRange, in_message, partitions_of, ranges_of, read_batches
from app.kafka.topics import TopicError, not_created
from app.messages.message import InMessage
from app.settings import Settings

FETCH_BYTES = 1024 * 1024  # of a partition at once; a larger message comes alone
STALLED_SECONDS = 5.0


class CannotLook(RuntimeError):  # noqa: N818 - says what is wrong
    """Kafka can't be asked now; the text says why."""


@dataclass(frozen=True, slots=True)
class TopicView:
    """A topic whose messages can be read.

    Attributes:
        topic: its name.
        consumer: reads it.
        held: what each partition held when it was opened.
    """

    topic: str
    consumer: AIOKafkaConsumer
    held: Mapping[int, OffsetRange]

    async def read(self, windows: Mapping[int, OffsetRange], most: int) -> dict[int, list[InMessage]]:
        """Return the messages of windows by partition, each partition's in order.

        A partition of which a window of several offsets holds more than `most` bytes is left out, and so may be others.

        Raises:
            CannotLook: the broker refuses, or does not answer any more.
        """
        ranges = {TopicPartition(self.topic, number): window for number, window in windows.items()}
        found: dict[int, list[InMessage]] = {number: [] for number in windows}
        sizes = dict.fromkeys(windows, 0)
        whole = set(windows)
        with _saying(self.topic):
            async for tp, records in read_batches(self.consumer, ranges, stalled_after=STALLED_SECONDS):
                window = ranges[tp]
                inside = [in_message(record) for record in records if record.offset < window.end]
                found[tp.partition] += inside
                sizes[tp.partition] += sum(message.size for message in inside)
                if sizes[tp.partition] > most and window.end - window.start > 1:
                    whole = {number for number, one in windows.items() if _ends(found[number], one)}
                    break
        return {number: found[number] for number in whole}


def _ends(messages: list[InMessage], window: OffsetRange) -> bool:
    """Say whether a window has surely been read to its end."""
    return window.start >= window.end or (bool(messages) and messages[-1].offset == window.end - 1)


@asynccontextmanager
async def looking_into(
    settings: Settings, topic: str, *, since: float | None = None, partitions: Collection[int] | None = None
) -> AsyncIterator[TopicView]:
    """Open a topic: all of it, or what was appended from `since` on (Unix seconds).

    `partitions` None are all of them.

    Raises:
        CannotLook: there is no broker or no such topic, or it refuses us.
    """
    with _saying(topic):
        async with reading(settings, max_partition_fetch_bytes=FETCH_BYTES) as consumer:
            if not await consumer._client.add_topic(topic):  # else it would come to know the topic some time later
                message = "the broker does not tell which topics there are"
                raise KafkaConnectionError(message)
            numbers = consumer.partitions_for_topic(topic)
            if not numbers:
                raise not_created(settings, topic)
            tps = [tp for tp in partitions_of(topic, {topic: max(numbers) + 1}) if _is_asked(tp, numbers, partitions)]
            ranges = await ranges_of(consumer, tps, since=since)
            yield TopicView(topic, consumer, {tp.partition: held for tp, held in ranges.items()})


def _is_asked(tp: TopicPartition, there: Collection[int], asked: Collection[int] | None) -> bool:
    return tp.partition in there and (asked is None or tp.partition in asked)


@contextmanager
def _saying(topic: str) -> Iterator[None]:
    """Say what can't be read, and why."""
    try:
        yield
    except TopicError as error:
        raise CannotLook(str(error)) from error
    except (KafkaError, OSError) as error:
        message = f"topic {topic} can't be read from Kafka now: {error or repr(error)}"
        raise CannotLook(message) from error
