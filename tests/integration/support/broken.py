"""A worker with a bug of its own: it can't read its internal messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.messages.message import InMessage
from app.pipeline.aggregation.aggregator import Aggregator
from tests.integration.support.model import callback

__all__ = ["callback"]


async def handle(self: Aggregator, messages: Sequence[InMessage], done: Callable[[int], None]) -> None:
    message = "broken for the test"
    raise LookupError(message)


Aggregator.handle = handle  # type: ignore[method-assign]
