"""The model of the workers that the browser looks at: each record says how its station behaves."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

__all__ = ["GATES", "Mood", "callback"]

GATES = "PLANT_GATES"  # a folder: a station that waits goes on when a file of its name is there


class Mood:
    """What stands in a record."""

    FINE = "fine"
    EMPTY = "empty"
    FAILS = "fails"
    WAITS = "waits"


async def callback(station_id: str, module_input: dict[str, Any]) -> dict[str, Any] | None:
    """Do as the newest record says."""
    columns = next(iter(module_input.values()))
    mood, delay = columns["mood"][-1], columns["delay"][-1]
    await asyncio.sleep(delay)
    if mood == Mood.EMPTY:
        return None
    if mood == Mood.FAILS:
        message = f"{station_id} reports 6553.5 kW: its meter must be broken"
        raise ValueError(message)
    if mood == Mood.WAITS:
        gate = Path(os.environ[GATES], station_id)
        while not gate.exists():  # noqa: ASYNC110, ASYNC240 - another process opens it
            await asyncio.sleep(0.02)
    return {"power_kw": columns["outputPowerPerStationAvg"][-1]}
