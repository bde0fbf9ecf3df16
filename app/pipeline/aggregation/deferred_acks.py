"""Chunks of the batches' log that are applied and not stored yet, and which of that must not wait any longer.

A decision is stored at once. What has come to a batch that is still open may wait, unacknowledged: most batches close
soon, and then one record holds all there is to store. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Final

from app.messages.message import Delivery
from tables.model.fast_dataclass import fast_dataclass

__all__ = ["STORE_BYTES", "STORE_SECONDS", "Unstored"]

STORE_SECONDS: Final = 1.0  # as long as Faust takes to commit what is acknowledged: a crash repeats that much anyway
STORE_BYTES: Final = 8 * 1024 * 1024  # of the log that wait for that; of more, the oldest are stored


@fast_dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk of the log; with it, all that is applied stands at the offsets `upto` or before, by partition."""

    applied_at: float  # Unix seconds
    upto: Mapping[int, int]
    size: int  # bytes
    acks: Sequence[Callable[[], None]]


class Unstored:
    """The chunks in the order of the log, with what acknowledges them."""

    def __init__(self) -> None:
        self._chunks: deque[_Chunk] = deque()
        self._upto: dict[int, int] = {}
        self._size = 0

    def add(self, deliveries: Sequence[Delivery], now: float) -> None:
        """A chunk has been applied."""
        self._upto |= {delivery.message.partition: delivery.message.offset for delivery in deliveries}
        size = sum([delivery.message.size for delivery in deliveries])
        self._size += size
        self._chunks.append(_Chunk(now, dict(self._upto), size, [delivery.ack for delivery in deliveries]))

    def due(self, now: float) -> Mapping[int, int]:
        """Up to which offset, by partition, everything is to be stored now; empty where all may wait."""
        size = self._size
        upto: Mapping[int, int] = {}
        for chunk in self._chunks:
            # A clock that was put back makes it due, too.
            if 0.0 <= now - chunk.applied_at < STORE_SECONDS and size <= STORE_BYTES:
                break
            size -= chunk.size
            upto = chunk.upto
        return upto

    def count_stored(self, unstored_from: Mapping[int, float]) -> int:
        """How many chunks, from the front, have nothing at these offsets or behind them, by partition."""
        return sum(
            1
            for _ in takewhile(
                lambda chunk: all(unstored_from[number] > last for number, last in chunk.upto.items()), self._chunks
            )
        )

    def stored(self, count: int) -> None:
        """So many chunks, from the front, are stored: acknowledge them, unless all have been dropped meanwhile."""
        for _ in range(min(count, len(self._chunks))):
            chunk = self._chunks.popleft()
            self._size -= chunk.size
            for ack in chunk.acks:
                ack()

    def drop(self) -> None:
        """Forget all chunks: the next owner does them again."""
        self._chunks.clear()
        self._upto.clear()
        self._size = 0
