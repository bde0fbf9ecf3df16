"""The models and result handlers that the workers under test run. What a station's kind means: `data.py`."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, Protocol

from tests.integration.support.data import EMPTY, FAILS, GATED, HANGS

__all__ = [
    "DELAY",
    "GATE",
    "HANDLER_CALLS",
    "HANDLER_GATE",
    "MENDED",
    "SIDE_TOPIC",
    "blocking",
    "callback",
    "freezing",
    "mendable",
    "sending_handler",
    "station_handler",
    "window_digest",
    "with_context",
    "with_windows",
]

GATE = "MODEL_GATE"  # a file: there when the gate is open
MENDED = "MODEL_MENDED"  # a file: there when `mendable` is mended
DELAY = "MODEL_DELAY"  # seconds that each call takes
SIDE_TOPIC = "MODEL_SIDE_TOPIC"  # what the result handler sends goes there
HANDLER_CALLS = "MODEL_HANDLER_CALLS"  # a file that gets a line for each call of it
HANDLER_GATE = "MODEL_HANDLER_GATE"  # it returns when this file is there


class Context(Protocol):
    """What a result handler gets as its third argument."""

    meta: dict[str, Any]

    async def send(self, topic: str, key: str, value: object) -> None:
        """Publish."""


async def callback(station_id: str, module_input: dict[str, Any]) -> dict[str, Any] | None:
    """Behave as the station's kind asks."""
    if DELAY in os.environ:
        await asyncio.sleep(float(os.environ[DELAY]))
    kind = station_id.partition("-")[0]
    if kind == EMPTY:
        return None
    if kind == FAILS:
        message = f"{station_id} fails"
        raise ValueError(message)
    if kind == HANGS:
        await asyncio.Event().wait()
    if kind == GATED:
        await gate(os.environ[GATE])
    return answer(module_input)


async def mendable(station_id: str, module_input: dict[str, Any]) -> dict[str, Any] | None:
    """The same, but what fails does so only until the model is mended."""
    if station_id.startswith(FAILS) and await asyncio.to_thread(Path(os.environ[MENDED]).exists):
        return answer(module_input)
    return await callback(station_id, module_input)


def blocking(station_id: str, module_input: dict[str, Any]) -> dict[str, Any]:
    """Block its thread until the gate is open when the station's kind asks for it; nothing in Python is called."""
    if station_id.startswith(GATED):
        opened = os.environ[GATE]
        while not os.access(opened, os.F_OK):
            time.sleep(0.01)
    return answer(module_input)


async def freezing(station_id: str, module_input: dict[str, Any]) -> dict[str, Any]:
    """The same on the event loop, as no `async def` should."""
    return blocking(station_id, module_input)


async def sending_handler(batch_id: str, results: list[dict[str, Any]], context: Context) -> dict[str, Any]:
    """Write the call down, send something, and only then, when the gate is open, return the payload."""
    with Path(os.environ[HANDLER_CALLS]).open("a") as calls:  # noqa: ASYNC230 - a line
        calls.write(f"{batch_id}\n")
    await context.send(os.environ[SIDE_TOPIC], batch_id, {"stations": len(results)})
    await gate(os.environ[HANDLER_GATE])
    return {"batch": batch_id, "count": len(results), "status": context.meta["status"]}


async def with_context(station_id: str, module_input: dict[str, Any]) -> dict[str, Any] | None:
    """The same as `callback`, and the newest number of each context topic, or what another module has made there."""
    result = await callback(station_id, module_input)
    _, *entries = module_input.values()
    known = [columns.get("n") or columns.get("power") or [None] for columns in entries]
    return result and result | {"context": [values[-1] for values in known]}


async def with_windows(station_id: str, module_input: dict[str, Any]) -> dict[str, Any] | None:
    """The same as `callback`, and of each context topic how many points its window has, and what these are."""
    result = await callback(station_id, module_input)
    _, *entries = module_input.values()
    return result and result | {"windows": [window_digest(columns) for columns in entries]}


def window_digest(columns: dict[str, list[Any]]) -> list[Any]:
    """How many points a window has, and a digest of its times and powers."""
    points = [columns.get("sendTime", []), columns.get("power", [])]
    return [len(points[0]), hashlib.sha256(json.dumps(points).encode()).hexdigest()]


def station_handler(station_id: str, module_input: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """A pass-through station's payload, made of all that a handler gets."""
    (topic,) = module_input
    return {"id": station_id, "topic": topic, "at": result["at"]}


def answer(module_input: dict[str, Any]) -> dict[str, Any]:
    """The newest power and its time."""
    columns = next(iter(module_input.values()))
    return {"power": columns["outputPowerPerStationAvg"][-1], "at": columns["sendTime"][-1]}


async def gate(path: str) -> None:
    """Wait until the file is there."""
    while not Path(path).exists():  # noqa: ASYNC110, ASYNC240 - another process opens it
        await asyncio.sleep(0.01)
