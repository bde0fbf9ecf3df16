"""The frame of all commands of `faust -A app`: how they are registered, run and ended, their options and tables."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, TextIO
from zoneinfo import ZoneInfo

import click
from aiokafka.errors import KafkaConnectionError, KafkaError
from faust.cli import base as faust_base
from faust.cli.base import AppCommand

from app.cli import click_words
from app.inputs.timestamps import format_time, parse_duration, parse_time
from app.kafka.client import BrokersSilentError
from app.kafka.diagnosis import find_trouble
from app.kafka.permissions import AUTHORIZATION_ERRORS, denial_text
from app.kafka.topics import TopicError, refused
from app.settings import Settings, SettingsError
from app.settings.enums import Language
from app.settings.types import UTF8_RULE, is_utf8, require
from app.words import Words, both_of, told, words
from app.worker.command_line import in_users_words
from app.worker.shutdown import EXIT_SETTINGS

if TYPE_CHECKING:
    from app.worker.app import AggregatorApp

FAILED = 1
INTERRUPTED = 130


# -- running ---------------------------------------------------------------------------------------------------------


class CommandError(Exception):
    """A command can't do what it was asked for; the text says why, and what to do."""


class PlainCommand(AppCommand):
    """A command that runs by itself: Faust would run it as a service of a worker, with a worker's log.

    It needs no application: Faust would build one.
    """

    abstract: ClassVar[bool] = True
    settings: ClassVar[Settings]

    def __init__(self, context: click.Context, *args: Any, **kwargs: Any) -> None:
        super(AppCommand, self).__init__(context)  # AppCommand's own would look for the application
        self.args, self.kwargs = args, kwargs

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run it and exit with its code."""
        # What goes wrong is said once, by the command.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        named = _named_settings(self.ctx)
        if named is not None and named != self.settings:
            complain(
                words(
                    "-A names the application {named}, and commands are those of the one made last, {last}: make each "
                    "in a module of its own, after what it imports",
                    "-A 指定的应用是 {named}，而命令属于最后创建的应用 {last}：请在各自的模块中、在导入之后创建应用",
                    named=named.app_id,
                    last=self.settings.app_id,
                )
            )
            raise SystemExit(EXIT_SETTINGS)
        run: Any = self.run
        raise SystemExit(exit_code_of(self.settings, partial(run, *self.args, *args, **(self.kwargs | kwargs))))


def _named_settings(context: click.Context) -> Settings | None:
    """Return those of the application that `-A` names, or whose `main()` runs; None if it is not known."""
    application = getattr(context.find_root(), "app", None)
    if application is None:
        name, _, attribute = str(context.ensure_object(faust_base.State).app or "").partition(":")
        module = sys.modules.get(name)  # of which nothing is asked: our own would build its application
        application = None if module is None else vars(module).get(attribute or "app")
    settings = getattr(application, "settings", None)
    return settings if isinstance(settings, Settings) else None


def command(app: AggregatorApp, *options: Any, zh: str) -> Callable[[Callable[..., int]], object]:
    """Make a `def` that returns an exit code a command of `faust -A app`, as `app.command` does with an `async def`.

    But for the mark by which Faust would find it in a module: to make one takes a look at all modules that there are.
    The command's help is the docstring; in Chinese `zh`.
    """
    decorator: Any = PlainCommand.from_handler(*options, settings=app.settings)

    def make(function: Callable[..., int]) -> object:
        function.__doc__ = in_users_words(zh if app.settings.log_language is Language.ZH else function.__doc__ or "")
        return decorator(function)

    return make


def exit_code_of(settings: Settings, work: Callable[[], int]) -> int:
    """Do a command's work, say what has ended it, and return the command's exit code."""
    try:
        try:
            return work()
        except click.UsageError as error:  # Faust would make a failure of it
            error.message = told(error.message, language())
            error.show()
            return error.exit_code
        except SettingsError as error:
            complain(str(error))
            return EXIT_SETTINGS
        except (CommandError, TopicError) as error:
            complain(both_of(error))
        except BrokenPipeError:
            stop_writing(sys.stdout)
        except (KafkaError, OSError) as error:
            complain(asyncio.run(broker_problem(settings, error)))
    except KeyboardInterrupt:
        return INTERRUPTED
    return FAILED


async def broker_problem(settings: Settings, error: Exception) -> Words:
    """Find out what is wrong with the broker, and say what to do."""
    if isinstance(error, AUTHORIZATION_ERRORS):
        return denial_text(settings, error)
    servers = ", ".join(settings.bootstrap_servers)
    if isinstance(error, BrokersSilentError):
        silent = both_of(error)
        return words("{servers} answers, but {silent}", "{servers} 有应答，但{silent}", servers=servers, silent=silent)
    if not isinstance(error, KafkaConnectionError):
        return words(
            "the broker at {servers} refuses: {error}",
            "{servers} 的 Kafka 拒绝了请求：{error}",
            servers=servers,
            error=str(error) or repr(error),
        )
    trouble = await find_trouble(settings)  # aiokafka's text names the same address, and no cause
    if trouble is not None and trouble.final:
        return refused(servers, trouble.text)
    why = words(" ({why})", "（{why}）", why=trouble.text) if trouble else ""
    return words(
        "no broker answers at {servers}: start it, or set AGG_BROKER{why}",
        "{servers} 没有 Kafka 应答：请启动它，或设置 AGG_BROKER{why}",
        servers=servers,
        why=why,
    )


_LANGUAGE: Final = "app.language"  # in the `meta` of click's contexts, which a command's is under


def speak(context: click.Context, language: Language) -> None:
    """Have what is told while a command runs, or reads its options, be in a language."""
    context.meta[_LANGUAGE] = language
    click_words.use(language)


def language() -> Language:
    """Return the language of the command that runs; English where none does."""
    context = click.get_current_context(silent=True)
    return Language.EN if context is None else context.meta.get(_LANGUAGE, Language.EN)


def complain(text: str) -> None:
    """Say what is wrong, on standard error; nothing ends because nobody reads that."""
    try:
        click.echo(told(text, language()), err=True)
    except BrokenPipeError:
        stop_writing(sys.stderr)


def say(text: str) -> None:
    """Say something that is no reason to stop when nobody listens: what has been sent stays sent."""
    try:
        click.echo(told(text, language()))
    except BrokenPipeError:
        stop_writing(sys.stdout)


def stop_writing(stream: TextIO) -> None:
    """Send what is still written to standard output or error nowhere: its reader has gone, as after `| head`."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def not_read(topic: str) -> Words:
    """Say of a topic that something is sent to that the pipeline of this application does not read it."""
    return words(
        "{topic}: this application does not read it (AGG_SOURCE_TOPICS)",
        "{topic}：本应用不读取该主题（AGG_SOURCE_TOPICS）",
        topic=topic,
    )


# -- options ---------------------------------------------------------------------------------------------------------


class ParsedOption(click.ParamType):
    """The type of an option or argument that a function reads; its ValueError's text is what the user is told.

    It is UTF-8: what is not could be neither sent to Kafka nor printed.
    """

    name = "text"

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read what was given."""
        try:
            require(is_utf8(value), UTF8_RULE)
            return self._parse(value)
        except ValueError as error:
            self.fail(told(error, language()), param, ctx)


TEXT: Final = ParsedOption(str)


class Seconds(click.ParamType):
    """The type of an option in seconds: a finite number above 0, or 0 where that means something."""

    name = "seconds"

    def __init__(self, *, or_zero: bool = False) -> None:
        self._or_zero = or_zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read what was given."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not (math.isfinite(seconds) and (seconds > 0 or (self._or_zero and seconds == 0))):
            rule = (
                words("must be a finite number, 0 or above", "必须是有限的数字，且大于或等于 0")
                if self._or_zero
                else words("must be a finite number above 0", "必须是大于 0 的有限数字")
            )
            self.fail(told(rule, language()), param, ctx)
        return seconds


def option(settings: Settings, *names: str, help: Words, **more: Any) -> Any:  # noqa: A002 - as click has it
    """Make an option, as Faust does; its help is in the language of the settings. Without a type it is text."""
    if not more.get("is_flag"):
        more.setdefault("type", TEXT)
    return faust_base.option(*names, help=told(help, settings.log_language), **more)


def json_option(settings: Settings, purpose: Words) -> Any:
    """Make the option `--json`, whose value is `as_json`."""
    return option(settings, "--json", "as_json", is_flag=True, help=purpose)


def moment_option(settings: Settings, name: str, purpose: Words) -> Any:
    """Make an option that takes a time, or a duration before now; its value is in Unix seconds."""
    moment = ParsedOption(lambda text: parse_moment(text, settings.timezone, time.time()))
    return option(settings, name, type=moment, metavar="TIME", help=purpose)


def parse_moment(text: str, timezone: ZoneInfo, now: float) -> float:
    """Unix seconds of a time (ISO 8601, in `timezone` where it names none), or of a duration before `now`: `1h30m`.

    Raises:
        ValueError: it is neither.
    """
    duration = parse_duration(text)
    if duration is not None:
        return now - duration
    moment = parse_time(text, timezone)
    if moment is None:
        message = words(
            "{text!r} is neither a time such as 2025-11-14T10:00:00 nor a duration such as 2h, 30m or 1d12h",
            "{text!r} 既不是 2025-11-14T10:00:00 这样的时间，也不是 2h、30m、1d12h 这样的时长",
            text=text,
        )
        raise ValueError(message)
    return moment


# -- printing --------------------------------------------------------------------------------------------------------


def shown_time(seconds: float, timezone: ZoneInfo) -> str:
    """A point in time (Unix seconds) as people read it, in that zone; any number has some text."""
    try:
        return format_time(math.floor(seconds), timezone)
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}"


def table_lines(headings: Sequence[str], rows: Iterable[Sequence[str]], width: int | None) -> list[str]:
    """Lines of a table with its headings, each cut at `width` characters; None: not cut."""
    cells = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [line if width is None or len(line) <= width else line[: width - 1] + "…" for line in lines]


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; None for a file or a pipe, which get whole lines."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
