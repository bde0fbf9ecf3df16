"""How log lines are told, in both languages; their texts are in app/observability/log_texts.py.

Ids and error texts come from outside. What is not printable in them is escaped, so that nobody can forge a line, and
what is long is cut.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import islice
from typing import Final

from app.observability.log_texts import CATALOGUE, Line
from app.settings.enums import Language

__all__ = [
    "CATALOGUE",
    "NAME_SHOWN",
    "Line",
    "Shown",
    "names",
    "printable",
    "say",
    "tell",
]

NAMES_SHOWN: Final = 13
NAME_SHOWN: Final = 200  # characters of an id
_TEXT_SHOWN: Final = 500


class Shown(str):
    """Text that is fit for a log line already: printable and cut."""

    __slots__ = ()


def say(language: Language, line: Line, **fields: object) -> str:
    """The line in that language. Texts among the fields are made printable and cut at 500 characters.

    Raises:
        KeyError: A field that the line needs is not given.
    """
    shown = {
        name: printable(value) if isinstance(value, str) and not isinstance(value, Shown) else value
        for name, value in fields.items()
    }
    return CATALOGUE[line][language].format_map(shown)


def tell(logger: logging.Logger, level: int, language: Language, line: Line, **fields: object) -> None:
    """Log the line."""
    logger.log(level, "%s", say(language, line, **fields), extra={"event": str(line)})


def printable(text: str, limit: int = _TEXT_SHOWN) -> Shown:
    r"""The text cut at `limit` characters; if any of them is not printable, escaped as in a Python literal (`a\nb`)."""
    cut = _cut(text, limit)
    return Shown(cut if cut.isprintable() else repr(cut)[1:-1])


def names(ids: Iterable[str], total: int) -> Shown:
    """The ids in their order, printed like a Python set; after 13 of them only how many more `total` says there are.

    Takes at most 14 ids out of the iterable, however many there are.
    """
    taken = list(islice(ids, NAMES_SHOWN + 1))
    if not taken:
        return Shown("set()")
    quoted = [repr(_cut(name, NAME_SHOWN)) for name in taken[:NAMES_SHOWN]]
    more = max(total, len(taken)) - NAMES_SHOWN
    return Shown("{" + ", ".join(quoted + ([f"… +{more}"] if more > 0 else [])) + "}")


def _cut(text: str, limit: int) -> str:
    return str(text) if len(text) <= limit else text[:limit] + "…"
