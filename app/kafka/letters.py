"""The letters on the broker: finding and reading them, and reading which have been replayed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from app.kafka.client import administering, reading
from app.kafka.reading import OffsetRange, partitions_of, ranges_of, read_ranges
from app.kafka.topics import largest_messages, not_created, partition_counts
from app.messages.dead_letters import Letter, light, read_letter
from app.messages.replays import CLOCK_SLACK, Filters, ReplayLog
from app.settings import Settings

CHUNK_LETTERS = 200  # whose values are held at once
CHUNK_BYTES = 32 * 1024 * 1024

FETCH_BYTES = 4 * 1024 * 1024  # of a partition at once; a larger letter comes alone
RUN_GAP = 200  # letters between two that are asked for, which are rather read than passed over


def chunks(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    """Yield the letters in their order, so many together as may be held with their values."""
    chunk: list[Letter] = []
    size = 0
    for letter in letters:
        if chunk and (len(chunk) >= CHUNK_LETTERS or size + letter.size > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(letter)
        size += letter.size
    if chunk:
        yield chunk


@dataclass(frozen=True, slots=True)
class LetterStore:
    """All letters that there were when it was opened.

    Attributes:
        consumer: reads what is asked for.
        ranges: where the letters stand.
        log: what has been replayed until then.
        counts: the partitions of every topic of the cluster.
        largest: the largest message that the output topic takes, in bytes, where that is known.
    """

    consumer: AIOKafkaConsumer
    ranges: Mapping[TopicPartition, OffsetRange]
    log: ReplayLog
    counts: Mapping[str, int]
    largest: int | None

    @property
    def first_offsets(self) -> dict[int, int]:
        """By partition, the offset of the oldest letter that there may still be."""
        return {tp.partition: held.start for tp, held in self.ranges.items()}

    async def find(self, filters: Filters) -> list[Letter]:
        """Return the letters that match, without their values.

        Raises:
            KafkaError: the broker refuses, or does not answer any more.
        """
        ranges = self.ranges
        if filters.since is not None:
            # What failed since then was written since then.
            ranges = await ranges_of(self.consumer, list(ranges), since=filters.since - CLOCK_SLACK)
        letters = (read_letter(message) async for message in read_ranges(self.consumer, ranges))
        return [light(letter) async for letter in letters if filters.match(letter)]

    async def read(self, places: Sequence[tuple[int, int]]) -> list[Letter]:
        """Read letters in full, in this order; without those that are not there, or not any more.

        Args:
            places: partition and offset of each.

        Raises:
            KafkaError: the broker refuses, or does not answer any more.
        """
        found = {(letter.partition, letter.offset): letter async for letter in self.stream(places)}
        return [found[at] for at in places if at in found]

    async def stream(self, places: Sequence[tuple[int, int]]) -> AsyncIterator[Letter]:
        """Yield letters in full as they are read, each partition's in order; those that are not there are left out.

        Raises:
            KafkaError: the broker refuses, or does not answer any more.
        """
        asked = set(places)
        for ranges in self._runs(asked):
            async for message in read_ranges(self.consumer, ranges):
                if (message.partition, message.offset) in asked:
                    yield read_letter(message)

    def _runs(self, places: set[tuple[int, int]]) -> list[dict[TopicPartition, OffsetRange]]:
        """Return what to read for letters that may be far apart: ranges of each partition, one after the other."""
        runs: list[dict[TopicPartition, OffsetRange]] = []
        for tp, held in self.ranges.items():
            own = sorted(offset for number, offset in places if number == tp.partition)
            ranges: list[OffsetRange] = []
            for offset in [offset for offset in own if held.start <= offset < held.end]:
                if ranges and offset - ranges[-1].end <= RUN_GAP:
                    ranges[-1] = OffsetRange(ranges[-1].start, offset + 1)
                else:
                    ranges.append(OffsetRange(offset, offset + 1))
            for number, run in enumerate(ranges):
                if number == len(runs):
                    runs.append({})
                runs[number][tp] = run
        return runs


@asynccontextmanager
async def open_letters(settings: Settings) -> AsyncIterator[LetterStore]:
    """Connect, and see where the letters stand and which have been replayed. Nothing is created.

    Raises:
        TopicError: there is no dead-letter topic.
        KafkaError: there is no broker, or it refuses us.
    """
    letters, replayed, output = settings.dead_letter_topic, settings.replayed_topic, settings.output_topic
    async with administering(settings) as admin:
        counts = await partition_counts(admin)
        largest = await largest_messages(admin, [output] if output in counts else [])
    if letters not in counts:
        raise not_created(settings, letters)
    async with reading(settings, max_partition_fetch_bytes=FETCH_BYTES) as consumer:
        ranges = await ranges_of(consumer, partitions_of(letters, counts))
        records = read_ranges(consumer, await ranges_of(consumer, partitions_of(replayed, counts)))
        log = ReplayLog(replayed, [message async for message in records])
        yield LetterStore(consumer, ranges, log, counts, largest.get(output))
