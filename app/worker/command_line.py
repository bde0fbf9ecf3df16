"""How this application is called: what stands before a command's name in its usage, its examples, and in advice."""

from __future__ import annotations

from typing import Any, Final

import click

_USUAL: Final = "faust -A app"


def in_users_words(text: str) -> str:
    """Return a text whose commands are written as the user has called the one that runs, in place of `faust -A app`."""
    return text.replace(_USUAL, called_as())


def called_as() -> str:
    """Return what the user wrote before the name of the command that runs, such as `faust -A app`."""
    context = click.get_current_context(silent=True)
    if context is None:
        return _USUAL
    root = context.find_root()
    name = root.info_name or "faust"
    # `main()` of an application runs the commands without `-A`, of the program that calls it.
    return " ".join([f"python {name}" if name.endswith(".py") else name, *named_by(root)])


def named_by(root: click.Context) -> list[str]:
    """Return the `-A` of a command line: without it a command would be another application's, or none.

    The command `batch-aggregator` has that of our own by itself.
    """
    app: Any = root.params.get("app")
    return [] if app is None or (root.info_name == "batch-aggregator" and app == "app") else ["-A", app]
