"""Tracebacks of callbacks that raise, as `traceback` prints them.

A model that fails for one station fails for thousands, in the same place. To print where costs several times as much as
all else that is to be done for a station: files are looked at on the disk, and source is parsed. So each place is
printed once, and its text kept.
"""

from __future__ import annotations

import sys
import traceback
from types import CodeType, TracebackType
from typing import Final

_MOST_PLACES: Final = 1024  # that are kept
_MOST_FRAMES: Final = 50  # of a traceback that is put together of them
# Their last lines depend on where they were raised, or are more than one.
_PARTICULAR: Final = (SyntaxError, NameError, AttributeError, ImportError, BaseExceptionGroup)

_places: Final[dict[tuple[int, int], tuple[CodeType, str]]] = {}  # id of the code and instruction -> the code, text


def print_error(error: BaseException) -> str:
    """Return the same as `traceback.format_exception`, joined; raises whatever an object of the user's raises."""
    if (
        issubclass(type(error), _PARTICULAR)
        or error.__cause__ is not None
        or error.__context__ is not None
        or getattr(error, "__notes__", None) is not None
        or getattr(sys, "tracebacklimit", None) is not None
        or (places := _places_of(error.__traceback__)) is None
    ):
        return "".join(traceback.format_exception(error))
    last = traceback.format_exception_only(error)
    return "".join(["Traceback (most recent call last):\n", *places, *last])


def _places_of(entry: TracebackType | None) -> list[str] | None:
    """Return the text of each place; None where it depends on others, as in a recursion, or there are none."""
    places: list[str] = []
    before: CodeType | None = None
    while entry is not None:
        code = entry.tb_frame.f_code
        if code is before or len(places) == _MOST_FRAMES:
            return None
        places.append(_place(code, entry))
        before, entry = code, entry.tb_next
    return places or None


def _place(code: CodeType, entry: TracebackType) -> str:
    key = id(code), entry.tb_lasti
    kept = _places.get(key)
    if kept is not None and kept[0] is code:
        return kept[1]
    if len(_places) >= _MOST_PLACES:
        _places.clear()
    text = "".join(traceback.format_tb(entry, 1))
    _places[key] = code, text
    return text
