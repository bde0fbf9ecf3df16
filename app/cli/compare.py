"""The command `faust -A app compare`: the results of two topics, side by side."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from faust.cli.base import argument, option

from app.cli.base import FAILED, INTERRUPTED, PlainCommand, plain_command, stop_writing
from app.cli.check import broker_problem
from app.cli.dead_letters.filters import parse_since
from app.cli.result_comparison import Found, Pair, Reader, join
from app.cli.send import NoTopic
from app.inputs.timestamps import format_time
from app.kafka.client import administering, reading
from app.kafka.reading import ranges_of, read_ranges
from app.kafka.topics import partition_counts
from app.observability.log_lines import printable
from app.settings import Settings

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from app.worker.app import AggregatorApp

__all__ = ["register_compare"]

SLACK = 3600.0  # seconds by which one side may have written a result before the other
RESULT_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Request:
    """What the command's arguments ask for. Times are Unix seconds."""

    old_topic: str
    new_topic: str
    since: float
    until: float
    within: float
    time_field: str | None
    limit: int


def register_compare(app: AggregatorApp) -> None:
    """Make `compare` a command of `faust -A app`."""
    settings = app.settings
    command = plain_command(app)

    def time_of(_context: click.Context, parameter: click.Parameter, text: str | None) -> float:
        try:
            if text is None:
                return -math.inf if parameter.name == "since" else math.inf
            return parse_since(text, settings.timezone, time.time())
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    @command(
        argument("old_topic"),
        argument("new_topic"),
        option(
            "--since", callback=time_of, metavar="TIME", help="Written from a time on (2025-11-14T10:00:00), or 2h."
        ),
        option(
            "--until", callback=time_of, metavar="TIME", help="Written up to a time; 1m leaves out what is under way."
        ),
        option(
            "--within",
            type=click.FloatRange(min=0),
            default=60.0,
            show_default=True,
            help="Seconds between what belongs together.",
        ),
        option("--time", "time_field", metavar="FIELD", help="Field of a station's message that has the batch's time."),
        option("--limit", type=click.IntRange(min=0), default=100, show_default=True, help="Differences to show."),
    )
    def compare(self: PlainCommand, **options: Any) -> int:  # noqa: ARG001
        """Compare the results in two output topics: one message a station, or one a batch, in either of them.

        Results are joined by station and time, and only what the model has returned is compared. Of a batch its last
        revision counts. The exit code is 0 when there are results and all are on both sides and the same, else 1.
        """
        try:
            return asyncio.run(_compare(settings, Request(**options)))
        except NoTopic as error:
            click.echo(str(error), err=True)
        except BrokenPipeError:
            stop_writing()
        except (KafkaError, OSError) as error:
            click.echo(broker_problem(settings, error), err=True)
        except KeyboardInterrupt:
            return INTERRUPTED
        return FAILED


async def _compare(settings: Settings, request: Request) -> int:
    async with _opened(settings, request) as (consumer, counts):
        old, new = [
            await _read(settings, request, consumer, _partitions(topic, counts))
            for topic in (request.old_topic, request.new_topic)
        ]
    pairs = [
        pair
        for pair in join(old.results(), new.results(), within=request.within)
        if pair.within(request.since, request.until)
    ]
    different = [pair for pair in pairs if not pair.same]
    for line in [line for pair in different[: request.limit] for line in _lines(pair, request, settings.timezone)]:
        click.echo(line)
    for place in [*old.unreadable, *new.unreadable][: request.limit]:
        click.echo(f"{place}: no result of a station can be read in it", err=True)
    unreadable = len(old.unreadable) + len(new.unreadable)
    click.echo(_summary(pairs, request, unreadable))
    return FAILED if different or unreadable or not pairs else 0


@asynccontextmanager
async def _opened(settings: Settings, request: Request) -> AsyncIterator[tuple[AIOKafkaConsumer, dict[str, int]]]:
    async with administering(settings) as admin:
        counts = await partition_counts(admin)
    for topic in (request.old_topic, request.new_topic):
        if topic not in counts:
            message = f"there is no topic {topic}"
            raise NoTopic(message)
    async with reading(settings) as consumer:
        yield consumer, counts


async def _read(
    settings: Settings, request: Request, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]
) -> Reader:
    reader = Reader(settings.timezone, request.time_field)
    since = None if request.since == -math.inf else request.since - SLACK
    async for message in read_ranges(consumer, await ranges_of(consumer, partitions, since=since)):
        reader.take(message)
    return reader


def _partitions(topic: str, counts: dict[str, int]) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for number in range(counts[topic])]


def _lines(pair: Pair, request: Request, timezone: ZoneInfo) -> list[str]:
    one = pair.found[0]
    about = f"{format_time(math.floor(one.at), timezone)}  {printable(one.station_id, len(one.station_id))}"
    if pair.old is None or pair.new is None:
        topic = request.old_topic if pair.new is None else request.new_topic
        return [f"{about}  only in {topic}: {_shown(one)}"]
    return [f"{about}  differs", f"    {_shown(pair.old)}", f"    {_shown(pair.new)}"]


def _shown(found: Found) -> str:
    return f"{found.place}  {printable(orjson.dumps(found.result).decode(), RESULT_SHOWN)}"


def _summary(pairs: list[Pair], request: Request, unreadable: int) -> str:
    if not pairs:
        return "there are no results to compare"
    only_old = sum(pair.new is None for pair in pairs)
    only_new = sum(pair.old is None for pair in pairs)
    same = sum(pair.same for pair in pairs)
    parts = [
        f"{same} the same",
        f"{len(pairs) - same - only_old - only_new} different",
        f"{only_old} only in {request.old_topic}",
        f"{only_new} only in {request.new_topic}",
    ]
    if unreadable:
        parts.append(f"{unreadable} unreadable")
    return ", ".join(parts)
