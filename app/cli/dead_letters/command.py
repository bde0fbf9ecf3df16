"""The command `faust -A app dead-letters`: its options, the replay that it starts, and how letters are shown.

What stands in a letter comes from outside: in the forms for a terminal, what is not printable is escaped.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click
import orjson

from app.cli.base import (
    FAILED,
    ParsedOption,
    PlainCommand,
    command,
    complain,
    json_option,
    moment_option,
    not_read,
    option,
    say,
    shown_time,
    table_lines,
    terminal_width,
)
from app.kafka.letters import LetterStore, chunks, open_letters
from app.kafka.replay import Replayer, ReplayRules, open_replay_producer, replayer_of, unread_topics
from app.messages.dead_letters import Letter, Reason, last_line, place_of
from app.messages.replays import Fate, Filters, Replay, parse_place
from app.observability.log_lines import printable
from app.settings import Settings
from app.words import Words, counted_word, joined, words

if TYPE_CHECKING:
    from app.worker.app import AggregatorApp

HEADINGS = ("TIME", "REASON", "BATCH", "STATION", "SOURCE", "LETTER", "REPLAYED", "ERROR")
NAME_SHOWN = 80
ERROR_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Request:
    """The command's options."""

    filters: Filters
    limit: int | None
    as_json: bool
    place: tuple[int, int] | None
    replay: bool
    again: bool
    dry_run: bool


def register_dead_letters(app: AggregatorApp) -> None:
    """Make `dead-letters` a command of `faust -A app`."""
    settings = app.settings

    @command(
        app,
        *_options(settings),
        zh="""列出死信，或重新发送。

        不带选项时：以表格按时间列出现有的全部死信。

        --replay 把坏消息、坏记录和失败场站的死信重新发到其源主题，并入原来的批次：
        批次未关闭时算按时，已关闭时算迟到，但不会建立批次。丢弃的批次则发布其内容。已重发的会被记住。

        退出码：有读不出或发不出的为 1，选项有误为 2，否则为 0。
        """,
    )
    def dead_letters(
        self: PlainCommand,  # noqa: ARG001
        *,
        reason: tuple[str, ...],
        batch: tuple[str, ...],
        station: tuple[str, ...],
        since: float | None,
        **more: Any,
    ) -> int:
        """List dead letters, or send them again.

        Without options: a table of all letters that there are now, in the order of their times.

        --replay sends letters of bad messages, bad records and failed stations to their source topic again, where
        they join the batch that they were of: in time while it is open, late when it is closed. They never open one.
        The payload of a discarded batch is published. What has been replayed is remembered.

        The exit code is 1 when something could not be read or sent, 2 when an option is wrong, else 0.
        """
        filters = Filters(frozenset(reason), frozenset(batch), frozenset(station), since)
        request = Request(filters, **more)
        _check(request)
        return asyncio.run(_run(settings, request))


def _options(settings: Settings) -> tuple[Any, ...]:
    """Make the options of the command."""
    reasons = click.Choice([reason.value for reason in Reason])
    place = ParsedOption(parse_place)
    return (
        option(
            settings,
            "--reason",
            multiple=True,
            type=reasons,
            help=words("Letters with this reason; may be repeated.", "该原因的死信；可重复。"),
        ),
        option(
            settings,
            "--batch",
            multiple=True,
            metavar="ID",
            help=words("Letters of this batch; may be repeated.", "该批次的死信；可重复。"),
        ),
        option(
            settings,
            "--station",
            multiple=True,
            metavar="ID",
            help=words("Letters of this station; may be repeated.", "该场站的死信；可重复。"),
        ),
        moment_option(
            settings,
            "--since",
            words("A time (2025-11-14T10:00:00), or 2h, 30m, 1d.", "时刻（2025-11-14T10:00:00），或 2h、30m、1d。"),
        ),
        option(
            settings,
            "--limit",
            type=click.IntRange(min=1),
            help=words("At most so many, the newest.", "最多多少封，最新的。"),
        ),
        json_option(
            settings,
            words(
                "A JSON object a line, with the whole error and the value.", "每行一个 JSON 对象，含完整的错误和值。"
            ),
        ),
        option(
            settings,
            "--show",
            "place",
            type=place,
            metavar="PARTITION@OFFSET",
            help=words("One letter in full.", "完整显示一封死信。"),
        ),
        option(settings, "--replay", is_flag=True, help=words("Send these letters again.", "重新发送这些死信。")),
        option(
            settings,
            "--again",
            is_flag=True,
            help=words("With --replay: also those that have been replayed.", "与 --replay 同用：已重发过的也发送。"),
        ),
        option(
            settings,
            "--dry-run",
            is_flag=True,
            help=words("With --replay: only say what would be sent.", "与 --replay 同用：只说明将发送什么。"),
        ),
    )


def _check(request: Request) -> None:
    for given, name in ((request.again, "--again"), (request.dry_run, "--dry-run")):
        if given and not request.replay:
            message = words("{name} is for --replay", "{name} 只用于 --replay", name=name)
            raise click.UsageError(message)
    if request.place is not None and (request.replay or request.limit is not None or request.filters != Filters()):
        message = words(
            "--show is for one letter, without a filter and without --replay",
            "--show 只显示一封死信，不能与过滤条件或 --replay 同用",
        )
        raise click.UsageError(message)
    if request.replay and request.as_json:
        message = words("--json is for looking, not for --replay", "--json 只用于查看，不能与 --replay 同用")
        raise click.UsageError(message)


async def _run(settings: Settings, request: Request) -> int:
    async with open_letters(settings) as store:
        if request.place is not None:
            return await _show(settings, store, request.place, as_json=request.as_json)
        letters = await store.find(request.filters)
        if request.replay:
            return await _replay(settings, store, letters, request)
        letters = newest(letters, request.limit)
        if request.as_json:
            for chunk in chunks(letters):
                for letter in await store.read(_places(chunk)):
                    click.echo(json_line(letter, store.log.replayed_at(letter)))
        elif letters:
            click.echo("\n".join(table(letters, store.log.replayed_at, settings.timezone, terminal_width())))
        else:
            every = request.filters == Filters()
            say(
                words("no dead letters", "没有死信")
                if every
                else words("no dead letters like that", "没有符合条件的死信")
            )
        return 0


async def _show(settings: Settings, store: LetterStore, place: tuple[int, int], *, as_json: bool) -> int:
    letters = await store.read([place])
    if not letters:
        complain(
            words(
                "there is no letter {place} in {topic}",
                "{topic} 中没有死信 {place}",
                place=place_of(*place),
                topic=settings.dead_letter_topic,
            )
        )
        return FAILED
    letter = letters[0]
    replayed_at = store.log.replayed_at(letter)
    click.echo(json_line(letter, replayed_at) if as_json else "\n".join(full(letter, replayed_at, settings.timezone)))
    return 0


def newest(letters: Iterable[Letter], limit: int | None) -> list[Letter]:
    """Return the newest letters, at most `limit`, in the order of their times."""
    ordered = sorted(letters, key=lambda letter: (letter.failed_at, letter.partition, letter.offset))
    return ordered if limit is None else ordered[len(ordered) - min(limit, len(ordered)) :]


def _places(letters: Sequence[Letter]) -> list[tuple[int, int]]:
    return [(letter.partition, letter.offset) for letter in letters]


# -- replaying -------------------------------------------------------------------------------------------------------


async def _replay(settings: Settings, store: LetterStore, letters: list[Letter], request: Request) -> int:
    due = [letter for letter in letters if request.again or store.log.replayed_at(letter) is None]
    earlier = len(letters) - len(due)
    due = newest(due, request.limit)
    for topic in unread_topics(settings, due):
        if topic in store.counts:
            complain(words("{it}: nothing will come of it", "{it}，发送到那里的消息不会被处理", it=not_read(topic)))
    async with AsyncExitStack() as stack:
        producer = None
        if due and not request.dry_run:
            producer = await stack.enter_async_context(open_replay_producer(settings, store.counts))
        handler_failed = Reason.HANDLER_FAILED in request.filters.reasons
        rules = ReplayRules(settings, settings.max_message_bytes, handler_failed=handler_failed)
        replayer = replayer_of(rules, store, producer, _tell)
        try:
            for chunk in chunks(due):
                await replayer.replay(chunk, await store.read(_places(chunk)))
            await replayer.remember(store.log.tombstones(store.first_offsets))
        finally:
            say(_summary(replayer, earlier, dry_run=request.dry_run))
    return FAILED if replayer.failed else 0


def _tell(one: Replay) -> None:
    match one.fate:
        case Fate.SENT:
            say(words("{name}: sent to {to}", "{name}：已发送到 {to}", name=one.name, to=one.to))
        case Fate.WOULD_SEND:
            say(words("{name}: would be sent to {to}", "{name}：将发送到 {to}", name=one.name, to=one.to))
        case _:
            complain(words("{name}: not sent: {why}", "{name}：未发送：{why}", name=one.name, why=one.why))


def _summary(replayer: Replayer, earlier: int, *, dry_run: bool) -> Words:
    would = words("{n:letter} would be replayed", "将重发 {n} 封", n=replayer.sent)
    parts = [would if dry_run else words("{n:letter} replayed", "已重发 {n} 封", n=replayer.sent)]
    if earlier:
        parts.append(
            words(
                "{n} replayed earlier (--again sends them once more)",
                "{n} 封以前已重发（--again 可再次发送）",
                n=earlier,
            )
        )
    if replayer.skipped:
        parts.append(words("{n} skipped", "{n} 封跳过", n=replayer.skipped))
    if replayer.failed:
        parts.append(words("{n} failed", "{n} 封失败", n=replayer.failed))
    return joined(", ", parts)


# -- showing ---------------------------------------------------------------------------------------------------------


def table(
    letters: Sequence[Letter],
    replayed_at: Callable[[Letter], float | None],
    timezone: ZoneInfo,
    width: int | None,
) -> list[str]:
    """Lines of a table with its headings, each cut at `width` characters; None: not cut.

    `replayed_at` knows when a letter was replayed, in Unix seconds; None: never.
    """
    return table_lines(HEADINGS, [_row(letter, replayed_at(letter), timezone) for letter in letters], width)


def json_line(letter: Letter, replayed_at: float | None) -> bytes:
    """One letter for machines. Key and value are text; what is no UTF-8 is under `key_base64` and `value_base64`."""
    source = letter.source
    record: dict[str, object] = {
        "partition": letter.partition,
        "offset": letter.offset,
        "written_at": letter.written_at,
        "failed_at": letter.failed_at,
        "reason": letter.reason,
        "batch_id": letter.batch_id,
        "station_id": letter.station_id,
        "source": source and {"topic": source.topic, "partition": source.partition, "offset": source.offset},
        "replayed_at": replayed_at,
        "error": letter.error,
        **_bytes("key", letter.key),
        **_bytes("value", letter.value),
    }
    return orjson.dumps(record)


def full(letter: Letter, replayed_at: float | None, timezone: ZoneInfo) -> list[str]:
    """One letter with its whole error and value, as lines."""
    named = {
        "letter": letter.place,
        "time": shown_time(letter.failed_at, timezone),
        "reason": letter.reason,
        "batch": letter.batch_id,
        "station": letter.station_id,
        "source": _source(letter),
        "key": None if letter.key is None else letter.key.decode(errors="backslashreplace"),
        "replayed": None if replayed_at is None else shown_time(replayed_at, timezone),
    }
    known = {name: value for name, value in named.items() if value is not None}
    lines = [f"{name}:".ljust(10) + (printable(value, len(value)) or "-") for name, value in known.items()]
    lines += ["error:", *(f"    {printable(line, len(line))}" for line in letter.error.rstrip().split("\n"))]
    value = "(none)" if letter.value is None else letter.value.decode(errors="backslashreplace")
    return [
        *lines,
        f"value ({counted_word(letter.size, 'byte')}):",
        *(printable(line, len(line)) for line in value.split("\n")),
    ]


def _row(letter: Letter, replayed_at: float | None, timezone: ZoneInfo) -> tuple[str, ...]:
    return (
        shown_time(letter.failed_at, timezone),
        _cell(letter.reason),
        _cell(letter.batch_id),
        _cell(letter.station_id),
        _cell(_source(letter)),
        letter.place,
        "-" if replayed_at is None else shown_time(replayed_at, timezone),
        printable(last_line(letter.error), ERROR_SHOWN),
    )


def _cell(text: str | None) -> str:
    return printable(text, NAME_SHOWN) if text else "-"


def _source(letter: Letter) -> str | None:
    source = letter.source
    return f"{source.topic}[{source.partition}]@{source.offset}" if source else None


def _bytes(name: str, value: bytes | None) -> dict[str, str | None]:
    if value is None:
        return {name: None}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}
