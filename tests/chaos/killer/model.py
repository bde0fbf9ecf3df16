"""The callback of the killer's workers: its answer follows from what it is given alone."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.chaos.killer.expected import Kind, answer

# One station in ten takes its time: so each fault meets batches that are open, callbacks that run, and offsets that are
# committed meanwhile.
SLOW_EACH, SLOW_MS, QUICK_MS = 10, 1500, 60


async def callback(station_id: str, module_input: dict[str, Any]) -> dict[str, Any] | None:
    """Take a moment; then a result, none, or an error, as the powers say."""
    (columns,) = module_input.values()
    powers = columns["outputPowerPerStationAvg"]
    first = int(powers[0])
    await asyncio.sleep(first % (QUICK_MS if first % SLOW_EACH else SLOW_MS) / 1000)
    outcome = answer(columns["sendTime"][-1], powers)
    if outcome.kind is Kind.FAILED:
        message = f"{station_id} fails"
        raise ValueError(message)
    return outcome.result
