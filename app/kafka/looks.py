"""Looks into topics by time and by key: how many messages a range of time holds, where an output stands.

A broker finds the first message of a time without sending any, so most of these cost nothing but a question.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from app.kafka.reading import CLOCK_SLACK, OffsetRange, in_message, partitions_of, read_batches, read_sources
from app.messages.message import InMessage
from app.messages.output import OutputId, output_id, whole_outputs
from app.words import counted_word
from tables.model.events import Source

MOST_BYTES: Final = 64 * 1024 * 1024  # that are read in one look
MOST_RECORDS: Final = 20_000
_ROUNDING: Final = 0.002  # seconds: Kafka has milliseconds
_PROBES: Final = 40  # questions for the time of one message
_FIRST_STEP: Final = 0.01  # seconds before the splitting of a message, at which its time is looked for first


class TooMuchError(Exception):
    """What was looked for has not been found in as much as is read in one look, or is more than that."""


# -- by time -----------------------------------------------------------------------------------------------------------


async def count_messages(
    consumer: AIOKafkaConsumer, topics: Mapping[str, int], since: float, until: float
) -> dict[str, int]:
    """Count the messages of topics that were written from `since` up to before `until` (Unix seconds).

    `topics` are their partition counts. Offsets are counted: in topics of ours each is a message.

    Raises:
        KafkaError: the broker refuses, or does not answer.
    """
    await know(consumer, topics)
    tps = [tp for topic in topics for tp in partitions_of(topic, topics)]
    end = await consumer.end_offsets(tps)
    first, behind = await offsets_at(consumer, end, since), await offsets_at(consumer, end, until)
    counts = dict.fromkeys(topics, 0)
    for tp in tps:
        counts[tp.topic] += max(0, behind[tp] - first[tp])
    return counts


async def know(consumer: AIOKafkaConsumer, topics: Iterable[str]) -> None:
    """Have a consumer ask where topics are: one that it has never heard of costs it a tenth of a second else."""
    for topic in topics:
        await consumer._client.add_topic(topic)


async def offsets_at(
    consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], at: float
) -> dict[TopicPartition, int]:
    """Return the offset of the first message from a time on (Unix seconds) by partition; its end where there is none.

    `ends` are the ends of the partitions, which need not be assigned to the consumer: what is assigned is read.
    """
    found = await consumer.offsets_for_times(dict.fromkeys(ends, max(0, int(at * 1000))))
    return {tp: end if found[tp] is None else found[tp].offset for tp, end in ends.items()}


async def time_of(consumer: AIOKafkaConsumer, source: Source, near: float) -> float | None:
    """Find the Kafka timestamp (Unix seconds) of a message that was read at about `near`; None: it is there no more.

    It is read only where the times of others hide it: what a producer sends in one go has one time to the millisecond.

    Raises:
        KafkaError: the broker refuses, or does not answer.
    """
    asked = await _time_asked_for(consumer, source, near)
    if asked is not None:
        return asked
    message = (await read_sources(consumer, [source])).get(source)
    return None if message is None else message.timestamp


async def _time_asked_for(consumer: AIOKafkaConsumer, source: Source, near: float) -> float | None:
    """Find the timestamp without reading the message; None: it is not there any more, or others' times hide it.

    A broker tells the first message that is not older than a time, and that message's time. So times are tried, first
    further and further back, then between those that lead to earlier messages and to later ones.
    """
    tp = TopicPartition(source.topic, source.partition)
    earlier: int | None = None
    later, step = int(near * 1000) + 1, _FIRST_STEP
    for _ in range(_PROBES):
        at = int(near * 1000 - step * 1000) if earlier is None else (earlier + later) // 2
        at = max(0, at)
        found = (await consumer.offsets_for_times({tp: at}))[tp]
        if found is not None and found.offset == source.offset:
            return float(found.timestamp) / 1000
        if found is None or found.offset > source.offset:
            later = at
        else:
            earlier = at
        step *= 4
        if (earlier is None and at == 0) or (earlier is not None and later - earlier <= 1):
            return None
    return None


# -- by key ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Outputs:
    """Outputs of one batch that have been found, by their ids: those of parts of another cut are others."""

    found: dict[OutputId, InMessage] = field(default_factory=dict)
    size: int = 0
    records: int = 0

    def take(self, message: InMessage, key: bytes) -> None:
        """Take a message if it is an output of the batch; of copies the first counts.

        Raises:
            TooMuchError: too much has been read.
        """
        self.size += message.size
        self.records += 1
        if message.key == key:
            found = output_id(message.key, message.headers, message.value)
            if found is not None:
                self.found.setdefault(found, message)
        if self.size > MOST_BYTES or self.records > MOST_RECORDS:
            text = f"{counted_word(self.records, 'message')} of {counted_word(self.size, 'byte')} read"
            raise TooMuchError(text)

    def has(self, revision: int) -> bool:
        """Say whether all parts of a revision have been found."""
        return any(whole == revision for _, whole in whole_outputs(self.found))


async def find_outputs_of(
    consumer: AIOKafkaConsumer, tp: TopicPartition, key: bytes, closings: Mapping[int, float], *, patience: float
) -> tuple[list[InMessage], bool]:
    """Find the output messages of a batch in a partition that is there, and say whether some may be gone from it.

    Args:
        consumer: reads them.
        tp: the partition.
        key: the batch id.
        closings: when each revision was decided (Unix seconds); an output has that time, or that of its appending.
        patience: seconds after that in which it may have been appended.

    Raises:
        KafkaError: the broker refuses, or does not answer.
        TooMuchError: they have not been found in as much as is read in one look.
    """
    begin, ends = (await consumer.beginning_offsets([tp]))[tp], await consumer.end_offsets([tp])
    outputs = _Outputs()
    gone = False
    for revision, closed_at in sorted(closings.items()):
        starts = [(await offsets_at(consumer, ends, closed_at - slack))[tp] for slack in (_ROUNDING, CLOCK_SLACK)]
        for start in starts:
            if outputs.has(revision):
                break
            async with aclosing(_from(consumer, tp, OffsetRange(start, ends[tp]))) as messages:
                async for message in messages:
                    outputs.take(message, key)
                    if outputs.has(revision) or message.timestamp > closed_at + patience:
                        break
        # Where nothing is there that is older, what stood before may be gone.
        gone = gone or (not outputs.has(revision) and begin > 0 and starts[0] <= begin)
    return [outputs.found[place] for place in sorted(outputs.found)], gone


async def _from(
    consumer: AIOKafkaConsumer, tp: TopicPartition, offsets: OffsetRange
) -> AsyncGenerator[InMessage, None]:
    async with aclosing(read_batches(consumer, {tp: offsets}, stalled_after=None)) as batches:
        async for _, records in batches:
            for record in records:
                if record.offset < offsets.end:
                    yield in_message(record)
