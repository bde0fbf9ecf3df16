"""The commands of `faust -A app` beside Faust's own: `send` and `check`."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, NoReturn, cast

import click
from aiokafka.errors import KafkaError
from faust.cli.base import AppCommand, argument, option

from app.cli.check import Finding, Mark, broker_problem, check_cluster, check_functions
from app.cli.printing import counted
from app.cli.send import LineSender, NoTopic, Sent
from app.worker.shutdown import EXIT_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.worker.app import AggregatorApp

__all__ = ["FAILED", "INTERRUPTED", "PlainCommand", "complain", "plain_command", "register_commands", "stop_writing"]

FAILED = 1
INTERRUPTED = 130
_STYLES = {Mark.OK: "green", Mark.NOTE: "yellow", Mark.WRONG: "red"}


class PlainCommand(AppCommand):
    """A command that runs by itself: Faust would run it as a service of a worker, with a worker's log."""

    abstract: ClassVar[bool] = True

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run it and exit with the code that it returns."""
        # What goes wrong is said once, by the command.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        run: Any = self.run
        raise SystemExit(run(*self.args, *args, **(self.kwargs | kwargs)))


def plain_command(app: AggregatorApp) -> Callable[..., Callable[[Callable[..., int]], object]]:
    """What makes a `def` a command of `faust -A app`, as `app.command` does with the same arguments."""
    # That wants an `async def`, which only Faust's way of running commands needs.
    command = cast("Callable[..., Callable[[Callable[..., int]], object]]", app.command)
    return partial(command, base=PlainCommand)


def stop_writing() -> None:
    """Nobody reads standard output any more, as after `| head`: what is still written there goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def register_commands(app: AggregatorApp) -> None:
    """Make `send` and `check` commands of `faust -A app`; `send` takes the place of Faust's own."""
    importlib.import_module("faust.cli.faust")  # Faust's commands first: of two with one name the later one counts
    settings = app.settings
    command = plain_command(app)

    @command(
        argument("file", type=click.File("rb")),
        option("--topic", default=settings.source_topics[0], help="Where to."),
        option("--key", help="Key of each message.", default=None),
        option("--header", multiple=True, metavar="NAME=VALUE", callback=_headers, help="Header; may be repeated."),
        option("--create", is_flag=True, help="Create the topic if it is missing, with AGG_PARTITIONS partitions."),
        option("--unchecked", is_flag=True, help="Send also lines that are no source message."),
    )
    def send(
        self: PlainCommand,  # noqa: ARG001
        *,
        file: BinaryIO,
        topic: str,
        key: str | None,
        header: list[tuple[str, bytes]],
        create: bool,
        unchecked: bool,
    ) -> int:
        """Send source messages, one a line of FILE.

        FILE - is standard input. A line is a source message in JSON: an object with a list of records, such a list,
        or one record. Blank lines are skipped. A line that is none of these is not sent, but named, and the rest goes
        on.

        Headers that a source message may have: batch-timeout (seconds) and batch-id.

        The exit code is 0 when the broker has confirmed every message, else 1.
        """
        sent = Sent()
        sender = LineSender(settings, topic, key.encode() if key is not None else None, header, unchecked, complain)
        code = 0
        try:
            sender.send(file, sent, at_once=file is sys.stdin.buffer, create=create)
        except (NoTopic, KafkaError, OSError) as error:
            complain(broker_problem(settings, error) if isinstance(error, KafkaError) else str(error))
            code = FAILED
        except KeyboardInterrupt:
            code = INTERRUPTED
        click.echo(f"{counted(sent.confirmed, 'message')} sent to {topic}")
        if sent.failed:
            complain(f"{counted(sent.failed, 'line')} not sent")
        return code or (FAILED if sent.failed else 0)

    @command()
    def check(self: PlainCommand) -> int:  # noqa: ARG001
        """Verify settings, functions, broker and topics.

        Looks, and creates nothing. The exit code is 0 when a worker could work with what there is, else the one that
        a worker would end with: 2 for a setting, 1 for the broker and its topics.
        """
        functions = check_functions(settings)
        findings = [
            Finding(Mark.OK, "settings", f"app id {settings.app_id}, module {settings.module}"),
            *functions,
            *asyncio.run(check_cluster(settings)),
        ]
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            mark = click.style(f"{finding.mark:5}", fg=_STYLES[finding.mark])
            click.echo(f"{mark}  {finding.what:{width}}  {finding.text}")
        wrong = sum(finding.mark is Mark.WRONG for finding in findings)
        click.echo(f"{wrong} wrong" if wrong else "All is well.")
        if any(finding.mark is Mark.WRONG for finding in functions):
            return EXIT_SETTINGS
        return FAILED if wrong else 0


def _headers(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> list[tuple[str, bytes]]:
    headers = []
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            message = f"{text!r} is not of the form NAME=VALUE"
            raise click.BadParameter(message)
        headers.append((name, value.encode()))
    return headers


def complain(text: str) -> None:
    """Say what is wrong, on standard error."""
    click.echo(text, err=True)
