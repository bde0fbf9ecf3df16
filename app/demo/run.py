"""Sends the replay, reads what comes out, says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from app.demo.printing import dead_letter_line, late_line, output_line
from app.demo.replay import PUSHES, make_push
from app.demo.sample import load_stations
from app.demo.tally import Output, Tally
from app.inputs.source_message import batch_id
from app.kafka.client import administering, client_options
from app.kafka.topics import INTERNAL_MESSAGE_BYTES, create_topics, ensure_topics, source_spec
from app.settings import Settings

__all__ = ["Outlet", "create_source_topics", "follow", "open_outlet", "replay"]

PACE: Final = 0.5  # seconds between two batches
POLL_MS: Final = 200
OUTPUT_PATIENCE: Final = 30.0  # for an output, beyond its batch's deadline
STOP_WITHIN: Final = 2.0
LATE_PATIENCE: Final = 5.0  # for the late results of the last output


class Outlet(NamedTuple):
    """A consumer that stands where new messages of the output, late and dead-letter topics will come."""

    consumer: AIOKafkaConsumer
    partitions: list[TopicPartition]


async def create_source_topics(settings: Settings) -> None:
    """Create the source topics that are missing, as a plant's side would have done.

    Raises:
        BrokerError: there is no broker, or it refuses us.
        TopicError: a topic of ours is not as it has to be.
        KafkaError: one can't be created.
    """
    counts = await ensure_topics(settings, patience=settings.broker_patience, create=False)
    missing = [topic for topic in settings.source_topics if topic not in counts]
    if missing:
        async with administering(settings) as admin:
            await create_topics(admin, [source_spec(settings, topic) for topic in missing])


@asynccontextmanager
async def open_outlet(settings: Settings) -> AsyncIterator[Outlet]:
    """Stand at the end of the topics that the worker writes; it has created them."""
    counts = await ensure_topics(settings, patience=settings.broker_patience, create=False)
    topics = (settings.output_topic, settings.late_topic, settings.dead_letter_topic)
    partitions = [TopicPartition(topic, number) for topic in topics for number in range(counts[topic])]
    consumer = AIOKafkaConsumer(**client_options(settings), enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign(partitions)
        for partition, end in (await consumer.end_offsets(partitions)).items():
            consumer.seek(partition, end)
        yield Outlet(consumer, partitions)
    finally:
        await _stop(consumer)


async def replay(
    settings: Settings, outlet: Outlet, tally: Tally, console: Console, *, begin: int, check: Callable[[], None]
) -> None:
    """Send all batches; return when they have come out, with their late results, or when that takes too long.

    Args:
        settings: whose topics and names.
        outlet: where they come out.
        tally: counts them.
        console: gets a line for each message.
        begin: Unix seconds, of before; the batches are of this second and the next ones.
        check: raises when something has ended that should not have.
    """
    progress = Progress(
        TextColumn("{task.fields[sent]} sent"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} batches have come out"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        task = progress.add_task("", total=PUSHES, sent=0)

        def show() -> None:
            progress.update(task, sent=len(tally.sent), completed=len(tally.outputs))

        sending = asyncio.create_task(_send(settings, tally, begin=begin, show=show))
        try:
            while True:
                if sending.done():
                    sending.result()
                    if _is_over(settings, tally):
                        break
                await _read(settings, outlet, tally, console)
                show()
                check()
        finally:
            sending.cancel()
            await asyncio.wait([sending])
        await _read_to_the_end(settings, outlet, tally, console)


async def follow(
    settings: Settings, outlet: Outlet, tally: Tally, console: Console, *, check: Callable[[], None]
) -> None:
    """Go on saying what comes out, until `check` raises."""
    while True:
        await _read(settings, outlet, tally, console)
        check()


async def _send(settings: Settings, tally: Tally, *, begin: int, show: Callable[[], None]) -> None:
    stations = load_stations()
    topic = settings.source_topics[0]
    loop = asyncio.get_running_loop()
    producer = AIOKafkaProducer(**client_options(settings), acks="all", max_request_size=INTERNAL_MESSAGE_BYTES)
    await producer.start()
    try:
        next_at = loop.time()
        for number in range(1, PUSHES + 1):
            push = make_push(number, stations, begin + number - 1, settings.timezone)
            # Never ahead of the clock, or a run that begins right after this one would make the same batch ids.
            await asyncio.sleep(max(next_at - loop.time(), push.timestamp - time.time()))
            next_at = loop.time() + PACE
            tally.sent[batch_id(topic, push.timestamp)] = time.time()
            await producer.send_and_wait(topic, push.value)
            show()
    finally:
        await _stop(producer)


async def _stop(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    # When the broker has gone away, a producer would wait for it, and a consumer's `stop` raises CancelledError: the
    # cancellation of its own tasks. Neither must hide what has happened.
    await asyncio.wait([asyncio.create_task(client.stop())], timeout=STOP_WITHIN)


def _is_over(settings: Settings, tally: Tally) -> bool:
    now = time.time()
    if tally.awaited:
        return now > max(tally.sent.values()) + settings.batch_timeout + OUTPUT_PATIENCE
    return tally.late >= tally.owed or now > max(tally.sent.values()) + settings.batch_timeout + LATE_PATIENCE


async def _read(settings: Settings, outlet: Outlet, tally: Tally, console: Console) -> None:
    read = await outlet.consumer.getmany(timeout_ms=POLL_MS)
    for message in sorted((message for messages in read.values() for message in messages), key=_age):
        _show(settings, tally, message, partial(console.print, highlight=False, soft_wrap=True))


async def _read_to_the_end(settings: Settings, outlet: Outlet, tally: Tally, console: Console) -> None:
    ends = await outlet.consumer.end_offsets(outlet.partitions)
    for partition, end in ends.items():
        while await outlet.consumer.position(partition) < end:
            await _read(settings, outlet, tally, console)


def _show(settings: Settings, tally: Tally, message: Any, say: Callable[..., None]) -> None:
    at = datetime.fromtimestamp(message.timestamp / 1000, UTC).astimezone()
    headers = dict(message.headers)
    if message.topic == settings.output_topic:
        output = Output.read(message.key, message.value, headers)
        tally.take(output)
        say(output_line(output, at))
    elif message.topic == settings.late_topic:
        tally.late += (message.key or b"").decode(errors="replace") in tally.sent
        say(late_line(message.key, message.value, at))
    else:
        tally.dead_letters += headers.get("batch-id", b"").decode(errors="replace") in tally.sent
        say(dead_letter_line(headers, at))


def _age(message: Any) -> int:
    return int(message.timestamp)
