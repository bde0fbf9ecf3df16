"""The commands of `faust -A app` beside Faust's own. The module of one is imported when it is run, or asked for help.

A command needs the settings and hardly anything of a worker: neither its web nor its pipeline is imported for one, and
no application is built.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, Protocol

import click

from app.cli import click_words
from app.settings import Settings, SettingsError, load_settings
from app.settings.loading import found_language
from app.words import Words, told, words
from app.worker.command_line import named_by
from app.worker.shutdown import EXIT_SETTINGS


class HasSettings(Protocol):
    """What a command needs of the application: its settings, and what a program gave by keyword."""

    settings: Settings

    @property
    def given(self) -> Mapping[str, Callable[..., Any]]:
        """Return the functions which it gave as objects, by the settings, in lower case, that they stand for."""

    @property
    def keywords(self) -> Mapping[str, object]:
        """Return all that it gave, as it did."""


class Entry(NamedTuple):
    """Where a command is: its module, and the function there that registers it; and its line in the list of all."""

    module: str
    register: str
    line: Words


COMMANDS: Final = {
    "send": Entry(
        "app.cli.send",
        "register_send",
        words("Send source messages, one a line of FILE.", "发送源消息，FILE 每行一条。"),
    ),
    "check": Entry(
        "app.cli.check",
        "register_check",
        words("Verify settings, functions, broker and topics.", "检查设置、函数、Kafka 和主题。"),
    ),
    "outputs": Entry(
        "app.cli.outputs", "register_outputs", words("Tell what came out: a line a batch.", "显示输出：每个批次一行。")
    ),
    "late": Entry(
        "app.cli.outputs",
        "register_outputs",
        words("Tell which results came too late for their batch: a line a result.", "显示迟到的结果：每个结果一行。"),
    ),
    "dead-letters": Entry(
        "app.cli.dead_letters.command",
        "register_dead_letters",
        words("List dead letters, or send them again.", "列出死信，或重新发送。"),
    ),
    "compare": Entry(
        "app.cli.compare",
        "register_compare",
        words(
            "Compare the results in two output topics: one message a station, or one a batch, in either of them.",
            "比较两个输出主题中的结果：每个场站一条或每个批次一条均可。",
        ),
    ),
    "batches": Entry(
        "app.cli.batches",
        "register_batches",
        words(
            "List batches, show one, or complete, discard or extend it.",
            "列出批次，显示其中一个，或完成、丢弃、延长它。",
        ),
    ),
    "advise": Entry(
        "app.cli.advise",
        "register_advise",
        words(
            "Tell what other timeouts would have made of the batches of the past.", "说明其他超时会使过去的批次怎样。"
        ),
    ),
}


# Options of `faust worker` that are for Faust's own web server; app/worker/faust_command.py says what to set instead.
_REFUSED: Final = frozenset({"with_web", "web_port", "web_transport", "web_bind", "web_host"})


class LazyCommand(click.Command):
    """Stands in the list of commands for one until that is wanted."""

    def __init__(self, name: str, entry: Entry, app: Callable[[], HasSettings]) -> None:
        super().__init__(name, help=told(entry.line, found_language(os.environ)))
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
    """Make all of them commands of `faust`, hide the options of its own that are refused, and have usages name `-A`.

    `app` is called when a command is wanted.
    """
    click_words.use(found_language(os.environ))
    importlib.import_module("faust.cli.faust")  # Faust's commands first: of two with one name the later one counts
    group = _faust()
    for option in group.commands["worker"].params:
        if isinstance(option, click.Option) and option.name in _REFUSED:
            option.hidden = True
    for param in group.params:
        if param.name == "app":
            found: Any = param
            found.get_usage_pieces = _usage_of_app
    for name, entry in COMMANDS.items():
        group.add_command(LazyCommand(name, entry, app), name)
    if not isinstance(group.resolve_command, _Suggesting):
        found_group: Any = group
        found_group.resolve_command = _Suggesting(group)


class _Suggesting:
    """Finds a command as the group does, and names what is meant where there is none of that name."""

    def __init__(self, group: click.Group) -> None:
        self._group, self._resolve = group, group.resolve_command

    def __call__(self, context: click.Context, arguments: list[str]) -> Any:
        try:
            return self._resolve(context, arguments)
        except click.UsageError as error:
            for close in difflib.get_close_matches(arguments[0], self._group.list_commands(context), n=1):
                hint = words(" Did you mean {name}?", "是否想写 {name}？", name=close)
                error.message += told(hint, found_language(os.environ))
            raise


def _usage_of_app(context: click.Context) -> list[str]:
    """Return what stands before a command in its usage."""
    root = context.find_root()
    return [] if context is root else named_by(root)


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
    register_commands(lambda: SimpleNamespace(settings=_settings(), given={}, keywords={}, pages=(), users_topics=list))
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
