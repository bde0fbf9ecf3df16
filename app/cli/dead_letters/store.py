"""The letters on the broker: which are asked for, finding and reading them, and which have been replayed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.cli.base import not_created
from app.kafka.client import administering, reading
from app.kafka.reading import OffsetRange, partitions_of, ranges_of, read_ranges
from app.kafka.topics import largest_messages, partition_counts
from app.messages.dead_letters import Letter, light, read_letter
from app.messages.message import InMessage, OutMessage
from app.settings import Settings

CHUNK_LETTERS = 200  # whose values are held at once
CHUNK_BYTES = 32 * 1024 * 1024

FETCH_BYTES = 4 * 1024 * 1024  # of a partition at once; a larger letter comes alone
CLOCK_SLACK = 24 * 3600.0  # seconds by which a plant's clock, which `failed-at` may come from, may be fast
LOG_FORMAT = 1  # version of the records of what has been replayed

_PLACE = re.compile(r"([0-9]{1,9})@([0-9]{1,18})")


# -- which letters ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions that a letter has to meet; an empty set is none. `since` is Unix seconds, compared to `failed_at`."""

    reasons: frozenset[str] = frozenset()
    batches: frozenset[str] = frozenset()
    stations: frozenset[str] = frozenset()
    since: float | None = None

    def match(self, letter: Letter) -> bool:
        """Tell whether the letter is one of those that are asked for."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.batches or letter.batch_id in self.batches)
            and (not self.stations or letter.station_id in self.stations)
            and (self.since is None or letter.failed_at >= self.since)
        )


def parse_place(text: str) -> tuple[int, int]:
    """Partition and offset of `PARTITION@OFFSET`.

    Raises:
        ValueError: it has another form.
    """
    found = _PLACE.fullmatch(text)
    if found is None:
        message = f"{text!r} is not of the form PARTITION@OFFSET, such as 3@17"
        raise ValueError(message)
    return int(found[1]), int(found[2])


def newest(letters: Iterable[Letter], limit: int | None) -> list[Letter]:
    """Return the newest letters, at most `limit`, in the order of their times."""
    ordered = sorted(letters, key=lambda letter: (letter.failed_at, letter.partition, letter.offset))
    return ordered if limit is None else ordered[len(ordered) - min(limit, len(ordered)) :]


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


# -- what has been replayed ------------------------------------------------------------------------------------------


class ReplayLog:
    """The letters that have been replayed, as the compacted topic `<app id>-replayed` has them. Pure.

    The key is the letter's place. A dead-letter topic that was deleted and created again has other letters at the same
    places, so a record also says when its letter was written.
    """

    def __init__(self, topic: str, messages: Iterable[InMessage]) -> None:
        """Read all messages of the topic, each key's in the order of their offsets. Foreign ones are passed over."""
        self._topic = topic
        self._known: dict[bytes, tuple[float, float]] = {}  # place -> letter's writing, last replay: Unix seconds
        for message in messages:
            if message.value is None:
                self._known.pop(message.key or b"", None)
            elif (times := _decode(message.value)) is not None:
                self._known[message.key or b""] = times

    def replayed_at(self, letter: Letter) -> float | None:
        """Return when the letter was replayed last, Unix seconds; None: never."""
        written_at, replayed_at = self._known.get(letter.place.encode(), (None, None))
        return replayed_at if written_at == letter.written_at else None

    def record(self, letter: Letter, now: float) -> OutMessage:
        """Make the record of a letter that is replayed now."""
        value = {"v": LOG_FORMAT, "written_at": letter.written_at, "replayed_at": now}
        return OutMessage(self._topic, orjson.dumps(value), key=letter.place.encode())

    def tombstones(self, first_offsets: Mapping[int, int]) -> list[OutMessage]:
        """Make those for letters that are gone: before the first offset of their partition, or in no partition."""
        return [OutMessage(self._topic, None, key=key) for key in self._known if _is_gone(key, first_offsets)]


def _decode(value: bytes) -> tuple[float, float] | None:
    try:
        record = orjson.loads(value)
        return float(record["written_at"]), float(record["replayed_at"])
    except (ValueError, TypeError, LookupError):
        return None


def _is_gone(key: bytes, first_offsets: Mapping[int, int]) -> bool:
    try:
        partition, offset = parse_place(key.decode(errors="replace"))
    except ValueError:
        return True
    return partition not in first_offsets or offset < first_offsets[partition]


# -- the letters on the broker ---------------------------------------------------------------------------------------


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
        ranges = {}
        for tp, held in self.ranges.items():
            offsets = [
                offset for number, offset in places if number == tp.partition and held.start <= offset < held.end
            ]
            if offsets:
                ranges[tp] = OffsetRange(min(offsets), max(offsets) + 1)
        asked = set(places)
        messages = read_ranges(self.consumer, ranges)
        found = {at: read_letter(read) async for read in messages if (at := (read.partition, read.offset)) in asked}
        return [found[at] for at in places if at in found]


@asynccontextmanager
async def open_letters(settings: Settings) -> AsyncIterator[LetterStore]:
    """Connect, and see where the letters stand and which have been replayed. Nothing is created.

    Raises:
        CommandError: there is no dead-letter topic.
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
