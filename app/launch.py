"""What `faust worker` starts around the application."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click
import faust
from faust.app import BootStrategy
from faust.cli import worker as cli

from app.choices import LogFormat
from app.exits import EXIT_SETTINGS

__all__ = ["AggregatorWorker", "OwnWebOnly"]


class OwnWebOnly(BootStrategy):
    """Faust's own web server stays off: `faust worker` turns it on again, whatever `web_enabled` says."""

    enable_web = False


class AggregatorWorker(faust.Worker):
    """What `faust worker` starts: it knows what is missing before it says anything."""

    def __init__(self, app: Any, *services: Any, **options: Any) -> None:
        problems = list(_unused_options())
        if problems:
            sys.stderr.write("\n".join(problems) + "\n")
            raise SystemExit(EXIT_SETTINGS)
        app.prepare()
        super().__init__(app, *services, **options)
        app.conf.web_enabled = app.settings.web_port > 0  # in the banner: which one 0 becomes is told in the log
        # The spinner of a quiet log makes every logger of the process tell everything, to spin for it.
        self.spinner = None
        if app.settings.log_format is LogFormat.JSON:
            command: Any = cli.worker
            command.on_worker_created = _say_nothing


def _unused_options() -> Iterator[str]:
    """Options of `faust worker` that are for Faust's own web server: what would not be obeyed is refused."""
    context = click.get_current_context(silent=True)
    given = context.params if context else {}
    for option, key in (("web_port", "AGG_WEB_PORT"), ("web_host", "AGG_WEB_HOST"), ("web_bind", "AGG_WEB_HOST")):
        if given.get(option) is not None:
            yield f"--{option.replace('_', '-')} is not used here: set {key}={given[option]}"
    if given.get("web_transport") is not None:
        yield "--web-transport is not used here: a worker's web listens on AGG_WEB_HOST and AGG_WEB_PORT"
    if not given.get("with_web", True):
        yield "--without-web is not used here: health is part of a worker; AGG_WEB_PORT=0 takes a free port"


def _say_nothing(*_: object) -> None:
    """In place of Faust's banner, a drawing on standard output, which no reader of JSON lines can use."""
