"""Callbacks in real processes on a bench, for their tests."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

from app.callbacks.executors.child_calls import ChildJob
from app.callbacks.executors.processes import ProcessExecutor
from app.callbacks.runner import ModuleInput
from app.callbacks.scheduler import Call
from tests.callback_bench import Bench

MODELS = "tests.process_models"
PATIENCE = 240.0  # seconds: no measure of speed


class Pool:
    """A bench over processes, and what it was told of deaths."""

    def __init__(self, name: str = "behave", *, keep: int = 2, many: bool = False, **options: Any) -> None:
        self.deaths: list[str] = []
        setting = "AGG_BATCH_CALLBACK" if many else "AGG_CALLBACK"
        job = ChildJob(list(sys.path), f"{MODELS}:{name}", setting, many, options.get("max_result_bytes", 2**20))
        self.executor = ProcessExecutor(job, keep=keep, on_death=self.deaths.append)
        self.bench = Bench(self.executor, **{"clock": time.time} | options)

    async def __aenter__(self) -> Bench:
        return await self.bench.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await self.bench.__aexit__()
        assert self.pids() == []

    def pids(self) -> list[int]:
        """The processes that are not gone."""
        return [child.pid for child in self.executor._living]


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait for what processes do."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


async def stands(pool: Pool, place: str) -> int:
    """Wait until a process stands there, by its stack; its pid."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for child in list(pool.executor._busy):
                if place in (await child.stack() or ""):
                    return child.pid
            await asyncio.sleep(0.01)


def module_input_of(call: Call[Any]) -> ModuleInput:
    return {"of": call.station_id, "power": [1.0, 3.0], "seconds": 0.3, "file": call.context}
