"""What `faust worker` starts around the application."""

from __future__ import annotations

from typing import Any

import faust
from faust.app import BootStrategy
from faust.cli import worker as cli

from app.choices import LogFormat

__all__ = ["AggregatorWorker", "OwnWebOnly"]


class OwnWebOnly(BootStrategy):
    """Faust's own web server stays off: `faust worker` turns it on again, whatever `web_enabled` says."""

    enable_web = False


class AggregatorWorker(faust.Worker):
    """What `faust worker` starts: it knows what is missing before it says anything."""

    def __init__(self, app: Any, *services: Any, **options: Any) -> None:
        app.prepare()
        super().__init__(app, *services, **options)
        app.conf.web_enabled = app.settings.web_port > 0  # in the banner: which one 0 becomes is told in the log
        # The spinner of a quiet log makes every logger of the process tell everything, to spin for it.
        self.spinner = None
        if app.settings.log_format is LogFormat.JSON:
            command: Any = cli.worker
            command.on_worker_created = _say_nothing


def _say_nothing(*_: object) -> None:
    """In place of Faust's banner, a drawing on standard output, which no reader of JSON lines can use."""
