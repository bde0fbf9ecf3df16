"""A message as a test looks at it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.messages.message import InMessage

__all__ = ["Message", "header_list", "value_bytes", "view"]


@dataclass(frozen=True, slots=True)
class Message:
    r"""A message of any topic.

    Attributes:
        topic: Where it is.
        key: Its key as text, None where it has none; bytes that are no UTF-8 are shown as `\xff`.
        value: What its JSON says; bytes where it isn't JSON, None where it has no value.
        headers: Their texts by name.
        partition: Where it is.
        offset: Where it is.
        timestamp: Unix seconds, virtual.
        raw: The bytes of the value.
        raw_key: The bytes of the key.
    """

    topic: str
    key: str | None
    value: Any
    headers: dict[str, str]
    partition: int
    offset: int
    timestamp: float
    raw: bytes | None
    raw_key: bytes | None


def view(message: InMessage) -> Message:
    """The message as a test looks at it."""
    return Message(
        topic=message.topic,
        key=None if message.key is None else _text(message.key),
        value=_parsed(message.value),
        headers={name: _text(value) for name, value in message.headers},
        partition=message.partition,
        offset=message.offset,
        timestamp=message.timestamp,
        raw=message.value,
        raw_key=message.key,
    )


def value_bytes(value: object) -> bytes | None:
    """What a test sends, as bytes: bytes, text and None as they are, everything else as JSON."""
    if value is None or isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else orjson.dumps(value)


def header_list(
    headers: Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]] | None,
) -> list[tuple[str, bytes]]:
    """Headers as the pipeline knows them."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _parsed(value: bytes | None) -> Any:
    try:
        return None if value is None else orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
