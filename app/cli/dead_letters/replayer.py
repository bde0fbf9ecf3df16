"""Sending letters again: each is confirmed by the broker before it is remembered as replayed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from app.cli.dead_letters.replay import CannotReplay, Replay
from app.cli.dead_letters.replay_log import ReplayMemory
from app.kafka.client import administering, client_options
from app.kafka.topics import create_and_wait, message_bytes, topic_specs
from app.messages.dead_letters import Letter
from app.messages.message import Clock, OutMessage
from app.observability.log_lines import printable
from app.settings import Settings

__all__ = ["Resender", "Tally", "producing"]

CREATE_SECONDS = 10.0


@dataclass(slots=True)
class Tally:
    """How many letters were sent; how many can't be, whatever is done; and how many could not be sent now."""

    sent: int = 0
    skipped: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Resender:
    """Sends letters again, and remembers it.

    Attributes:
        replay: what is sent for a letter.
        counts: the partitions of every topic of the cluster.
        memory: makes the record of what has been replayed.
        producer: None only says what would be sent.
        clock: Unix seconds.
        tell: gets a line for each letter that is sent.
        complain: gets a line for each that is not.
        tally: is counted up, so that it is right also if this is interrupted.
    """

    replay: Replay
    counts: Mapping[str, int]
    memory: ReplayMemory
    producer: AIOKafkaProducer | None
    clock: Clock
    tell: Callable[[str], None]
    complain: Callable[[str], None]
    tally: Tally = field(default_factory=Tally)

    async def resend(self, letters: Sequence[Letter]) -> None:
        """Send some letters, in their order, and remember those that the broker has confirmed.

        Raises:
            KafkaError: what has been sent could not be remembered.
        """
        sendings = [(letter, await self._send(letter)) for letter in letters]
        confirmed = [letter for letter, sending in sendings if sending and await self._is_confirmed(letter, sending)]
        if self.producer is not None:
            now = self.clock()
            await self.store([self.memory.record(letter, now) for letter in confirmed])

    async def store(self, records: Sequence[OutMessage]) -> None:
        """Write to the memory.

        Raises:
            KafkaError: it could not be written.
        """
        if self.producer is not None:
            appended = [await _append(self.producer, record) for record in records]
            await asyncio.gather(*appended)

    async def _send(self, letter: Letter) -> list[Awaitable[Any]]:
        """Append what is sent for a letter; empty when nothing is."""
        try:
            messages = self.replay.messages(letter)
        except CannotReplay as error:
            self.tally.skipped += 1
            self.complain(f"{name_of(letter)}: not sent: {error}")
            return []
        topic = messages[0].topic
        if topic not in self.counts:
            self._fail(letter, f"there is no topic {topic}")
            return []
        if self.producer is None:
            self.tally.sent += 1
            self.tell(f"{name_of(letter)}: would be sent to {topic}")
            return []
        appended: list[Awaitable[Any]] = []
        try:
            for message in messages:
                appended.append(await _append(self.producer, message))  # noqa: PERF401 - keeps what was, if one fails
        except KafkaError as error:
            await asyncio.gather(*appended, return_exceptions=True)
            self._fail(letter, error)
            return []
        return appended

    async def _is_confirmed(self, letter: Letter, sending: Sequence[Awaitable[Any]]) -> bool:
        places = []
        for result in await asyncio.gather(*sending, return_exceptions=True):
            if isinstance(result, BaseException):
                self._fail(letter, result)
                return False
            places.append(f"{result.topic}[{result.partition}]@{result.offset}")
        self.tally.sent += 1
        self.tell(f"{name_of(letter)}: sent to {', '.join(places)}")
        return True

    def gone(self, letters: Sequence[Letter]) -> None:
        """These letters were there when they were looked for."""
        for letter in letters:
            self._fail(letter, "it is gone")

    def _fail(self, letter: Letter, error: object) -> None:
        self.tally.failed += 1
        self.complain(f"{name_of(letter)}: not sent: {error or repr(error)}")


@asynccontextmanager
async def producing(settings: Settings, counts: Mapping[str, int]) -> AsyncIterator[AIOKafkaProducer]:
    """A producer for letters and for the memory, whose topic is created if a worker has not done so.

    Raises:
        KafkaError: there is no broker, or it refuses us.
        TopicError: the memory's topic can't be created.
    """
    if settings.replayed_topic not in counts:
        (spec,) = (spec for spec in topic_specs(settings) if spec.name == settings.replayed_topic)
        async with administering(settings) as admin:
            await create_and_wait(admin, [spec], patience=CREATE_SECONDS)
    producer = AIOKafkaProducer(**client_options(settings), acks="all", max_request_size=message_bytes(settings))
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()


def name_of(letter: Letter) -> str:
    """The letter in a line that tells of it."""
    known = {"station": letter.station_id, "batch": letter.batch_id}
    about = "".join(f", {what} {printable(name, len(name))}" for what, name in known.items() if name)
    return f"{letter.place} {letter.reason or 'without a reason'}{about}"


async def _append(producer: AIOKafkaProducer, message: OutMessage) -> Awaitable[Any]:
    future: Awaitable[Any] = await producer.send(
        message.topic,
        message.value,
        key=message.key,
        partition=message.partition,
        headers=list(message.headers),
    )
    return future
