"""The trivial callback of the benchmark."""

from __future__ import annotations

import asyncio
from typing import Any


async def callback(station_id: str, module_input: dict[str, Any]) -> dict[str, float]:
    """One small result; the station named HANGS never answers."""
    if station_id == "HANGS":
        await asyncio.Event().wait()
    return {"result": 1.5 + len(module_input)}


def plain_callback(station_id: str, module_input: dict[str, Any]) -> dict[str, float]:
    """The same for frameworks without an event loop."""
    return {"result": 1.5 + len(module_input)}
