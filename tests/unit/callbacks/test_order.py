"""The callback runner: order for each station, places, and the event loop shared with others."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import Counter

import pytest

from app.callbacks.runner import ModuleInput
from app.callbacks.scheduler import Call
from tables.model.enums import Code
from tests.callback_bench import Bench, Others, condition, echo, hang, leading_tasks, value_of
from tests.virtual_time import run_in_virtual_time


@pytest.mark.parametrize("in_thread", [False, True])
def test_one_station_s_calls_run_one_at_a_time_in_their_order(in_thread: bool) -> None:
    running: Counter[str] = Counter()
    overlaps: list[str] = []
    seen: dict[str, list[int]] = {}

    def enter(station_id: str, module_input: ModuleInput) -> None:
        if running[station_id]:
            overlaps.append(station_id)
        running[station_id] += 1
        seen.setdefault(station_id, []).append(module_input["n"])

    async def coroutine(station_id: str, module_input: ModuleInput) -> None:
        enter(station_id, module_input)
        if module_input["n"] % 3:
            await asyncio.sleep(module_input["n"] % 5)
        running[station_id] -= 1

    def function(station_id: str, module_input: ModuleInput) -> None:
        enter(station_id, module_input)
        running[station_id] -= 1

    async def main() -> None:
        bench = Bench(
            function if in_thread else coroutine, concurrency=7, module_input=lambda call: {"n": call.context}
        )
        async with bench:
            for n in range(300):
                bench.runner.submit(Call(f"S{n % 11}", None, n))
            await bench.until(300)

    asyncio.run(main()) if in_thread else run_in_virtual_time(main())
    assert overlaps == []
    assert seen == {f"S{s}": list(range(s, 300, 11)) for s in range(11)}


@pytest.mark.parametrize("in_thread", [False, True])
def test_no_more_callbacks_than_places_run_at_once_and_all_places_are_used(in_thread: bool) -> None:
    lock, full = threading.Lock(), threading.Barrier(5)
    now = most = 0

    def step(by: int) -> None:
        nonlocal now, most
        with lock:
            now += by
            most = max(most, now)

    async def coroutine(station_id: str, module_input: ModuleInput) -> None:
        step(1)
        await asyncio.sleep(1)
        step(-1)

    def function(station_id: str, module_input: ModuleInput) -> None:
        step(1)
        full.wait(600)
        step(-1)

    async def main() -> None:
        places = {"concurrency": 64, "workers": 5} if in_thread else {"concurrency": 5}
        async with Bench(function if in_thread else coroutine, **places) as bench:
            bench.submit(*(str(n) for n in range(50)))
            await bench.until(50)

    asyncio.run(main()) if in_thread else run_in_virtual_time(main())
    assert (now, most) == (0, 5)


def test_a_slow_station_keeps_no_other_waiting() -> None:
    async def callback(station_id: str, module_input: ModuleInput) -> None:
        await asyncio.sleep(10 if station_id == "slow" else 0.1)

    async def main() -> None:
        async with Bench(callback, concurrency=2) as bench:
            bench.submit("slow", "A", "slow", "B", "C")
            await bench.until(5)
            assert bench.stations() == ["A", "B", "C", "slow", "slow"]
            assert bench.times[2] == pytest.approx(0.3)

    run_in_virtual_time(main())


def test_callbacks_that_never_wait_let_the_event_loop_have_its_turn() -> None:
    async def main() -> None:
        async with Others() as others, Bench(echo) as bench:
            bench.submit(*(str(n) for n in range(5_000)))
            await bench.until(5_000)
        assert others.turns > 10

    run_in_virtual_time(main())


def test_callbacks_that_never_wait_share_one_task() -> None:
    async def main() -> None:
        tasks: set[object] = set()

        async def callback(station_id: str, module_input: ModuleInput) -> None:
            tasks.add(asyncio.current_task())

        async with Bench(callback) as bench:
            bench.submit(*(str(n) for n in range(1_000)))
            await bench.until(1_000)
        assert len(tasks) == 1

    run_in_virtual_time(main())


def test_timeouts_and_task_groups_of_the_user_s_own_work_in_a_callback() -> None:
    async def callback(station_id: str, module_input: ModuleInput) -> str:
        try:
            async with asyncio.timeout(1):
                await asyncio.sleep(60)
        except TimeoutError:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(asyncio.sleep(1, "inner"))
            return task.result()
        return "no timeout"

    async def main() -> None:
        async with Bench(callback, concurrency=1) as bench:
            bench.submit("A", "B")
            outcomes = await bench.until(2)
            assert [value_of(outcomes[station])["result"] for station in "AB"] == ["inner", "inner"]

    run_in_virtual_time(main())


@pytest.mark.parametrize("waits", [False, True])
def test_a_callback_that_cancels_its_own_task_harms_no_other_station(waits: bool) -> None:
    async def callback(station_id: str, module_input: ModuleInput) -> str:
        if station_id == "bad":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if waits:
                await asyncio.sleep(1)
            return "done"
        try:
            async with asyncio.timeout(1):
                await asyncio.sleep(60)
        except TimeoutError:
            return "own timeout"
        return "?"

    async def main() -> None:
        async with Bench(callback, concurrency=1) as bench:
            bench.submit("A", "bad", "B", "bad", "C")
            outcomes = await bench.until(5)
            assert [value_of(outcomes[station])["result"] for station in "ABC"] == ["own timeout"] * 3
            assert outcomes["bad"].code is (Code.FAILED if waits else Code.RESULT)

    run_in_virtual_time(main())


def test_the_queue_goes_on_when_somebody_cancels_the_task_that_works_on_it() -> None:
    async def main() -> None:
        async with Bench(echo) as bench:
            bench.submit(*(str(n) for n in range(5_000)))
            await condition(lambda: len(bench.outcomes) > 0)
            assert 0 < len(bench.outcomes) < 5_000
            (task,) = leading_tasks()
            task.cancel()
            assert len(await bench.until(5_000)) == 5_000
            bench.submit("A")
            (task,) = leading_tasks()  # not started yet
            task.cancel()
            await bench.until(5_001)

    run_in_virtual_time(main())


def test_a_runner_that_goes_down_with_its_loop_reports_nothing() -> None:
    async def main() -> None:
        bench = Bench(hang)
        await bench.runner.start()
        bench.submit("A", "A", "B")
        await asyncio.sleep(1)
        for task in leading_tasks():
            coroutine = task.get_coro()
            assert inspect.iscoroutine(coroutine)
            coroutine.close()  # as the interpreter does
        assert bench.outcomes == []
        await bench.runner.stop()

    run_in_virtual_time(main())
