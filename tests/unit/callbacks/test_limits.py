"""The callback runner: deadlines, timeouts and overtime, on a clock that jumps or with real threads."""

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
from tables.model.enums import Code
from tests.callback_bench import Bench, condition, echo, error_of, hang, value_of
from tests.virtual_time import run_in_virtual_time


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What hung threads wait for; set at the end, so that none outlives its test."""
    event = threading.Event()
    yield event
    event.set()


def test_a_call_whose_deadline_has_passed_is_not_run() -> None:
    async def main() -> None:
        ran: list[str] = []

        async def callback(station_id: str, module_input: ModuleInput) -> None:
            ran.append(station_id)
            await asyncio.sleep(3)

        async with Bench(callback, concurrency=1) as bench:
            bench.submit("A", deadline=5)
            bench.submit("exactly at", deadline=3)
            bench.submit("after", deadline=3)
            bench.submit("no batch")
            outcomes = await bench.until(4)
            assert outcomes["after"].code is Code.SKIPPED
            assert outcomes["after"].value == "the deadline had passed before the callback started"
            assert ran == ["A", "exactly at", "no batch"]

    run_in_virtual_time(main())


def test_a_callback_that_takes_too_long_is_cancelled_and_its_station_failed_at_the_timeout() -> None:
    async def main() -> None:
        cancelled: list[str] = []

        async def callback(station_id: str, module_input: ModuleInput) -> str:
            try:
                await asyncio.sleep(1000 if station_id == "hung" else 29.9)
            except asyncio.CancelledError:
                cancelled.append(station_id)
                raise
            return "in time"

        async with Bench(callback) as bench:
            bench.submit("hung", "A", "hung")
            outcomes = await bench.until(3)
            assert bench.stations() == ["A", "hung", "hung"]
            assert bench.times == pytest.approx([29.9, 30, 60], abs=0.01)
            assert error_of(outcomes["hung"]) == (
                "TimeoutError: the callback did not finish within 30 s (AGG_STATION_TIMEOUT)"
            )
            assert "await asyncio.sleep(1000" in (outcomes["hung"].traceback or "")
            await asyncio.sleep(0)
            assert cancelled == ["hung", "hung"]
            assert bench.zombies() == 0

    run_in_virtual_time(main())


def test_a_callback_that_ignores_its_cancellation_is_left_behind_and_its_late_result_ignored() -> None:
    async def main() -> None:
        let_go = asyncio.Event()
        ended = asyncio.Event()

        async def callback(station_id: str, module_input: ModuleInput) -> str:
            if station_id == "B" or module_input["n"] > 0:
                return "next"
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue
            ended.set()
            return "late"

        async with Bench(callback, concurrency=1, module_input=lambda call: {"n": call.context}) as bench:
            for n, station in enumerate(["stubborn", "stubborn", "B"]):
                bench.runner.submit(Call(station, None, n))
            await bench.until(3)
            assert [outcome.code for _, outcome in bench.outcomes] == [Code.FAILED, Code.RESULT, Code.RESULT]
            assert bench.times == pytest.approx([30, 30, 30], abs=0.01)
            assert (bench.zombies(), bench.runner.pending, bench.runner.running) == (1, 0, 0)
            let_go.set()
            await ended.wait()
            await asyncio.sleep(1)
            assert len(bench.outcomes) == 3
            assert bench.zombies() == 0

    run_in_virtual_time(main())


def test_a_hung_thread_is_abandoned_at_the_timeout_and_replaced(release: threading.Event) -> None:
    started = threading.Event()

    def callback(station_id: str, module_input: ModuleInput) -> Any:
        if station_id == "hung":
            started.set()
            release.wait(600)
            return echo(station_id, module_input)  # late, and nobody will await it
        return "next"

    async def main() -> None:
        async with Bench(callback, concurrency=1, station_timeout=1000, clock=time.time) as bench:
            bench.submit("hung", "B")
            await condition(started.is_set)
            bench.let_time_run_out("hung")
            outcomes = await bench.until(2)
            assert error_of(outcomes["hung"]) == (
                "TimeoutError: the callback did not finish within 1000 s (AGG_STATION_TIMEOUT)"
            )
            assert "in callback" in (outcomes["hung"].traceback or "")
            assert value_of(outcomes["B"])["result"] == "next"
            assert (bench.zombies(), bench.busy()) == (1, 0)
            release.set()
            await condition(lambda: bench.zombies() == 0)
            assert len(bench.outcomes) == 2

    asyncio.run(main())
    gc.collect()


def test_hung_stations_give_up_their_places_at_the_deadline_and_never_starve_others() -> None:
    async def callback(station_id: str, module_input: ModuleInput) -> str:
        if station_id.startswith("hung"):
            await asyncio.sleep(20)
        return "done"

    async def main() -> None:
        async with Bench(callback, concurrency=4) as bench:
            bench.submit(*(f"hung{n}" for n in range(4)), deadline=5)
            bench.submit("hung0", "A", "B", deadline=100)
            await bench.until(2)
            assert bench.stations() == ["A", "B"]
            assert bench.times == pytest.approx([5, 5], abs=0.01)
            assert (bench.overtime(), bench.runner.running, bench.runner.pending) == (4, 4, 5)
            outcomes = await bench.until(7)
            assert bench.times[2:] == pytest.approx([20, 20, 20, 20, 40], abs=0.01)
            assert {value_of(outcome)["result"] for outcome in outcomes.values()} == {"done"}
            assert bench.overtime() == 0

    run_in_virtual_time(main())


def test_a_hung_thread_gives_up_its_place_at_the_deadline(release: threading.Event) -> None:
    def callback(station_id: str, module_input: ModuleInput) -> str:
        if station_id == "hung":
            release.wait(600)
        return "done"

    async def main() -> None:
        now = 0.0
        async with Bench(callback, concurrency=1, clock=lambda: now) as bench:
            bench.runner.submit(Call("hung", 1.0, None))
            await condition(lambda: bench.busy() == 1)
            now = 2.0
            bench.submit("A")
            await bench.until(1)
            assert bench.stations() == ["A"]
            assert (bench.overtime(), bench.busy()) == (1, 1)
            release.set()
            assert value_of((await bench.until(2))["hung"])["result"] == "done"

    asyncio.run(main())


def test_overtime_does_not_outlast_the_station_timeout() -> None:
    async def main() -> None:
        async with Bench(hang) as bench:
            bench.submit("A", deadline=5)
            assert "AGG_STATION_TIMEOUT" in error_of((await bench.until(1))["A"])
            assert bench.times == pytest.approx([30], abs=0.01)

    run_in_virtual_time(main())


def test_of_too_many_in_overtime_the_oldest_is_cancelled() -> None:
    async def main() -> None:
        async with Bench(hang, concurrency=2, overtime_max=3) as bench:
            for n in range(5):
                bench.submit(f"S{n}", deadline=1 + n)
            outcomes = await bench.until(2)
            assert bench.stations() == ["S0", "S1"]
            assert bench.times == pytest.approx([4, 5], abs=0.1)
            assert error_of(outcomes["S0"]) == (
                "TimeoutError: cancelled as the oldest of more than 3 callbacks that had outlived their batch's "
                "deadline (AGG_OVERTIME_MAX)"
            )
            assert bench.overtime() == 3
            await bench.until(5)
            assert bench.stations() == ["S0", "S1", "S2", "S3", "S4"]

    run_in_virtual_time(main())
