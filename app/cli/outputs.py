"""The commands `faust -A app outputs` and `faust -A app late`: what came out, and what came too late."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.cli.base import (
    FAILED,
    PlainCommand,
    command,
    complain,
    json_option,
    language,
    moment_option,
    option,
    shown_time,
    table_lines,
    terminal_width,
)
from app.cli.published import (
    NAME_SHOWN,
    TEXT_SHOWN,
    Output,
    Piece,
    StationOutcome,
    custom_outcome,
    is_single,
    json_line,
    late_outcome,
    late_pieces,
    outcome_text,
    outcomes_of,
    output_pieces,
)
from app.kafka.client import administering, reading
from app.kafka.reading import WAIT_MS, in_message, partitions_of, ranges_of, read_in_time
from app.kafka.topics import not_created, partition_counts
from app.messages.message import InMessage
from app.observability.log_lines import printable
from app.settings import Settings
from app.words import joined, told, words

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from app.worker.app import AggregatorApp

NEWEST: Final = 100  # are listed unless more are asked for
HEADINGS: Final = ("STATION", "STATUS", "RESULT")

Tell = Callable[[InMessage], Iterable[str] | None]
"""Lines that tell a message; None: it is not asked for."""


@dataclass(frozen=True, slots=True)
class Request:
    """The options of both commands; an empty tuple is no condition. `since` is Unix seconds."""

    follow: bool = False
    batch: tuple[str, ...] = ()
    station: tuple[str, ...] = ()
    since: float | None = None
    limit: int | None = None
    as_json: bool = False


def register_outputs(app: AggregatorApp) -> None:
    """Make `outputs` and `late` commands of `faust -A app`."""
    settings = app.settings
    options = _options(settings)

    @command(
        app,
        *options,
        zh="""显示输出：每个批次一行。

        \b
        faust -A app outputs --since 10m
        faust -A app outputs --batch BATCH_ID         该批次的各场站及其结果
        faust -A app outputs --station STATION_ID     各批次中该场站的结果
        faust -A app outputs --follow --json | jq .station_count

        退出码：指定的批次不存在为 1，选项有误为 2，否则为 0。
        """,
    )
    def outputs(self: PlainCommand, **given: Any) -> int:  # noqa: ARG001
        """Tell what came out: a line a batch.

        \b
        faust -A app outputs --since 10m
        faust -A app outputs --batch BATCH_ID         its stations with their results
        faust -A app outputs --station STATION_ID     what the batches said of a station
        faust -A app outputs --follow --json | jq .station_count

        The exit code is 1 when a batch that was asked for is not there, 2 when an option is wrong, else 0.
        """  # noqa: D301 - `\b` is click's
        return asyncio.run(tell_outputs(settings, Request(**given)))

    @command(
        app,
        *options,
        zh="""显示迟到的结果：每个结果一行。

        \b
        faust -A app late --since 10m
        faust -A app late --batch BATCH_ID --station STATION_ID

        退出码：指定的批次不存在为 1，选项有误为 2，否则为 0。
        """,
    )
    def late(self: PlainCommand, **given: Any) -> int:  # noqa: ARG001
        """Tell which results came too late for their batch: a line a result.

        \b
        faust -A app late --since 10m
        faust -A app late --batch BATCH_ID --station STATION_ID

        The exit code is 1 when a batch that was asked for is not there, 2 when an option is wrong, else 0.
        """  # noqa: D301 - `\b` is click's
        return asyncio.run(tell_late(settings, Request(**given)))


def _options(settings: Settings) -> tuple[Any, ...]:
    """Make the options of both commands."""
    return (
        option(
            settings,
            "--follow",
            is_flag=True,
            help=words("Go on with what comes, until Ctrl-C.", "持续显示新的消息，直到 Ctrl-C。"),
        ),
        option(
            settings,
            "--batch",
            multiple=True,
            metavar="ID",
            help=words("Of this batch; may be repeated.", "只显示该批次；可重复。"),
        ),
        option(
            settings,
            "--station",
            multiple=True,
            metavar="ID",
            help=words("Of this station; may be repeated.", "只显示该场站；可重复。"),
        ),
        moment_option(
            settings,
            "--since",
            words(
                "Written from a time on (2025-11-14T10:00:00), or 10m, 2h, 1d.",
                "从某时刻起写入的（2025-11-14T10:00:00），或 10m、2h、1d。",
            ),
        ),
        option(
            settings,
            "--limit",
            type=click.IntRange(min=1),
            help=words(
                "The newest so many; default {n}, with --json all.",
                "最新的多少条；默认 {n}，--json 时为全部。",
                n=NEWEST,
            ),
        ),
        json_option(
            settings,
            words(
                "A JSON object a line: the message, its place under `kafka`.",
                "每行一个 JSON 对象：消息本身，其位置在 `kafka` 之下。",
            ),
        ),
    )


async def tell_outputs(settings: Settings, request: Request) -> int:
    """Print what stands in the output topic, and return the command's exit code.

    Raises:
        TopicError: there is no such topic.
        KafkaError: there is no broker, or it refuses us.
    """
    return await _run(settings, settings.output_topic, request, output_teller(settings.timezone, request))


async def tell_late(settings: Settings, request: Request) -> int:
    """Print what stands in the late topic, and return the command's exit code; raises as `tell_outputs` does."""
    return await _run(settings, settings.late_topic, request, _late_teller(settings.timezone, request))


# -- reading -----------------------------------------------------------------------------------------------------------


async def _run(settings: Settings, topic: str, request: Request, tell: Tell) -> int:
    async with administering(settings) as admin:
        counts = await partition_counts(admin)
    if topic not in counts:
        raise not_created(settings, topic)
    shown = _Shown(tell, request)
    async with reading(settings) as consumer:
        ranges = await ranges_of(consumer, partitions_of(topic, counts), since=request.since)
        async for message in read_in_time(consumer, ranges):
            shown.take(message)
        shown.print_held()
        if request.follow:
            async for message in _follow(consumer, {tp: held.end for tp, held in ranges.items()}):
                shown.take(message)
    if shown.left_out:
        complain(
            words(
                "only the newest {n:message} told; --limit takes more",
                "只显示最新的 {n} 条；--limit 可取更多",
                n=shown.limit,
            )
        )
    if request.follow:
        return 0
    if shown.count:
        for batch_id in shown.absent:
            complain(
                words("nothing of {batch} in {topic}", "{topic} 中没有 {batch}", batch=printable(batch_id), topic=topic)
            )
        return FAILED if shown.absent else 0
    if request.batch or request.station or request.since:
        own = words(
            "; payloads of AGG_RESULT_HANDLER say nothing of stations that could be read here",
            "；AGG_RESULT_HANDLER 的消息内容不含此处可读取的场站",
        )
        complain(
            words(
                "nothing like that in {topic}{own}",
                "{topic} 中没有符合条件的消息{own}",
                topic=topic,
                own=own if request.station and settings.result_handler and topic == settings.output_topic else "",
            )
        )
    else:
        complain(words("nothing in {topic}", "{topic} 中没有消息", topic=topic))
    return FAILED if request.batch else 0


async def _follow(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> AsyncIterator[InMessage]:
    """Yield what is appended from these offsets on."""
    consumer.assign(list(ends))
    for tp, end in ends.items():
        consumer.seek(tp, end)
    while True:
        for records in (await consumer.getmany(timeout_ms=WAIT_MS)).values():
            for record in records:
                yield in_message(record)


class _Shown:
    """Prints what is asked for: the newest in the order of time, then what comes as it comes.

    JSON without a limit is printed as it is read, in the order of time as well: nothing of it is held.
    """

    def __init__(self, tell: Tell, request: Request) -> None:
        self.limit = request.limit or (None if request.as_json else NEWEST)
        self.count = 0
        self.absent = dict.fromkeys(request.batch)  # of which nothing has come
        self.left_out = False
        self._tell = tell
        self._held: list[tuple[float, int, int, list[str]]] | None = None if self.limit is None else []

    def take(self, message: InMessage) -> None:
        lines = self._tell(message)
        if lines is None:
            return
        self.count += 1
        self.absent.pop(_key(message), None)
        if self._held is None or self.limit is None:
            _print(lines)
            return
        entry = (message.timestamp, message.partition, message.offset, list(lines))
        if len(self._held) < self.limit:
            heapq.heappush(self._held, entry)
        else:
            heapq.heappushpop(self._held, entry)
            self.left_out = True

    def print_held(self) -> None:
        """Print what has been taken so far; what comes after it is printed at once."""
        for *_, lines in sorted(self._held or ()):
            _print(lines)
        self._held = None


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


# -- telling -----------------------------------------------------------------------------------------------------------


def output_teller(timezone: ZoneInfo, request: Request) -> Tell:
    """Return what tells a message of the output topic as a request asks."""

    def tell(message: InMessage) -> Iterable[str] | None:
        single = is_single(message)
        if not _asked(message, request, batch_id=None if single else _key(message)):
            return None
        wanted = request.station or (not request.as_json and (single or request.batch))
        found = list(outcomes_of(message.value)) if wanted else []
        if single and wanted and not found:
            found = [custom_outcome(message)]
        if request.station:
            found = [outcome for outcome in found if outcome.station_id in request.station]
            if not found:
                return None
        return [json_line(message).decode()] if request.as_json else lines(message, found, single=single)

    def lines(message: InMessage, found: Sequence[StationOutcome], *, single: bool) -> Iterable[str]:
        if single:
            return [_line(message, timezone, [(_named(outcome), "")]) for outcome in found]
        pieces = output_pieces(Output.read(message.key, message.value, dict(message.headers)))
        if request.batch:
            rest = _table(found) if found else [f"    {printable(custom_outcome(message).text, TEXT_SHOWN)}"]
            return [_line(message, timezone, pieces), *rest]
        if request.station:
            return [_line(message, timezone, [*pieces[:2], (f"  {_named(outcome)}", "")]) for outcome in found]
        return [_line(message, timezone, pieces)]

    return tell


def _late_teller(timezone: ZoneInfo, request: Request) -> Tell:
    def tell(message: InMessage) -> Iterable[str] | None:
        if not _asked(message, request, batch_id=_key(message)):
            return None
        outcome = late_outcome(message.value)
        if request.station and (outcome is None or outcome.station_id not in request.station):
            return None
        if request.as_json:
            return [json_line(message).decode()]
        pieces = late_pieces(message.key, message.value)
        if outcome is not None and outcome.text:
            pieces.append((f"  {printable(outcome.text, TEXT_SHOWN)}", ""))
        return [_line(message, timezone, pieces)]

    return tell


def _asked(message: InMessage, request: Request, *, batch_id: str | None) -> bool:
    if request.since is not None and message.timestamp < request.since:
        return False
    return not request.batch or batch_id in request.batch


def _key(message: InMessage) -> str:
    return (message.key or b"").decode(errors="replace")


def _named(outcome: StationOutcome) -> str:
    return f"{printable(outcome.station_id, NAME_SHOWN)}  {outcome_text(outcome)}"


def _line(message: InMessage, timezone: ZoneInfo, pieces: Iterable[Piece]) -> str:
    text = told(joined("", (piece for piece, _ in pieces)), language())
    return f"{shown_time(math.floor(message.timestamp), timezone)}  {text}"


def _table(found: Iterable[StationOutcome]) -> Iterator[str]:
    rows = [
        (printable(one.station_id, NAME_SHOWN), one.status, printable(one.text, TEXT_SHOWN) or "-") for one in found
    ]
    if rows:
        yield from ("    " + line for line in table_lines(HEADINGS, rows, terminal_width()))
