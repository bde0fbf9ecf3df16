"""A worker with a bug of its own: it can't read its internal messages."""

from __future__ import annotations

from collections.abc import Sequence

from app.messages.message import Delivery
from app.pipeline.aggregation.aggregator import Aggregator
from tests.integration.support.model import callback

__all__ = ["callback"]


async def handle(self: Aggregator, deliveries: Sequence[Delivery]) -> None:
    message = "broken for the test"
    raise LookupError(message)


Aggregator.handle = handle  # type: ignore[method-assign]
