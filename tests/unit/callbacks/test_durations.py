"""How long callbacks take, as the runner tells it."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.callbacks.runner import ModuleInput
from tables.model.enums import Code
from tests.callback_bench import ROUNDING, Bench, hang
from tests.virtual_time import run_in_virtual_time


class Times:
    """What the runner has told."""

    def __init__(self) -> None:
        self.of: dict[str, float] = {}

    def __call__(self, station: str, seconds: float) -> None:
        assert station not in self.of
        self.of[station] = seconds


def test_each_callback_that_has_run_is_timed_once_however_it_ends() -> None:
    async def callback(station_id: str, module_input: ModuleInput) -> None:
        if station_id == "raises":
            raise ValueError
        await asyncio.sleep({"slow": 2.0, "slower": 7.0}.get(station_id, 0.0))
        if station_id == "hangs":
            await hang(station_id, module_input)

    async def main() -> None:
        times = Times()
        async with Bench(callback, observe=times, station_timeout=20.0) as bench:
            bench.submit("raises", "slow", "slower", "hangs")
            bench.submit("late", deadline=-1.0)
            outcomes = await bench.until(5)
            assert outcomes["late"].code is Code.SKIPPED
        assert times.of == {
            "raises": pytest.approx(0.0, abs=1.0),
            "slow": pytest.approx(2.0, abs=0.1),
            "slower": pytest.approx(7.0, abs=0.1),
            "hangs": pytest.approx(20.0, abs=0.1),
        }

    run_in_virtual_time(main())


def test_a_callback_that_never_waits_is_timed_by_the_processors_clock() -> None:
    async def callback(station_id: str, module_input: ModuleInput) -> None:
        until = time.perf_counter() + 0.02
        while time.perf_counter() < until:
            pass

    async def main() -> None:
        times, began = Times(), time.perf_counter()
        async with Bench(callback, observe=times) as bench:
            bench.submit("A", "B")
            await bench.until(2)
        assert all(0.02 - ROUNDING <= seconds <= time.perf_counter() - began for seconds in times.of.values())
        assert len(times.of) == 2

    asyncio.run(main())


def test_a_def_in_a_thread_is_timed() -> None:
    def callback(station_id: str, module_input: ModuleInput) -> None:
        time.sleep(0.02)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        times, began = Times(), loop.time()
        async with Bench(callback, observe=times) as bench:
            bench.submit("A")
            await bench.until(1)
        assert 0.02 - ROUNDING <= times.of["A"] <= loop.time() - began

    asyncio.run(main())
