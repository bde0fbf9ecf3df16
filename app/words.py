"""What a user is told, in both languages: texts that know their Chinese.

Whoever finds a mistake does not know yet in which language it will be told. So an error carries both: it is the English
text, for whoever asks no further, and `in_language` gives the one that AGG_LOG_LANGUAGE asks for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_ZH: Final = "zh"  # of `Language`, whose package takes long to import
_A_WORD: Final = re.compile(r"[a-z][a-z -]{2,}")


class Words(str):
    """A text in English, with the same in Chinese.

    Attributes:
        zh: the Chinese text.
    """

    __slots__ = ("zh",)

    zh: str

    def __new__(cls, en: str, zh: str) -> Words:
        """Make one of its texts as they stand."""
        made = str.__new__(cls, en)
        made.zh = zh
        return made


class _Number(int):
    """A whole number that `format` can put in front of what it counts: `{n:station}` is `1 station`, `2 stations`."""

    def __format__(self, spec: str) -> str:
        return counted_word(self, spec) if _A_WORD.fullmatch(spec) else super().__format__(spec)


def counted_word(number: int, what: str) -> str:
    """Return `1 letter`, `2 letters`, `2 batches`."""
    ending = "" if number == 1 else "es" if what.endswith(("ch", "s", "x")) else "s"
    return f"{number} {what}{ending}"


def countable(value: object) -> object:
    """Return a field of a text so that `{n:station}` counts, where it is a whole number."""
    return _Number(value) if type(value) is int else value


def words(en: str, zh: str, /, **fields: object) -> Words:
    """Fill the fields of both texts, which stand in braces; a field that has both languages itself, with its own.

    In English `{n:station}` is `1 station` or `2 stations`.
    """
    return Words(
        en.format_map({name: countable(value) for name, value in fields.items()}),
        zh.format_map({name: in_language(value, _ZH) for name, value in fields.items()}),
    )


def joined(separator: str, parts: Iterable[str]) -> Words:
    """Join texts, in each language by itself."""
    every = list(parts)
    return Words(separator.join(every), separator.join(str(in_language(part, _ZH)) for part in every))


def in_language(value: object, language: str) -> object:
    """Return a text in a language, as far as it knows that; anything else as it is."""
    return value.zh if language == _ZH and isinstance(value, Words) else value


def both_of(problem: object) -> str:
    """Return a text, or that of an error, with its Chinese where it has that."""
    text = problem.args[0] if isinstance(problem, BaseException) and problem.args else problem
    return text if isinstance(text, Words) else str(problem)


def told(problem: BaseException | str, language: str) -> str:
    """Return a text, or that of an error, in a language."""
    return str(in_language(both_of(problem), language))
