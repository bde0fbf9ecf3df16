"""The command `faust worker`: its options, its banner, and what it starts around the application."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

import click
import faust
from faust.app import BootStrategy
from faust.cli import worker as cli

from app.callbacks.executors import part_forks
from app.callbacks.loading import UserFunctions
from app.settings.enums import LogFormat
from app.words import Words, told, words
from app.worker.printing import printed_to_log
from app.worker.shutdown import EXIT_SETTINGS

_faust_rows: Any = cli.worker._banner_data
# The driver of Faust's own web server, which does not run, and folders: nothing is kept on disk.
_NOT_HERE: Final = frozenset({"  web", "datadir", "appdir"})


class OwnWebOnly(BootStrategy):
    """Faust's own web server stays off: `faust worker` turns it on again, whatever `web_enabled` says."""

    enable_web = False


class AggregatorWorker(faust.Worker):
    """The service that `faust worker` starts: it finds out what is missing before it says anything."""

    def __init__(self, app: Any, *services: Any, **options: Any) -> None:
        language = app.settings.log_language
        problems = [told(problem, language) for problem in _unused_options()]
        if problems:
            sys.stderr.write("\n".join(problems) + "\n")
            raise SystemExit(EXIT_SETTINGS)
        functions: UserFunctions = app.prepare()
        self._callback, self._language = functions.name, app.settings.log_language
        super().__init__(app, *services, **options)
        # The spinner of a quiet log makes every logger of the process tell everything, to spin for it.
        self.spinner = None
        app.conf.web_enabled = app.settings.web_port > 0  # in the banner: which one 0 becomes is told in the log
        command: Any = cli.worker
        command._banner_data = _banner_rows
        if app.settings.log_format is LogFormat.JSON:
            command.on_worker_created = _say_nothing

    def install_signal_handlers(self) -> None:
        """Handle signals on the loop, here and nowhere else."""
        super().install_signal_handlers()
        part_forks()

    def _redirect_stdouts(self) -> None:
        """Make lines of the log of what is printed, where mode would make one of each part of it."""
        self.add_context(printed_to_log(self._callback, self._language, self.redirect_stdouts_level))

    def carp(self, msg: str) -> None:
        """Say nothing where mode would print a row of `-INT-` on Ctrl-C; that a signal came is a line of the log."""


def _unused_options() -> Iterator[Words]:
    """Options of `faust worker` that are for Faust's own web server: what would not be obeyed is refused."""
    context = click.get_current_context(silent=True)
    given = context.params if context else {}
    for option, key in (("web_port", "AGG_WEB_PORT"), ("web_host", "AGG_WEB_HOST"), ("web_bind", "AGG_WEB_HOST")):
        if given.get(option) is not None:
            yield words(
                "--{option} is not used here: set {key}={value}",
                "此处不使用 --{option}：请设置 {key}={value}",
                option=option.replace("_", "-"),
                key=key,
                value=given[option],
            )
    if given.get("web_transport") is not None:
        yield words(
            "--web-transport is not used here: a worker's web listens on AGG_WEB_HOST and AGG_WEB_PORT",
            "此处不使用 --web-transport：worker 的网页监听 AGG_WEB_HOST 和 AGG_WEB_PORT",
        )
    if not given.get("with_web", True):
        yield words(
            "--without-web is not used here: health is part of a worker; AGG_WEB_PORT=0 takes a free port",
            "此处不使用 --without-web：健康检查是 worker 的一部分；AGG_WEB_PORT=0 使用空闲端口",
        )


def _banner_rows(command: Any, worker: Any) -> list[tuple[str, str]]:
    """Faust's banner without what does not hold here."""
    return [row for row in _faust_rows(command, worker) if row[0] not in _NOT_HERE]


def _say_nothing(*_: object) -> None:
    """In place of Faust's banner, a drawing on standard output, which no reader of JSON lines can use."""
