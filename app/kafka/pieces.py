"""How messages travel through Faust: what has been fetched of a topic goes as one, in pieces of its partitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import faust
from aiokafka.structs import ConsumerRecord
from faust.types import Message

from app.kafka.delivery import Fetched
from app.messages.message import InMessage

__all__ = ["FetchedSchema", "in_message", "pieces_of", "weight_of"]

PIECE_MESSAGES = 100
PIECE_BYTES = 1024 * 1024
LEAST_BYTES = 4 * 1024  # that a message counts for: small ones take room too


class FetchedSchema(faust.Schema[Any, Any]):
    """What our consumer delivers needs no decoding: a stream's values are lists of `Fetched`."""

    def loads_key(self, app: Any, message: Message, **_: Any) -> bytes | None:
        """Nothing looks at it."""
        del app
        return message.key

    def loads_value(self, app: Any, message: Message, **_: Any) -> list[Fetched]:
        """Pieces of partitions."""
        del app
        return cast(list[Fetched], message.value)


def pieces_of(records: Sequence[ConsumerRecord]) -> list[Sequence[ConsumerRecord]]:
    """Cut what was fetched of a partition, between messages."""
    pieces: list[Sequence[ConsumerRecord]] = []
    start = size = 0
    for index, record in enumerate(records):
        if index - start >= PIECE_MESSAGES or size >= PIECE_BYTES:
            pieces.append(records[start:index])
            start, size = index, 0
        size += len(record.value or b"")
    if records:
        pieces.append(records[start:])
    return pieces


def weight_of(record: ConsumerRecord) -> int:
    """Bytes that a message counts for while it is in flight."""
    return max(LEAST_BYTES, len(record.value or b""))


def in_message(record: ConsumerRecord) -> InMessage:
    """A record as the pipeline knows messages."""
    return InMessage(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp / 1000,
        record.key,
        record.value,
        record.headers,
    )
