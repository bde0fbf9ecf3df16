"""Cursors: the place of a page's last row, as text that is safe in a URL and that nobody need understand."""

from __future__ import annotations

import base64
from typing import TypeVar

import orjson
from pydantic import TypeAdapter

__all__ = ["decode", "encode"]

T = TypeVar("T")


def encode(place: tuple[object, ...]) -> str:
    """A place as text."""
    return base64.urlsafe_b64encode(orjson.dumps(tuple(place))).decode().rstrip("=")


def decode(text: str, places: TypeAdapter[T]) -> T:
    """Read back `encode`.

    Raises:
        ValueError: It is none of these places.
    """
    padding = "=" * (-len(text) % 4)
    try:
        return places.validate_json(base64.b64decode(text + padding, altchars=b"-_", validate=True))
    except ValueError:
        message = "must be the `next` of an earlier answer"
        raise ValueError(message) from None
