"""The letters on the broker: finding them, and reading them in full."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from app.cli.dead_letters.filters import Filters
from app.cli.dead_letters.replay_log import ReplayMemory
from app.cli.send import NoTopic
from app.kafka.client import administering, reading
from app.kafka.reading import OffsetRange, ranges_of, read_ranges
from app.kafka.topics import largest_messages, partition_counts
from app.messages.dead_letters import Letter, light, read_letter
from app.settings import Settings

__all__ = ["LetterDesk", "open_desk"]

FETCH_BYTES = 4 * 1024 * 1024  # of a partition at once; a larger letter comes alone
CLOCK_SLACK = 24 * 3600.0  # seconds by which a plant's clock, which `failed-at` may come from, may be fast


@dataclass(frozen=True, slots=True)
class LetterDesk:
    """All letters that there were when it was opened.

    Attributes:
        consumer: reads what is asked for.
        spans: where the letters stand.
        memory: what has been replayed until then.
        counts: the partitions of every topic of the cluster.
        largest: the largest message that the output topic takes, in bytes, where that is known.
    """

    consumer: AIOKafkaConsumer
    spans: Mapping[TopicPartition, OffsetRange]
    memory: ReplayMemory
    counts: Mapping[str, int]
    largest: int | None

    @property
    def first_offsets(self) -> dict[int, int]:
        """By partition, the oldest letter that there may still be."""
        return {tp.partition: span.start for tp, span in self.spans.items()}

    async def find(self, filters: Filters) -> list[Letter]:
        """The letters that match, without their values.

        Raises:
            KafkaError: the broker refuses, or does not answer any more.
        """
        spans = self.spans
        if filters.since is not None:
            # What failed since then was written since then.
            spans = await ranges_of(self.consumer, list(spans), since=filters.since - CLOCK_SLACK)
        letters = (read_letter(message) async for message in read_ranges(self.consumer, spans))
        return [light(letter) async for letter in letters if filters.match(letter)]

    async def read(self, letters: Sequence[Letter]) -> list[Letter]:
        """The same letters with their values, in the same order; without those that are gone by now.

        Raises:
            KafkaError: the broker refuses, or does not answer any more.
        """
        offsets: dict[int, list[int]] = {}
        for letter in letters:
            offsets.setdefault(letter.partition, []).append(letter.offset)
        spans = {
            tp: OffsetRange(min(wanted), max(wanted) + 1)
            for tp, span in self.spans.items()
            if (wanted := offsets.get(tp.partition))
        }
        places = {letter.place for letter in letters}
        found = {
            letter.place: letter
            async for letter in (read_letter(message) async for message in read_ranges(self.consumer, spans))
            if letter.place in places
        }
        return [found[letter.place] for letter in letters if letter.place in found]

    async def letter_at(self, partition: int, offset: int) -> Letter | None:
        """One letter in full; None: there is none.

        Raises:
            KafkaError: the broker refuses, or does not answer any more.
        """
        for tp, span in self.spans.items():
            if tp.partition == partition and span.start <= offset < span.end:
                async for message in read_ranges(self.consumer, {tp: OffsetRange(offset, offset + 1)}):
                    return read_letter(message)
        return None


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[LetterDesk]:
    """Connect, and see where the letters stand and which have been replayed. Nothing is created.

    Raises:
        NoTopic: there is no dead-letter topic.
        KafkaError: there is no broker, or it refuses us.
    """
    counts, largest = await _look(settings)
    letters, replayed = settings.dead_letter_topic, settings.replayed_topic
    if letters not in counts:
        message = f"there is no topic {letters}: a worker of AGG_APP_ID={settings.app_id} creates it when it starts"
        raise NoTopic(message)
    async with reading(settings, max_partition_fetch_bytes=FETCH_BYTES) as consumer:
        spans = await ranges_of(consumer, _partitions(letters, counts))
        remembered = read_ranges(consumer, await ranges_of(consumer, _partitions(replayed, counts)))
        memory = ReplayMemory(replayed, [message async for message in remembered])
        yield LetterDesk(consumer, spans, memory, counts, largest)


async def _look(settings: Settings) -> tuple[dict[str, int], int | None]:
    async with administering(settings) as admin:
        counts = await partition_counts(admin)
        topic = settings.output_topic
        largest = await largest_messages(admin, [topic] if topic in counts else [])
        return counts, largest.get(topic)


def _partitions(topic: str, counts: Mapping[str, int]) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for number in range(counts.get(topic, 0))]
