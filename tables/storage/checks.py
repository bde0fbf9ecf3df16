"""Checks of the types of what was read from JSON: what passes cannot raise in the state machine. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType
from typing import Any

from tables.model.events import Position, Source

NUMBER = (float, int)
NUMBER_OR_NONE = (float, int, NoneType)
TEXT_OR_NONE = (str, NoneType)


class NewerFormatError(Exception):
    """A newer version of the application has written this: only that one knows what it means.

    It ends a worker, unacknowledged: whatever else was done with it would be lost, or wrong.
    """


def check_version(version: Any, reads: int) -> None:
    """Check a format version against the one that this program reads and writes.

    Raises:
        NewerFormatError: it is a newer one.
        TypeError: it is none.
        ValueError: the same.
    """
    check_one(version, int)
    if version > reads:
        message = (
            f"it has format version {version}, and this program reads {reads}: a newer version of the application "
            "wrote it; start that one"
        )
        raise NewerFormatError(message)
    if version != reads:
        message = f"there is no format version {version}"
        raise ValueError(message)


def check_all(values: Any, *types: type) -> None:
    """Check the types of many values in one pass at C speed; raises TypeError."""
    if type(values) not in (list, tuple) or not set(map(type, values)).issubset(types):
        message = f"expected a list of {_names(types)}"
        raise TypeError(message)


def check_one(value: Any, *types: type) -> None:
    """Check the type of a single value: a set and a list for it would take longer than that; raises TypeError."""
    if type(value) not in types:
        message = f"expected {_names(types)}, not {type(value).__name__}"
        raise TypeError(message)


def source_of(fields: Any) -> Source:
    """Return the source that is written as a list; raises TypeError or ValueError."""
    topic, partition, offset = fields
    check_one(topic, str)
    check_all([partition, offset], int)
    return Source(topic, partition, offset)


def position_of(fields: Any) -> Position:
    """Return the position that is written as a list; raises TypeError or ValueError."""
    check_all(fields, int)
    return Position(*fields)


def _names(types: Iterable[type]) -> str:
    return " or ".join(one.__name__ for one in types)
