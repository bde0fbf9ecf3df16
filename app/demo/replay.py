"""Sends the sample data, reads what comes out, and prints it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from app.cli.published import Output
from app.cli.send import create_source_topic
from app.demo.outputs import Tally, dead_letter_line, late_line, output_line
from app.demo.sample import PUSHES, load_stations, make_push, shares_of
from app.inputs.source_message import batch_id
from app.kafka.client import administering, reading
from app.kafka.producer import producing
from app.kafka.topics import ensure_topics, not_created
from app.messages.dead_letters import Reason
from app.settings import Settings

PACE: Final = 0.5  # seconds between two batches of a replay that ends
LIVE_PACE: Final = 0.4  # of a batch's time, in one that does not: one or two are always in flight
KEPT_SECONDS: Final = 120.0  # for which more than a count is kept of a batch that has come out
POLL_MS: Final = 200
OUTPUT_PATIENCE: Final = 30.0  # for an output, beyond its batch's deadline
LATE_PATIENCE: Final = 5.0  # for the late results of the last output


async def create_source_topics(settings: Settings) -> None:
    """Create the source topics that are missing, as a plant's side would have done.

    Raises:
        BrokerError: there is no broker, or it refuses us.
        TopicError: a topic of ours is not as it has to be, or one can't be created.
    """
    counts = await ensure_topics(settings, patience=settings.broker_patience, create=False)
    async with administering(settings) as admin:
        for topic in settings.source_topics:
            if topic not in counts:
                await create_source_topic(admin, settings, topic)


@dataclass(frozen=True, slots=True)
class Playback:
    """The sample data on its way in, and what comes out of it.

    Attributes:
        settings: whose topics.
        consumer: reads the output, late and dead-letter topics from where they ended at first.
        tally: counts the batches.
        console: gets a line for each message.
        check: raises when something has ended that should not have.
    """

    settings: Settings
    consumer: AIOKafkaConsumer
    tally: Tally
    console: Console
    check: Callable[[], None]

    async def replay(self, begin: int) -> None:
        """Send all batches; return when they have come out, with their late results, or when that takes too long.

        Args:
            begin: Unix seconds, of before; the batches are of this second and the next ones.
        """
        tally = self.tally
        progress = Progress(
            TextColumn("{task.fields[sent]} sent"),
            BarColumn(),
            TextColumn("{task.completed:.0f} of {task.total:.0f} batches have come out"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        with progress:
            bar = progress.add_task("", total=PUSHES, sent=0)
            sending = asyncio.create_task(self._send(begin, live=False))
            try:
                while True:
                    if sending.done():
                        sending.result()
                        if self._is_over():
                            break
                    await self._read()
                    progress.update(bar, sent=len(tally.sent), completed=len(tally.outputs))
                    self.check()
            finally:
                sending.cancel()
                await asyncio.wait([sending])
        for partition, end in (await self.consumer.end_offsets(self.consumer.assignment())).items():
            while await self.consumer.position(partition) < end:
                await self._read()

    async def go_on(self, begin: int) -> None:
        """Send one batch after the other and print what comes out, until something ends that should not."""
        sending = asyncio.create_task(self._send(begin, live=True))
        try:
            while True:
                if sending.done():
                    sending.result()
                await self._read()
                self.tally.settle(time.time() - KEPT_SECONDS)
                self.check()
        finally:
            sending.cancel()
            await asyncio.wait([sending])

    async def _send(self, begin: int, *, live: bool) -> None:
        settings = self.settings
        stations = load_stations()
        topic = settings.source_topics[0]
        pace, step = (live_pace(settings), live_pace(settings)) if live else (PACE, 1)
        loop = asyncio.get_running_loop()
        async with producing(settings) as producer:
            next_at = loop.time()
            for number in count(1) if live else range(1, PUSHES + 1):
                shares = shares_of(number, stations) if live else {}
                push = make_push(number, stations, begin + (number - 1) * step, settings.timezone, shares)
                # Never ahead of the clock, or a run that begins right after this one would make the same batch ids.
                await asyncio.sleep(max(next_at - loop.time(), push.timestamp - time.time()))
                next_at = loop.time() + pace
                self.tally.sent[batch_id(topic, push.timestamp)] = time.time()
                await producer.send_and_wait(topic, push.value)

    def _is_over(self) -> bool:
        tally, now = self.tally, time.time()
        deadline = max(tally.sent.values()) + self.settings.batch_timeout
        if tally.awaited:
            return now > deadline + OUTPUT_PATIENCE
        return tally.late >= tally.owed or now > deadline + LATE_PATIENCE

    async def _read(self) -> None:
        read = await self.consumer.getmany(timeout_ms=POLL_MS)
        messages = [message for messages in read.values() for message in messages]
        for message in sorted(messages, key=lambda message: int(message.timestamp)):
            self._show(message)

    def _show(self, message: Any) -> None:
        settings, tally = self.settings, self.tally
        language = settings.log_language
        at = datetime.fromtimestamp(message.timestamp / 1000, UTC).astimezone()
        headers = dict(message.headers)
        if message.topic == settings.output_topic:
            output = Output.read(message.key, message.value, headers)
            tally.take(output)
            line = output_line(output, at, language)
        elif message.topic == settings.late_topic:
            tally.late += (message.key or b"").decode(errors="replace") in tally.sent
            line = late_line(message.key, message.value, at, language)
        else:
            batch = headers.get("batch-id", b"").decode(errors="replace")
            tally.dead_letters += batch in tally.sent
            if batch in tally.sent and headers.get("reason") == Reason.DISCARDED.encode():
                tally.discarded.add(batch)
            line = dead_letter_line(headers, at, language)
        self.console.print(line, highlight=False, soft_wrap=True)


def live_pace(settings: Settings) -> int:
    """Return the seconds between two batches of a replay that does not end."""
    return max(1, round(LIVE_PACE * settings.batch_timeout))


@asynccontextmanager
async def open_playback(
    settings: Settings, tally: Tally, console: Console, check: Callable[[], None]
) -> AsyncIterator[Playback]:
    """Stand at the end of the topics that the worker writes; it has created them.

    Raises:
        TopicError: it has not: another program's worker has answered in its place.
    """
    counts = await ensure_topics(settings, patience=settings.broker_patience, create=False)
    topics = (settings.output_topic, settings.late_topic, settings.dead_letter_topic)
    for topic in topics:
        if topic not in counts:
            check()
            raise not_created(settings, topic)
    partitions = [TopicPartition(topic, number) for topic in topics for number in range(counts[topic])]
    async with reading(settings) as consumer:
        consumer.assign(partitions)
        for partition, end in (await consumer.end_offsets(partitions)).items():
            consumer.seek(partition, end)
        yield Playback(settings, consumer, tally, console, check)
