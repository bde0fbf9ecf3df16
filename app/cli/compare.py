"""The command `faust -A app compare`: the results of two topics, side by side."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.cli.base import argument

from app.cli.base import (
    FAILED,
    TEXT,
    CommandError,
    PlainCommand,
    Seconds,
    command,
    complain,
    moment_option,
    option,
    say,
)
from app.cli.result_comparison import Pair, ResultReader, StationResult, join
from app.inputs.timestamps import format_time
from app.kafka.client import administering, reading
from app.kafka.permissions import hidden_hint
from app.kafka.reading import partitions_of, ranges_of, read_ranges
from app.kafka.topics import partition_counts
from app.observability.log_lines import printable
from app.settings import Settings
from app.words import Words, joined, words
from tables.storage import exact_json

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from app.worker.app import AggregatorApp

SLACK = 3600.0  # seconds by which one side may have written a result before the other
RESULT_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Request:
    """The command's arguments. Times are Unix seconds, `within` is seconds."""

    old_topic: str
    new_topic: str
    since: float | None
    until: float | None
    within: float
    time_field: str | None
    limit: int


def register_compare(app: AggregatorApp) -> None:
    """Make `compare` a command of `faust -A app`."""
    settings = app.settings

    @command(
        app,
        argument("old_topic", type=TEXT),
        argument("new_topic", type=TEXT),
        moment_option(
            settings,
            "--since",
            words(
                "Written from a time on (2025-11-14T10:00:00), or 2h.",
                "从某时刻起写入的（2025-11-14T10:00:00），或 2h。",
            ),
        ),
        moment_option(
            settings,
            "--until",
            words("Written up to a time; 1m leaves out what is under way.", "到某时刻为止写入的；1m 略去正在处理的。"),
        ),
        option(
            settings,
            "--within",
            type=Seconds(or_zero=True),
            default=60.0,
            show_default=True,
            help=words("Seconds between what belongs together.", "同属一组的结果最多相隔多少秒。"),
        ),
        option(
            settings,
            "--time",
            "time_field",
            metavar="FIELD",
            help=words("Field of a station's message that has the batch's time.", "单场站消息中存放批次时间的字段。"),
        ),
        option(
            settings,
            "--limit",
            type=click.IntRange(min=0),
            default=100,
            show_default=True,
            help=words("Differences to show.", "最多显示多少处不同。"),
        ),
        zh="""比较两个输出主题中的结果：每个场站一条或每个批次一条均可。

        按场站和时间配对，只比较模型返回的内容；批次以其最后一次修订为准。退出码：有结果且两边都有且相同为 0，否则为 1。
        """,
    )
    def compare(self: PlainCommand, **options: Any) -> int:  # noqa: ARG001
        """Compare the results in two output topics: one message a station, or one a batch, in either of them.

        Results are joined by station and time, and only what the model has returned is compared. Of a batch its last
        revision counts. The exit code is 0 when there are results and all are on both sides and the same, else 1.
        """
        return asyncio.run(_compare(settings, Request(**options)))


async def _compare(settings: Settings, request: Request) -> int:
    topics = (request.old_topic, request.new_topic)
    async with administering(settings) as admin:
        counts = await partition_counts(admin)
    for topic in topics:
        if topic not in counts:
            message = words(
                "there is no topic {topic}{hint}", "没有主题 {topic}{hint}", topic=topic, hint=hidden_hint(settings)
            )
            raise CommandError(message)
    async with reading(settings) as consumer:
        old, new = [await _read(settings, request, consumer, partitions_of(topic, counts)) for topic in topics]
    since = -math.inf if request.since is None else request.since
    until = math.inf if request.until is None else request.until
    joined = join(old.results(), new.results(), within=request.within)
    pairs = [pair for pair in joined if pair.within(since, until)]
    different = [pair for pair in pairs if not pair.same]
    for line in [line for pair in different[: request.limit] for line in _lines(pair, request, settings.timezone)]:
        say(line)
    unreadable = [*old.unreadable, *new.unreadable]
    for place in unreadable[: request.limit]:
        complain(
            words("{place}: no result of a station can be read in it", "{place}：其中没有可读取的场站结果", place=place)
        )
    timeless = [*old.timeless, *new.timeless]
    if timeless:
        complain(
            words(
                "{n:message} without a time in the field {field} (--time), the first is {place}",
                "{n} 条消息的字段 {field}（--time）中没有时间，第一条是 {place}",
                n=len(timeless),
                field=request.time_field,
                place=timeless[0],
            )
        )
    say(_summary(pairs, request, len(unreadable) + len(timeless)))
    if (
        request.time_field is None
        and any(pair.old is None for pair in pairs)
        and any(pair.new is None for pair in pairs)
    ):
        complain(
            words(
                "joined by when they were written; --time FIELD joins them by a time that they have themselves",
                "按写入时间配对；--time FIELD 可按结果自身的时间配对",
            )
        )
    if joined and not pairs:
        complain(
            words(
                "{n:result} written outside of --since and --until left out",
                "略去 {n} 个不在 --since 与 --until 之间写入的结果",
                n=len(joined),
            )
        )
    return FAILED if different or unreadable or timeless or not pairs else 0


async def _read(
    settings: Settings, request: Request, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
) -> ResultReader:
    reader = ResultReader(settings.timezone, request.time_field)
    since = None if request.since is None else request.since - SLACK
    async for message in read_ranges(consumer, await ranges_of(consumer, partitions, since=since)):
        reader.take(message)
    return reader


def _lines(pair: Pair, request: Request, timezone: ZoneInfo) -> list[str]:
    result = pair.results[0]
    about = f"{format_time(math.floor(result.at), timezone)}  {printable(result.station_id, len(result.station_id))}"
    if pair.old is None or pair.new is None:
        topic = request.old_topic if pair.new is None else request.new_topic
        return [
            words(
                "{about}  only in {topic}: {shown}",
                "{about}  只在 {topic} 中：{shown}",
                about=about,
                topic=topic,
                shown=_shown(result),
            )
        ]
    return [
        words("{about}  differs", "{about}  不同", about=about),
        f"    {_shown(pair.old)}",
        f"    {_shown(pair.new)}",
    ]


def _shown(result: StationResult) -> str:
    return f"{result.place}  {printable(exact_json.dumps(result.value).decode(), RESULT_SHOWN)}"


def _summary(pairs: list[Pair], request: Request, unreadable: int) -> Words:
    if not pairs:
        return words("there are no results to compare", "没有可比较的结果")
    only_old = sum(pair.new is None for pair in pairs)
    only_new = sum(pair.old is None for pair in pairs)
    same = sum(pair.same for pair in pairs)
    parts = [
        words("{n} the same", "{n} 个相同", n=same),
        words("{n} different", "{n} 个不同", n=len(pairs) - same - only_old - only_new),
        words("{n} only in {topic}", "{n} 个只在 {topic} 中", n=only_old, topic=request.old_topic),
        words("{n} only in {topic}", "{n} 个只在 {topic} 中", n=only_new, topic=request.new_topic),
    ]
    if unreadable:
        parts.append(words("{n} unreadable", "{n} 个无法读取", n=unreadable))
    return joined(", ", parts)
