"""The callback runner: cancelling everything, and stopping, whatever the callbacks do."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator

import pytest

from app.callbacks.runner import ModuleInput
from app.callbacks.scheduler import Call
from tests.callback_bench import Bench, condition, echo, value_of
from tests.virtual_time import EPOCH, run_in_virtual_time


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What hung threads wait for; set at the end, so that none outlives its test."""
    event = threading.Event()
    yield event
    event.set()


def test_after_cancel_all_no_old_outcome_comes_and_the_runner_goes_on() -> None:
    async def main() -> None:
        cleaned: list[str] = []

        async def callback(station_id: str, module_input: ModuleInput) -> str:
            if module_input["n"] == "old":
                try:
                    await asyncio.sleep(1)
                finally:
                    cleaned.append(station_id)
            return "new"

        async with Bench(callback, concurrency=2, module_input=lambda call: {"n": call.context}) as bench:
            for station in "AABCD":
                bench.runner.submit(Call(station, EPOCH + 0.25, "old"))
            await asyncio.sleep(0.5)  # virtual: A and B in overtime, then their places taken
            assert bench.overtime() == 2
            await bench.runner.cancel_all()
            assert sorted(cleaned) == ["A", "B"]
            runner = bench.runner
            assert (runner.pending, runner.running, bench.overtime(), bench.zombies()) == (0, 0, 0, 0)
            bench.outcomes.clear()
            for station in "ABC":
                bench.runner.submit(Call(station, None, "new"))
            await bench.until(3)
            await asyncio.sleep(100)
            assert [(call.station_id, call.context) for call, _ in bench.outcomes] == [(s, "new") for s in "ABC"]

    run_in_virtual_time(main())


def test_cancel_all_drops_what_is_queued_before_anything_has_run() -> None:
    async def main() -> None:
        async with Bench(echo) as bench:
            bench.submit("A", "A", "B")
            await bench.runner.cancel_all()
            await asyncio.sleep(1)
            assert bench.outcomes == []
            bench.submit("A")
            await bench.until(1)

    run_in_virtual_time(main())


def test_cancel_all_waits_for_no_callback_that_ignores_it() -> None:
    async def main() -> None:
        let_go = asyncio.Event()

        async def callback(station_id: str, module_input: ModuleInput) -> str:
            while not let_go.is_set() and station_id == "stubborn":
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue
            return "done"

        async with Bench(callback) as bench:
            bench.submit("stubborn")
            await asyncio.sleep(1)
            await bench.runner.cancel_all()
            assert asyncio.get_running_loop().time() < 2
            assert bench.zombies() == 1
            bench.submit("A")
            await bench.until(1)
            let_go.set()
            await asyncio.sleep(1)
            assert bench.stations() == ["A"]
            assert bench.zombies() == 0

    run_in_virtual_time(main())


def test_cancel_all_abandons_threads(release: threading.Event) -> None:
    started = threading.Event()

    def callback(station_id: str, module_input: ModuleInput) -> str:
        if station_id == "hung":
            started.set()
            release.wait(600)
        return "done"

    async def main() -> None:
        async with Bench(callback, concurrency=1, clock=time.time) as bench:
            bench.submit("hung", "B")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert started.wait(60)
            await bench.runner.cancel_all()
            assert bench.busy() == 0
            bench.submit("hung2")
            await bench.until(1)
            release.set()
            await condition(lambda: bench.zombies() == 0)
            assert bench.stations() == ["hung2"]

    asyncio.run(main())


@pytest.mark.parametrize("ignored", [(asyncio.CancelledError,), (asyncio.CancelledError, GeneratorExit)])
def test_stop_is_quick_and_leaves_no_task_whatever_the_callbacks_do(ignored: tuple[type[BaseException], ...]) -> None:
    async def main() -> None:
        gone = 0

        async def callback(station_id: str, module_input: ModuleInput) -> None:
            nonlocal gone
            attempts = 3
            while attempts:
                try:
                    await asyncio.sleep(20)
                except ignored as error:
                    # One that ignored even this for ever could not be ended by anybody.
                    attempts -= isinstance(error, GeneratorExit)
            gone += 1

        bench = Bench(callback, concurrency=2, station_timeout=10)
        async with bench:
            bench.submit("A", "B", "C")
            await bench.until(2)
            assert bench.zombies() == 2
            before = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - before <= 1
        assert asyncio.all_tasks() == {asyncio.current_task()}
        with pytest.raises(RuntimeError, match="not started"):
            bench.submit("D")

    run_in_virtual_time(main())
    gc.collect()


@pytest.mark.parametrize("by", ["cancel_all", "timeout"])
def test_a_cancelled_callback_may_await_a_generator_exit_while_it_cleans_up(by: str) -> None:
    async def main() -> None:
        async def callback(station_id: str, module_input: ModuleInput) -> str:
            try:
                await asyncio.sleep(20 * (station_id == "slow"))
            finally:
                if station_id == "slow":
                    loop = asyncio.get_running_loop()
                    broken = loop.create_future()
                    loop.call_later(0.01, broken.set_exception, GeneratorExit())
                    await broken
            return "done"

        async with Bench(callback, station_timeout=1) as bench:
            bench.submit("slow")
            await asyncio.sleep(0.5)
            if by == "cancel_all":
                await bench.runner.cancel_all()
            await asyncio.sleep(2)
            assert bench.stations() == (["slow"] if by == "timeout" else [])
            assert (bench.runner.pending, bench.zombies(), bench.errors) == (0, 0, [])
            bench.outcomes.clear()
            bench.submit("A")
            await bench.until(1)

    run_in_virtual_time(main())


def test_stop_does_not_wait_for_hung_threads(release: threading.Event) -> None:
    def callback(station_id: str, module_input: ModuleInput) -> None:
        release.wait(600)

    async def main() -> float:
        async with Bench(callback, clock=time.time) as bench:
            bench.submit("A", "B")
            await condition(lambda: bench.busy() == 2)
            before = time.monotonic()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return before

    before = asyncio.run(main())
    assert time.monotonic() - before < 300  # and not until they are released
    assert not release.is_set()


def test_the_threads_of_a_stopped_runner_end() -> None:
    def callback(station_id: str, module_input: ModuleInput) -> int:
        return threading.get_ident()

    async def main() -> set[int]:
        async with Bench(callback, concurrency=3) as bench:
            bench.submit(*(str(n) for n in range(20)))
            outcomes = await bench.until(20)
        return {value_of(outcome)["result"] for outcome in outcomes.values()}

    threads = asyncio.run(main())
    assert 1 <= len(threads) <= 3
    for thread in threading.enumerate():
        if thread.ident in threads:
            thread.join(60)
    assert not threads & {thread.ident for thread in threading.enumerate()}


def test_a_stopped_runner_can_be_started_again() -> None:
    async def main() -> None:
        bench = Bench(echo)
        for count in (1, 2):
            async with bench:
                bench.submit("A")
                await bench.until(count)

    run_in_virtual_time(main())
