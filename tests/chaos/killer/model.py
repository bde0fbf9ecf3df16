"""The callback of the killer's workers: its answer follows from what it is given alone."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.chaos.killer.expected import Kind, answer

LONGEST_MS = 60  # so that each fault meets callbacks that run


async def callback(station_id: str, module_input: dict[str, Any]) -> dict[str, Any] | None:
    """Take a moment; then a result, none, or an error, as the powers say."""
    (columns,) = module_input.values()
    powers = columns["outputPowerPerStationAvg"]
    await asyncio.sleep(powers[0] % LONGEST_MS / 1000)
    outcome = answer(columns["sendTime"][-1], powers)
    if outcome.kind is Kind.FAILED:
        message = f"{station_id} fails"
        raise ValueError(message)
    return outcome.result
