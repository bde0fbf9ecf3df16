"""The result handler of the workers: a message of its own, then the default payload."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from app.callbacks.handler_context import HandlerContext
from tests.chaos.points.points import SIDE_TOPIC

__all__ = ["handler", "side_message"]


async def handler(batch_id: str, results: Sequence[dict[str, Any]], context: HandlerContext) -> dict[str, Any]:
    """Send how many results there are, and return what would be published without a handler."""
    await context.send(os.environ[SIDE_TOPIC], batch_id, side_message(batch_id, len(results)))
    return {"batch_id": batch_id, "stations": results, "station_count": len(results), "meta": context.meta}


def side_message(batch_id: str, results: int) -> dict[str, Any]:
    """Return what the handler sends by itself."""
    return {"batch": batch_id, "results": results}
