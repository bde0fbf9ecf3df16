"""Callbacks with `AGG_EXECUTOR=thread`: an `async def` has its thread's own event loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from app.callbacks.runner import ModuleInput
from app.callbacks.scheduler import Call
from app.settings.enums import Executor
from tables.model.enums import Code
from tests.callback_bench import Bench, condition, echo, error_of, value_of


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What hung threads wait for; set at the end, so that none outlives its test."""
    event = threading.Event()
    yield event
    event.set()


def test_an_async_def_runs_in_a_thread_on_a_loop_that_lasts() -> None:
    async def callback(station_id: str, module_input: ModuleInput) -> dict[str, Any]:
        await asyncio.sleep(0.001)
        loop = asyncio.get_running_loop()
        return {"main": threading.current_thread() is threading.main_thread(), "loop": id(loop), **module_input}

    async def main() -> None:
        async with Bench(callback, kind=Executor.THREAD, workers=1) as bench:
            bench.submit("A", "B")
            outcomes = await bench.until(2)
            own = {value_of(outcome)["loop"] for outcome in outcomes.values()}
            assert len(own) == 1
            assert id(asyncio.get_running_loop()) not in own
            assert value_of(outcomes["A"])["main"] is False
            assert value_of(outcomes["B"])["of"] == "B"

    asyncio.run(main())


def test_a_def_that_returns_an_awaitable_has_it_awaited_in_its_thread() -> None:
    def callback(station_id: str, module_input: ModuleInput) -> Any:
        return echo(station_id, module_input)

    async def main() -> None:
        async with Bench(callback, kind=Executor.THREAD) as bench:
            bench.submit("A")
            assert value_of((await bench.until(1))["A"]) == {"station_id": "A", "of": "A"}

    asyncio.run(main())


def test_one_that_blocks_its_loop_keeps_no_other_waiting(release: threading.Event) -> None:
    async def callback(station_id: str, module_input: ModuleInput) -> str:
        if station_id == "blocks":
            release.wait(600)
        return "done"

    async def main() -> None:
        async with Bench(callback, kind=Executor.THREAD, concurrency=2) as bench:
            bench.submit("blocks", "A", "B", "C")
            await bench.until(3)
            assert sorted(bench.stations()) == ["A", "B", "C"]
            release.set()
            await bench.until(4)

    asyncio.run(main())


def test_one_that_waits_too_long_is_cancelled_and_its_thread_is_free_again() -> None:
    waiting, cancelled = threading.Event(), threading.Event()

    async def callback(station_id: str, module_input: ModuleInput) -> str:
        if station_id == "waits":
            try:
                asyncio.get_running_loop().call_soon(waiting.set)  # when it waits
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                cancelled.set()
                raise
        return "done"

    async def main() -> None:
        async with Bench(callback, kind=Executor.THREAD, station_timeout=1000, clock=time.time) as bench:
            bench.submit("waits", "A")
            await bench.until(1)
            await condition(waiting.is_set)
            bench.let_time_run_out("waits")
            outcomes = await bench.until(2)
            assert "AGG_STATION_TIMEOUT" in error_of(outcomes["waits"])
            assert "await asyncio.sleep(1000)" in (outcomes["waits"].traceback or "")
            await condition(lambda: bench.zombies() == 0)
            assert cancelled.is_set()

    asyncio.run(main())


@pytest.mark.parametrize(
    "error", [ValueError("own"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr
)
def test_whatever_it_raises_fails_its_station_alone(error: BaseException) -> None:
    async def callback(station_id: str, module_input: ModuleInput) -> str:
        await asyncio.sleep(0)
        if station_id == "bad":
            raise error
        return station_id

    async def main() -> None:
        async with Bench(callback, kind=Executor.THREAD, workers=1) as bench:
            bench.submit("A", "bad", "B", "bad", "C")
            outcomes = await bench.until(5)
            assert type(error).__name__ in error_of(outcomes["bad"])
            assert [outcome.code for _, outcome in bench.outcomes].count(Code.RESULT) == 3

    asyncio.run(main())


def test_a_stopped_runner_leaves_no_loop_open() -> None:
    async def main() -> None:
        async with Bench(echo, kind=Executor.THREAD, concurrency=3) as bench:
            for n in range(30):
                bench.runner.submit(Call(str(n), None, None))
            await bench.until(30)

    asyncio.run(main())
    for thread in threading.enumerate():
        if thread.name == "callback":
            thread.join(60)
    gc.collect()  # a loop that is not closed would complain, and warnings are errors
