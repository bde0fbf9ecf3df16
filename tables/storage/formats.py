"""What all stored records have in common: they are JSON with a format version. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

__all__ = ["FORMAT_VERSION", "UnreadableRecordError", "load", "reading"]

FORMAT_VERSION = 1


class UnreadableRecordError(ValueError):
    """A table's record can't be read: written by a newer version, or damaged."""


@contextmanager
def reading(key: bytes) -> Iterator[None]:
    """Whatever is not as we write it is an UnreadableRecordError."""
    try:
        yield
    except UnreadableRecordError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        message = f"the record of key {key!r} is not one of ours: {error!r}"
        raise UnreadableRecordError(message) from error


def load(key: bytes, value: bytes) -> dict[str, Any]:
    """A record whose version this program reads."""
    record = orjson.loads(value)
    version = record["v"]
    if version != FORMAT_VERSION:
        message = f"the record of key {key!r} has format version {version}; this program reads {FORMAT_VERSION}"
        raise UnreadableRecordError(message)
    return dict(record)
