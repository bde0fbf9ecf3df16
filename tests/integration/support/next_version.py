"""`faust` as a next version may be: it adds a field to each frame and to each record, and changes nothing of the rest.

That is what a version may do without a new format version: those of before pass over what they do not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from faust.cli.faust import cli

from app.kafka.producer import KafkaSender
from app.messages.message import OutMessage

__all__ = ["ADDED", "added_to"]

VERSION: Final = b'{"v":1,'
ADDED: Final = b'"next":{"a":[1,"b"]},'


def added_to(value: bytes | None) -> bytes | None:
    """Return a frame or a record with the field; what is neither as it is."""
    return value and value.replace(VERSION, VERSION + ADDED, 1)


async def send_with_more(self: KafkaSender, messages: Sequence[OutMessage]) -> list[int]:
    """Send what a next version would."""
    return await send(self, [replace(one, value=added_to(one.value)) for one in messages])


if __name__ == "__main__":
    send, KafkaSender.send = KafkaSender.send, send_with_more  # type: ignore[method-assign]
    cli()
