"""The commands of `faust -A app` beside Faust's own. The module of one is imported when it is run, or asked for help.

A command needs the settings and hardly anything of a worker: neither its web nor its pipeline is imported for one, and
no application is built.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, Protocol

import click

from app.settings import Settings, SettingsError, load_settings
from app.worker.shutdown import EXIT_SETTINGS


class HasSettings(Protocol):
    """What a command needs of the application: its settings, and which functions a program gave as objects."""

    settings: Settings

    @property
    def given(self) -> Collection[str]:
        """Return the settings, in lower case, that stand for these functions."""


class Entry(NamedTuple):
    """Where a command is: its module, and the function there that registers it; and its line in the list of all."""

    module: str
    register: str
    line: str


COMMANDS: Final = {
    "send": Entry("app.cli.send", "register_send", "Send source messages, one a line of FILE."),
    "check": Entry("app.cli.check", "register_check", "Verify settings, functions, broker and topics."),
    "outputs": Entry("app.cli.outputs", "register_outputs", "Tell what came out: a line a batch."),
    "late": Entry(
        "app.cli.outputs", "register_outputs", "Tell which results came too late for their batch: a line a result."
    ),
    "dead-letters": Entry(
        "app.cli.dead_letters.command", "register_dead_letters", "List dead letters, or send them again."
    ),
    "compare": Entry(
        "app.cli.compare",
        "register_compare",
        "Compare the results in two output topics: one message a station, or one a batch, in either of them.",
    ),
    "batches": Entry(
        "app.cli.batches", "register_batches", "List batches, show one, or complete, discard or extend it."
    ),
    "advise": Entry(
        "app.cli.advise", "register_advise", "Tell what other timeouts would have made of the batches of the past."
    ),
}


class LazyCommand(click.Command):
    """Stands in the list of commands for one until that is wanted."""

    def __init__(self, name: str, entry: Entry, app: Callable[[], HasSettings]) -> None:
        super().__init__(name, help=entry.line)
        self._name = name
        self._entry = entry
        self._app = app

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Put the command itself in this one's place, and go on with it."""
        register = getattr(importlib.import_module(self._entry.module), self._entry.register)
        app = self._app()
        if parent is not None:
            importlib.import_module("app.cli.base").speak(parent, app.settings.log_language)
        register(app)
        return _faust().commands[self._name].make_context(info_name, args, parent, **extra)


def register_commands(app: Callable[[], HasSettings]) -> None:
    """Make all of them commands of `faust`. `app` is called when one is wanted."""
    importlib.import_module("faust.cli.faust")  # Faust's commands first: of two with one name the later one counts
    group = _faust()
    for name, entry in COMMANDS.items():
        group.add_command(LazyCommand(name, entry, app), name)


def _faust() -> click.Group:
    group: click.Group = importlib.import_module("faust.cli.base").cli
    return group


# -- without an application --------------------------------------------------------------------------------------------


def only_commands_are_wanted(names: Sequence[str]) -> bool:
    """Say whether `faust -A` with one of these names only looks which commands there are.

    It drops the application that it finds then, and looks for one again when a command needs it.
    """
    if "faust.cli.base" not in sys.modules:
        return False
    context = click.get_current_context(silent=True)
    if context is not None and context.find_root().invoked_subcommand is not None:
        return False
    group: Any = _faust()
    return group._extract_param(sys.argv, "-A", "--app") in names


def commands_alone() -> Any:
    """Register the commands; returns what has of an application what Faust asks it before it drops it."""
    register_commands(lambda: SimpleNamespace(settings=_settings(), given=()))
    return SimpleNamespace(
        conf=SimpleNamespace(_origin=None, autodiscover=False),
        finalize=_do_nothing,
        worker_init=_do_nothing,
        worker_init_post_autodiscover=_do_nothing,
    )


def _settings() -> Settings:
    """Load the settings; ends the process where they are wrong."""
    try:
        return load_settings()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(EXIT_SETTINGS) from error


def _do_nothing() -> None:
    pass
