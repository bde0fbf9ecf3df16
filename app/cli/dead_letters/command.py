"""The command `faust -A app dead-letters`: what the operator asks for, and what is said to that."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click
import orjson
from aiokafka.errors import KafkaError
from faust.cli.base import option

from app.cli.base import FAILED, INTERRUPTED, PlainCommand, complain, plain_command, stop_writing
from app.cli.check import broker_problem
from app.cli.dead_letters.replay import Replay, Resender, Tally, producing
from app.cli.dead_letters.store import (
    Filters,
    LetterDesk,
    chunks,
    newest,
    open_desk,
    parse_place,
    parse_since,
)
from app.cli.printing import counted, shown_time, table_lines, terminal_width
from app.cli.send import NoTopic
from app.kafka.topics import TopicError
from app.messages.dead_letters import Letter, Reason, last_line, place_of
from app.messages.output import RECORD_OVERHEAD
from app.observability.log_lines import printable
from app.settings import Settings

if TYPE_CHECKING:
    from app.worker.app import AggregatorApp

__all__ = ["full", "json_line", "register_dead_letters", "table"]

HEADINGS = ("TIME", "REASON", "BATCH", "STATION", "SOURCE", "LETTER", "REPLAYED", "ERROR")
NAME_SHOWN = 80
ERROR_SHOWN = 300

ReplayedAt = Callable[[Letter], float | None]
"""When a letter was replayed, Unix seconds; None: never."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the command's options ask for."""

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
    command = plain_command(app)

    def since_of(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
        try:
            return None if text is None else parse_since(text, settings.timezone, time.time())
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    reasons = click.Choice([reason.value for reason in Reason])

    @command(
        option("--reason", multiple=True, type=reasons, help="Letters with this reason; may be repeated."),
        option("--batch", multiple=True, metavar="ID", help="Letters of this batch; may be repeated."),
        option("--station", multiple=True, metavar="ID", help="Letters of this station; may be repeated."),
        option("--since", callback=since_of, metavar="TIME", help="A time (2025-11-14T10:00:00), or 2h, 30m, 1d."),
        option("--limit", type=click.IntRange(min=1), help="At most so many, the newest."),
        option("--json", "as_json", is_flag=True, help="A JSON object a line, with the whole error and the value."),
        option("--show", "place", callback=_place, metavar="PARTITION@OFFSET", help="One letter in full."),
        option("--replay", is_flag=True, help="Send these letters again."),
        option("--again", is_flag=True, help="With --replay: also those that have been replayed."),
        option("--dry-run", is_flag=True, help="With --replay: only say what would be sent."),
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
        try:
            _check(request)
            return asyncio.run(_run(settings, request))
        except click.UsageError as error:  # Faust would make a failure of it
            error.show()
            return error.exit_code
        except (NoTopic, TopicError) as error:
            complain(str(error))
        except BrokenPipeError:
            stop_writing()
        except (KafkaError, OSError) as error:
            complain(broker_problem(settings, error))
        except KeyboardInterrupt:
            return INTERRUPTED
        return FAILED


def _place(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    try:
        return None if text is None else parse_place(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _check(request: Request) -> None:
    for given, name in ((request.again, "--again"), (request.dry_run, "--dry-run")):
        if given and not request.replay:
            message = f"{name} is for --replay"
            raise click.UsageError(message)
    if request.place is not None and (request.replay or request.limit is not None or request.filters != Filters()):
        message = "--show is for one letter, without a filter and without --replay"
        raise click.UsageError(message)
    if request.replay and request.as_json:
        message = "--json is for looking, not for --replay"
        raise click.UsageError(message)


async def _run(settings: Settings, request: Request) -> int:
    async with open_desk(settings) as desk:
        if request.place is not None:
            return await _show(settings, desk, request.place, as_json=request.as_json)
        letters = await desk.find(request.filters)
        if request.replay:
            return await _replay(settings, desk, letters, request)
        letters = newest(letters, request.limit)
        if request.as_json:
            for chunk in chunks(letters):
                for letter in await desk.read(chunk):
                    click.echo(json_line(letter, desk.memory.replayed_at(letter)))
        elif letters:
            click.echo("\n".join(table(letters, desk.memory.replayed_at, settings.timezone, terminal_width())))
        else:
            click.echo("no dead letters" if request.filters == Filters() else "no dead letters like that")
        return 0


async def _show(settings: Settings, desk: LetterDesk, place: tuple[int, int], *, as_json: bool) -> int:
    letter = await desk.letter_at(*place)
    if letter is None:
        complain(f"there is no letter {place_of(*place)} in {settings.dead_letter_topic}")
        return FAILED
    replayed_at = desk.memory.replayed_at(letter)
    if as_json:
        click.echo(json_line(letter, replayed_at))
    else:
        click.echo("\n".join(full(letter, replayed_at, settings.timezone)))
    return 0


async def _replay(settings: Settings, desk: LetterDesk, letters: list[Letter], request: Request) -> int:
    due = [letter for letter in letters if request.again or desk.memory.replayed_at(letter) is None]
    earlier = len(letters) - len(due)
    due = newest(due, request.limit)
    async with AsyncExitStack() as stack:
        producer = None
        if due and not request.dry_run:
            producer = await stack.enter_async_context(producing(settings, desk.counts))
        resender = Resender(
            _rules(settings, desk, request), desk.counts, desk.memory, producer, time.time, _tell, complain
        )
        try:
            for chunk in chunks(due):
                there = await desk.read(chunk)
                places = {letter.place for letter in there}
                resender.gone([letter for letter in chunk if letter.place not in places])
                await resender.resend(there)
            await resender.store(desk.memory.outdated(desk.first_offsets))
        finally:
            _tell(_summary(resender.tally, earlier, dry_run=request.dry_run))
    return FAILED if resender.tally.failed else 0


def _rules(settings: Settings, desk: LetterDesk, request: Request) -> Replay:
    limit = settings.max_message_bytes
    return Replay(
        output_topic=settings.output_topic,
        with_meta=settings.output_meta,
        max_bytes=limit if desk.largest is None else min(limit, desk.largest - RECORD_OVERHEAD),
        own_topics=frozenset({settings.station_events_topic, settings.batch_events_topic}),
        handler_failed=Reason.HANDLER_FAILED in request.filters.reasons,
    )


def _summary(tally: Tally, earlier: int, *, dry_run: bool) -> str:
    count = counted(tally.sent, "letter")
    parts = [f"{count} would be replayed" if dry_run else f"{count} replayed"]
    if earlier:
        parts.append(f"{earlier} replayed earlier (--again sends them once more)")
    if tally.skipped:
        parts.append(f"{tally.skipped} skipped")
    if tally.failed:
        parts.append(f"{tally.failed} failed")
    return ", ".join(parts)


def _tell(text: str) -> None:
    """Say something that is no reason to stop when nobody listens: what has been sent has to be remembered."""
    try:
        click.echo(text)
    except BrokenPipeError:
        stop_writing()


def table(letters: Sequence[Letter], replayed_at: ReplayedAt, timezone: ZoneInfo, width: int | None) -> list[str]:
    """Lines of a table with its headings, each cut at `width` characters; None: not cut."""
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
    lines = [f"{name}:".ljust(10) + (printable(value, len(value)) or "-") for name, value in _known(named)]
    lines += ["error:", *(f"    {printable(line, len(line))}" for line in letter.error.rstrip().split("\n"))]
    value = "(none)" if letter.value is None else letter.value.decode(errors="backslashreplace")
    return [*lines, f"value ({letter.size} bytes):", *(printable(line, len(line)) for line in value.split("\n"))]


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


def _known(named: dict[str, str | None]) -> Iterable[tuple[str, str]]:
    return ((name, value) for name, value in named.items() if value is not None)


def _bytes(name: str, value: bytes | None) -> dict[str, str | None]:
    if value is None:
        return {name: None}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}
