"""The reference of what a user imports, of the docstrings: `python -m tests.reference --write docs/reference.md`.

`--check` says whether the page is that of today. What a docstring says in Google's sections (Args, Raises, ...) becomes
a list. By `inspect` alone: what there is to show is a dozen names.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import app.testing
from app import create_app
from app.callbacks.handler_context import HandlerContext
from app.callbacks.loading import FunctionError
from app.callbacks.signatures import WANTED
from app.messages.message import SendError, UnknownTopicError
from app.settings import SettingsError, load_settings
from app.worker.users_parts import RefusedError, UsersParts

HEAD: Final = """# Reference

Made from the docstrings by `make reference`; `make check` fails when it is stale. How to use it all, with examples:
[python.md](python.md) and [callbacks.md](callbacks.md). The settings are in [settings.md](settings.md).

## Your functions

What you write is called with these arguments, by position. Each may be a `def` or an `async def`.

| setting, or keyword of `create_app` | called as |
| --- | --- |
"""
WIDTH: Final = 100  # of a signature on one line
_SECTION: Final = re.compile(r"(Args|Returns|Raises|Attributes|Yields):$")


class Entry(NamedTuple):
    """An object of the reference: the heading over it, how it is imported, and which of its members are shown."""

    heading: str
    where: str
    found: Any
    members: Sequence[str] = ()


ENTRIES: Final = (
    Entry("create_app", "from app import create_app", create_app),
    Entry(
        "The application",
        "what `create_app` returns: a `faust.App`",
        UsersParts,
        ("agent", "stream", "command", "page", "table_route"),
    ),
    Entry("context", "the third argument of a result handler", HandlerContext, ("send",)),
    Entry(
        "TopologyTestDriver",
        "from app.testing import TopologyTestDriver",
        app.testing.TopologyTestDriver,
        (
            "__init__", "of", "send", "advance", "kill", "restart", "crash_before", "close", "outputs", "late",
            "dead_letters", "messages", "now", "open_batches", "closed_batches", "crashed", "spans", "metrics",
        ),
    ),
    Entry("Message", "from app.testing import Message", app.testing.Message),
    Entry("load_settings", "from app.settings import load_settings", load_settings),
    Entry("SettingsError", "from app.settings import SettingsError", SettingsError),
    Entry("RefusedError", "raised by `create_app` and the decorators of the application", RefusedError),
    Entry("FunctionError", "raised by the driver", FunctionError),
    Entry("SendError", "raised by `context.send` and by topics of your own", SendError),
    Entry("UnknownTopicError", "raised by `context.send` and by topics of your own", UnknownTopicError),
)  # fmt: skip


def page() -> str:
    """Return the page as Markdown."""
    rows = "".join(
        f"| `{setting}`, `{setting.removeprefix('AGG_').lower()}` | `{called}` |\n"
        for setting, called in WANTED.items()
    )
    return HEAD + rows + "".join(line for entry in ENTRIES for line in _shown(entry))


def _shown(entry: Entry) -> Iterator[str]:
    where = f"`{entry.where}`" if entry.where.startswith("from ") else entry.where
    yield f"\n## {entry.heading}\n\n{where[0].upper()}{where[1:]}.\n"
    if inspect.isfunction(entry.found):
        yield f"\n```python\n{signature(entry.heading, entry.found)}\n```\n"
    yield "\n" + "\n".join(markdown(inspect.getdoc(entry.found) or "")) + "\n"
    for name in entry.members:
        member = inspect.getattr_static(entry.found, name)
        called = f"{entry.heading}(...)" if name == "__init__" else f"{entry.heading}.{name}"
        yield f"\n### {called if ' ' not in entry.heading else f'app.{name}'}\n"
        if not isinstance(member, property):
            function = inspect.unwrap(getattr(entry.found, name))
            yield f"\n```python\n{signature(entry.heading if name == '__init__' else name, function)}\n```\n"
        yield "\n" + "\n".join(markdown(inspect.getdoc(getattr(entry.found, name)) or "")) + "\n"


def signature(name: str, function: Callable[..., Any]) -> str:
    """Return how a function is written to be called, a line a parameter where one line has no room."""
    parameters = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name not in {"self", "cls"}
    ]
    texts, seen_star = [], False
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not seen_star:
            texts.append("*")
            seen_star = True
        seen_star |= parameter.kind is inspect.Parameter.VAR_POSITIONAL
        texts.append(
            str(parameter)
            .replace("'", "")
            .replace("_Function", "Callable | str | None")
            .replace("PosixPath(.env)", 'Path(".env")')
        )
    answer = inspect.signature(function).return_annotation
    arrow = "" if answer in {inspect.Signature.empty, "None", "Any"} else f" -> {answer}"
    line = f"{name}({', '.join(texts)}){arrow}"
    return line if len(line) <= WIDTH else f"{name}(\n" + "".join(f"    {text},\n" for text in texts) + f"){arrow}"


def markdown(docstring: str) -> Iterator[str]:
    """Yield the lines of a docstring; the entries of its sections as points of lists."""
    in_section = False
    for line in docstring.splitlines():
        if _SECTION.match(line):
            in_section = True
            yield f"**{line.removesuffix(':')}**"
            yield ""
        elif in_section and line.startswith("    "):
            entry, colon, text = line.strip().partition(": ")
            is_entry = not line.startswith("     ") and colon and re.fullmatch(r"[\w.]+", entry)
            yield f"- `{entry}`: {text}" if is_entry else f"  {line.strip()}"
        else:
            in_section = in_section and not line.strip()
            yield line


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when the page is that of today."""
    parser = argparse.ArgumentParser(prog="python -m tests.reference", description="The reference of the docs")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="exit code 1 when the page is stale")
    action.add_argument("--write", action="store_true", help="bring the page up to date")
    parser.add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    found = options.file.read_text(encoding="utf-8") if options.file.exists() else ""
    if options.write:
        options.file.write_text(page(), encoding="utf-8")
    elif found != page():
        sys.stderr.write(
            f"{options.file}: the reference is stale: run python -m tests.reference --write {options.file}\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
