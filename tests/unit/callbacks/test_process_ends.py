"""Processes for callbacks end when they are not needed any more, and with their worker."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import uvloop

from app.callbacks.executors import processes
from app.callbacks.scheduler import Call
from tables.model.enums import Code
from tests.callback_bench import Bench, error_of
from tests.process_bench import PATIENCE, Pool, eventually, module_input_of

ROOT = Path(__file__).parents[3]


def running(bench: Bench, count: int) -> Callable[[], bool]:
    return lambda: bench.runner.running == count


def test_one_in_overtime_gives_up_its_place_to_a_further_process_which_ends_when_it_is_not_needed_any_more() -> None:
    async def main() -> None:
        now = 0.0
        pool = Pool(keep=1, concurrency=1, overtime_max=2, clock=lambda: now)
        async with pool as bench:
            for n in range(3):
                bench.runner.submit(Call(f"hang-{n}", n, None))
                await eventually(running(bench, n + 1))
                now += 1
            bench.submit("A")
            outcomes = await bench.until(2)
            assert bench.stations() == ["hang-0", "A"]
            assert "AGG_OVERTIME_MAX" in error_of(outcomes["hang-0"])
            assert "in _hang" in (outcomes["hang-0"].traceback or "")
            assert outcomes["A"].code is Code.RESULT
            await eventually(lambda: len(pool.pids()) == 3)  # two in overtime, and one that is kept
            await bench.runner.cancel_all()
            await eventually(lambda: len(pool.pids()) == 1)
        assert pool.deaths == []

    uvloop.run(main())


def test_a_further_process_that_is_not_needed_any_more_ends_by_itself() -> None:
    async def main() -> None:
        now = 0.0
        pool = Pool(keep=1, concurrency=1, module_input=lambda _: {"seconds": 1.0}, clock=lambda: now)
        async with pool as bench:
            bench.runner.submit(Call("slow", 0.0, None))
            await eventually(running(bench, 1))
            now = 1.0
            bench.submit("A", "B")
            outcomes = await bench.until(3)
            assert {outcome.code for outcome in outcomes.values()} == {Code.RESULT, Code.EMPTY}
            await eventually(lambda: len(pool.pids()) == 1)
        assert pool.deaths == []

    uvloop.run(main())


def test_cancel_all_spares_a_process_that_finishes_at_once_and_kills_one_that_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "FINISH_SECONDS", 1e6)  # "at once" is as long as a busy machine takes for it

    async def main() -> None:
        pool = Pool(module_input=module_input_of)
        async with pool as bench:
            before = set(pool.pids())
            bench.submit("slow", "hang")
            await eventually(lambda: bench.busy() == 2)
            await bench.runner.cancel_all()  # which does not wait for it: that would be for ever
            assert bench.zombies() == 2
            bench.submit("A", "B")  # nobody waits for them
            await bench.until(2)
            await eventually(lambda: bench.zombies() == 1)  # the slow one has finished
            for child in list(pool.executor._busy):  # the time is over
                pool.executor._end_abandoned(child)
            await eventually(lambda: bench.zombies() == 0 and len(pool.pids()) == 2)
            assert len(before & set(pool.pids())) == 1
            assert sorted(bench.stations()) == ["A", "B"]

    uvloop.run(main())


def test_stop_is_quick_whatever_the_callbacks_do() -> None:
    async def main() -> None:
        pool = Pool()
        async with pool as bench:
            bench.submit("hang", "lock")
            await eventually(lambda: bench.busy() == 2)
            pids = pool.pids()
        assert not any(psutil.pid_exists(pid) for pid in pids)

    uvloop.run(main())


PARENT = """
import asyncio, sys, time
from app.callbacks.executors import child_process
from app.callbacks.executors.child_calls import ChildJob
from app.callbacks.executors.processes import ProcessExecutor

child_process.STACK_SECONDS = 600

async def main():
    job = ChildJob(list(sys.path), "tests.process_models:behave", "AGG_CALLBACK")
    executor = ProcessExecutor(job, keep=3, on_death=print)
    await executor.start(lambda: None)
    calls = [asyncio.create_task(executor.function(kind, {})) for kind in ("hang", "lock")]
    busy = executor._busy
    while len(busy) < 2 or not all(["process_models.py" in (await child.stack() or "") for child in list(busy)]):
        await asyncio.sleep(0.01)
    children = list(busy)
    print(*(child.pid for child in executor._living), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(*["process_models.py" in (await child.stack() or "") for child in children], flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_processes_end_with_their_worker_however_it_ends_and_not_before(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(children) == 3
        for child in children:  # Ctrl-C and a service manager's SIGTERM are the worker's affair
            child.send_signal(signal.SIGINT)
            child.send_signal(signal.SIGTERM)
        parent.stdin.write("are they all there?\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == "True True\n"
        assert psutil.wait_procs(children, timeout=0.0)[0] == []
        parent.send_signal(number)
        assert psutil.wait_procs(children, timeout=PATIENCE)[1] == []
        parent.wait(PATIENCE)
