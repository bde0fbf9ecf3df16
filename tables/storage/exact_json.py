"""JSON whose integers keep all their digits, whatever their size.

orjson reads an integer of more than 64 bits as a float, and refuses to write one. It is many times faster than what
does both, so it is used for all but the few messages that need the exact way: `longest_number` finds them by their
bytes. What the application itself writes the exact way begins with a blank, so that nobody has to look for numbers in
what is read back: see `dumps_marked`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from enum import IntEnum
from typing import Any

import orjson

ID_FIELDS = frozenset({"stationId", "station_id", "hostCode", "host_id", "meterId", "meter_id", "gunNo"})
"""The fields whose values name something. A decimal in them keeps its digits too, see `Digits`."""

MARK = b" "
"""Begins what was written the exact way. To other readers of JSON it means nothing."""

_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
_SAFE_DECIMAL = 16  # characters, the point among them: a float holds each decimal of 15 digits

# Digits become 0, the point too, and what can stand before a number becomes a colon. A text begins with a quotation
# mark, which becomes neither: digits inside of texts, such as most ids, are not taken for numbers.
_MARKS = bytes.maketrans(b"123456789.,[ \t\r\n-", b"0000000000:::::::")
_LONG = b":" + b"0" * (_SAFE_DECIMAL + 1)
# The same with points and signs apart: integers of at least 20 digits, negative ones of 19.
_WIDE_MARKS = bytes.maketrans(b"123456789,[ \t\r\n", b"000000000::::::")
_WIDE = (b":" + b"0" * 20, b"-" + b"0" * 19)

# Integers that orjson refuses because as a float they would be infinite. A text is matched so that it is passed over.
_ENORMOUS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|-?[1-9][0-9]{300,}+(?![.eE])', re.DOTALL)


class Longest(IntEnum):
    """The longest number in JSON, as far as that matters."""

    SHORT = 0
    """orjson reads every number."""
    LONG = 1
    """There is one that may be a decimal which a float does not hold."""
    WIDE = 2
    """There is an integer which may have more than 64 bits."""


class Digits(float):
    """A decimal that a float does not hold, in one of `ID_FIELDS`: a float whose text, and whose JSON, is what came."""

    __slots__ = ("text",)

    text: str

    def __new__(cls, text: str) -> Digits:
        """Make one of a number as it stands in JSON."""
        self = super().__new__(cls, text)
        self.text = text
        return self

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__

    def __reduce__(self) -> tuple[type[Digits], tuple[str]]:
        return Digits, (self.text,)


# -- read --------------------------------------------------------------------------------------------------------------


def longest_number(value: bytes) -> Longest:
    """Say what numbers stand in JSON. It may say too much of what only looks like a number, never too little."""
    if not value.startswith((b"{", b"[")):
        value = b":" + value  # it may be a number itself
    if _LONG not in value.translate(_MARKS):
        return Longest.SHORT
    marked = value.translate(_WIDE_MARKS)
    return Longest.WIDE if any(number in marked for number in _WIDE) else Longest.LONG


def loads(value: bytes) -> Any:
    """Return the value of JSON from outside, with all digits of its integers.

    Raises:
        ValueError: It is not JSON, or has a number that no program of ours can hold; see `loads_exactly`.
    """
    if longest_number(value) is not Longest.WIDE:
        return orjson.loads(value)
    loads_roughly(value)
    return loads_exactly(value)


def loads_roughly(value: bytes) -> Any:
    """Return what orjson makes of JSON. An integer that it takes for infinity is 0.

    Raises:
        orjson.JSONDecodeError: It is not JSON.
    """
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        if longest_number(value) is not Longest.WIDE:
            raise
        return orjson.loads(_ENORMOUS.sub(lambda match: match[0] if match[0].startswith(b'"') else b"0", value))


def loads_exactly(value: bytes) -> Any:
    """Return the value of JSON, with all digits of its integers, and of the decimals in `ID_FIELDS`.

    Args:
        value: JSON that orjson has read, or `loads_roughly`: `json` alone takes what is not JSON, too.

    Raises:
        ValueError: An integer has more digits than Python reads, or it is nested too deeply.
    """
    long: list[Digits] = []

    def decimal(text: str) -> float:
        number = float(text)
        if len(text) <= _SAFE_DECIMAL or _is_exactly(number, text):
            return number
        long.append(Digits(text))
        return long[-1]

    try:
        loaded = json.loads(value.decode(), parse_float=decimal)
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        message = "nested too deeply"
        raise ValueError(message) from error
    except ValueError as error:
        message = f"an integer has more than {sys.get_int_max_str_digits()} digits"
        raise ValueError(message) from error
    return _settled(loaded, "") if long else loaded


def _is_exactly(number: float, text: str) -> bool:
    try:
        return Decimal(repr(number)) == Decimal(text)
    except InvalidOperation:  # an exponent beyond what decimals have
        return False


def _settled(value: Any, field: str) -> Any:
    """Return the value with floats in place of `Digits`, but for those of ids."""
    kind = type(value)
    if kind is dict:
        return {name: _settled(item, name) for name, item in value.items()}
    if kind is list:
        return [_settled(item, field) for item in value]
    return float(value) if kind is Digits and field not in ID_FIELDS else value


def loads_marked(value: bytes) -> Any:
    """Read back `dumps_marked`."""
    return loads_exactly(value) if value[:1] == MARK else orjson.loads(value)


# -- write -------------------------------------------------------------------------------------------------------------


def dumps(value: Any, default: Callable[[Any], Any] | None = None, option: int | None = None) -> bytes:
    """Return the JSON of a value with integers of any size; `default` and `option` as for orjson.

    Raises:
        TypeError: Something in it has no form in JSON.
    """
    try:
        return orjson.dumps(value, default, option)
    except TypeError:
        return orjson.dumps(_writable(value), default, option)


def dumps_marked(value: Any, default: Callable[[Any], Any] | None = None) -> bytes:
    """Return JSON for `loads_marked`: with a blank before it where it must be read the exact way."""
    try:
        return orjson.dumps(value, default)
    except TypeError:
        return MARK + orjson.dumps(_writable(value), default)


def _writable(value: Any) -> Any:
    """Return the value with the text of what orjson does not write."""
    kind = type(value)
    if kind is int:
        return value if _INT64_MIN <= value <= _UINT64_MAX else orjson.Fragment(str(value))
    if kind is Digits:
        return orjson.Fragment(value.text)
    if isinstance(value, dict):
        return {name: _writable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(item) for item in value]
    return value
