"""A process in which a callback runs dies, or has to be killed: who fails for it, and what takes its place."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
import uvloop

from app.callbacks.executors import child_process
from app.callbacks.executors.child_calls import ChildJob
from app.callbacks.executors.processes import ProcessExecutor
from app.callbacks.scheduler import Call
from tables.model.enums import Code
from tests.callback_bench import Bench, error_of
from tests.process_bench import Pool, eventually, module_input_of, stands

DIED = "ProcessDiedError: the process in which the callback ran ended"


@pytest.mark.parametrize("name", ["behave", "behave_async"])
def test_what_raises_or_kills_its_process_fails_its_station_alone(name: str) -> None:
    async def main() -> None:
        pool = Pool(name, keep=1)
        async with pool as bench:
            bench.submit("A", "raise", "B", "exit", "C", "die", "D", "crash", "E", "killed", "F")
            outcomes = await bench.until(11)
            assert {station: outcome.value for station, outcome in outcomes.items() if len(station) > 1} == {
                "raise": "ValueError: own",
                "exit": "SystemExit: bye",
                "die": f"{DIED} with exit code 3",
                "crash": f"{DIED} by SIGSEGV",
                "killed": f"{DIED} by SIGKILL (short of memory?)",
            }
            assert {outcomes[station].code for station in "ABCDEF"} == {Code.RESULT}
            assert 'process_models.py", line' in (outcomes["raise"].traceback or "")
            assert "raise ValueError(message)" in (outcomes["raise"].traceback or "")
        assert pool.deaths == []

    uvloop.run(main())


def test_one_that_dies_is_replaced_at_once() -> None:
    async def main() -> None:
        pool = Pool()
        async with pool as bench:
            bench.submit("die")
            await bench.until(1)
            await eventually(lambda: len(pool.executor._idle) == 2)

    uvloop.run(main())


@pytest.mark.parametrize("name", ["behave", "behave_async"])
def test_one_that_takes_too_long_is_killed_and_replaced_and_the_letter_says_where_it_stood(name: str) -> None:
    async def main() -> None:
        pool = Pool(name, keep=1, station_timeout=1000)
        async with pool as bench:
            bench.submit("hang", "lock", "await", "A")
            pid = await stands(pool, "in _hang\n")
            bench.let_time_run_out("hang")
            first = (await bench.until(1))["hang"]
            assert error_of(first) == "TimeoutError: the callback did not finish within 1000 s (AGG_STATION_TIMEOUT)"
            assert "in _hang\n" in (first.traceback or "")
            assert "executors/child" not in (first.traceback or "")
            await eventually(lambda: not psutil.pid_exists(pid))
            await stands(pool, "in <lambda>\n")
            bench.let_time_run_out("lock")
            if name == "behave_async":
                await eventually(lambda: bench.runs("await"))
                bench.let_time_run_out("await")
            outcomes = await bench.until(4)
            assert "in <lambda>\n" in (outcomes["lock"].traceback or "")
            assert outcomes["await"].code is (Code.FAILED if name == "behave_async" else Code.RESULT)
            assert outcomes["A"].code is Code.RESULT
            assert bench.zombies() == 0

    uvloop.run(main())


def test_one_that_gets_no_turn_on_the_processor_says_where_it_stood_as_soon_as_it_does() -> None:
    async def main() -> None:
        pool = Pool(keep=1, station_timeout=1000)
        executor = pool.executor
        async with pool as bench:
            bench.submit("hang")
            pid = await stands(pool, "in _hang\n")
            os.kill(pid, signal.SIGSTOP)  # as on a machine with much else to do
            bench.let_time_run_out("hang")
            await eventually(lambda: bool(executor._dying))  # its time is up, and it is asked
            asyncio.get_running_loop().call_later(0.3, os.kill, pid, signal.SIGCONT)
            bench.submit("A")
            outcomes = await bench.until(2)
            assert "in _hang\n" in (outcomes["hang"].traceback or "")
            assert outcomes["A"].code is Code.RESULT

    uvloop.run(main())


def test_one_that_can_not_say_where_it_stands_is_killed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "STACK_SECONDS", 0.5)

    async def main() -> None:
        pool = Pool(keep=1, station_timeout=1000)
        executor = pool.executor
        async with pool as bench:
            bench.submit("hang")
            await eventually(lambda: len(executor._busy) == 1)
            (pid,) = [child.pid for child in executor._busy]
            os.kill(pid, signal.SIGSTOP)
            bench.let_time_run_out("hang")
            assert "AGG_STATION_TIMEOUT" in error_of((await bench.until(1))["hang"])
            await eventually(lambda: not psutil.pid_exists(pid))

    uvloop.run(main())


def test_an_idle_process_that_dies_is_replaced_and_no_station_fails() -> None:
    async def main() -> None:
        pool = Pool(keep=1)
        async with pool as bench:
            bench.submit("A")
            await bench.until(1)
            (pid,) = pool.pids()
            os.kill(pid, signal.SIGKILL)
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.001)  # noqa: ASYNC251 - the loop is not to notice
            bench.submit("B")
            assert (await bench.until(2))["B"].code is Code.RESULT
            await eventually(lambda: len(pool.executor._idle) == 1)
        assert pool.deaths == ["an idle process for callbacks ended by SIGKILL (short of memory?)"]

    uvloop.run(main())


def test_the_death_of_a_process_is_seen_though_a_program_that_it_started_lives_on(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "pid"
        async with Pool(keep=1, module_input=module_input_of) as bench:
            bench.runner.submit(Call("children", None, str(file)))
            assert "exit code 4" in error_of((await bench.until(1))["children"])
            # It was of the same group of processes, and is killed with it.
            await eventually(lambda: not psutil.pid_exists(int(file.read_text())))

    uvloop.run(main())


def test_a_call_whose_process_died_is_made_again_with_retries(tmp_path: Path) -> None:
    async def main() -> None:
        async with Pool(keep=1, retries=2, module_input=module_input_of) as bench:
            bench.runner.submit(Call("flaky", None, str(tmp_path / "count")))
            assert (await bench.until(1))["flaky"].code is Code.EMPTY
            assert (tmp_path / "count").read_text() == "xxx"

    uvloop.run(main())


def test_many_stations_go_into_one_process_and_die_with_it() -> None:
    async def main() -> None:
        async with Pool("behave_many", keep=1, many=True, size=3, module_input=module_input_of) as bench:
            bench.submit("A", "B", "none", "C", "die", "D")
            outcomes = await bench.until(6)
            assert [outcomes[station].code for station in ("A", "B", "none")] == [Code.RESULT, Code.RESULT, Code.EMPTY]
            for station in ("C", "die", "D"):
                assert "exit code 3" in error_of(outcomes[station])
            assert bench.strangers == ["ghost"]

    uvloop.run(main())


def test_a_replacement_that_can_not_start_fails_the_stations_that_need_it(tmp_path: Path) -> None:
    model = tmp_path / "vanishing.py"
    model.write_text("import os\ndef callback(station_id, _):\n    return os._exit(1) if station_id == 'die' else 1\n")

    async def main() -> None:
        deaths: list[str] = []
        job = ChildJob([str(tmp_path), *sys.path], "vanishing:callback", "AGG_CALLBACK")
        executor = ProcessExecutor(job, keep=1, on_death=deaths.append)
        async with Bench(executor, clock=time.time) as bench:
            model.write_text("raise RuntimeError('gone')\n")
            bench.submit("die")
            await bench.until(1)
            await eventually(lambda: len(deaths) == 1)  # the replacement
            bench.submit("A")
            assert "RuntimeError: gone" in error_of((await bench.until(2))["A"])
            # Of another length than the one before: a cached module counts as fresh by its size and its whole second.
            model.write_text("def callback(*_): return 'back again'\n")
            bench.submit("B")
            assert (await bench.until(3))["B"].code is Code.RESULT
        assert "RuntimeError: gone" in deaths[0]

    uvloop.run(main())
