"""Callbacks in processes: real ones, on the event loop of a real worker."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from app.callbacks import Call, ModuleInput
from app.child_calls import ChildJob
from app.functions import FunctionError
from app.processes import ProcessExecutor
from tables.codes import Code
from tests.callback_bench import Bench, error_of, value_of

MODELS = "tests.process_models"
ROOT = Path(__file__).parents[2]


class Pool:
    """A bench over processes, and what it was told of deaths."""

    def __init__(self, name: str = "behave", *, keep: int = 2, many: bool = False, **options: Any) -> None:
        self.deaths: list[str] = []
        job = ChildJob(list(sys.path), f"{MODELS}:{name}", "AGG_CALLBACK", many, options.get("max_result_bytes", 2**20))
        self.executor = ProcessExecutor(job, keep=keep, on_death=self.deaths.append)
        self.bench = Bench(self.executor, **{"clock": time.time} | options)

    async def __aenter__(self) -> Bench:
        return await self.bench.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await self.bench.__aexit__()
        assert self.pids() == []

    def pids(self) -> list[int]:
        """The processes that are not gone."""
        return [child.pid for child in self.executor._there]


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait for what processes do."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


def running(bench: Bench, count: int) -> Callable[[], bool]:
    return lambda: bench.runner.running == count


def module_input_of(call: Call) -> ModuleInput:
    return {"of": call.station_id, "power": [1.0, 3.0], "seconds": 0.3, "file": call.context}


def test_callbacks_run_in_other_processes_which_are_there_before_the_first_call() -> None:
    async def main() -> None:
        pool = Pool(module_input=module_input_of)
        async with pool as bench:
            assert len(pool.executor._idle) == 2
            bench.submit("A", "B", "numpy", "none", "unjson")
            outcomes = await bench.until(5)
            pids = {value_of(outcomes[station])["pid"] for station in "AB"}
            assert pids <= set(pool.pids())
            assert os.getpid() not in pids
            assert value_of(outcomes["A"])["of"] == "A"
            assert value_of(outcomes["numpy"]) == {"station_id": "numpy", "mean": 2.0, "all": [0, 1, 2]}
            assert outcomes["none"].code is Code.EMPTY
            assert "can't be written as JSON: object at x" in error_of(outcomes["unjson"])
        assert pool.deaths == []

    uvloop.run(main())


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
        pool = Pool(name, keep=1, station_timeout=0.5)
        async with pool as bench:
            (pid,) = pool.pids()
            started = time.monotonic()
            bench.submit("hang", "lock", "await", "A")
            first = (await bench.until(1))["hang"]
            assert 0.4 < time.monotonic() - started < 5
            assert error_of(first) == "TimeoutError: the callback did not finish within 0.5 s (AGG_STATION_TIMEOUT)"
            assert "in _hang\n" in (first.traceback or "")
            assert "app/child" not in (first.traceback or "")
            await eventually(lambda: not psutil.pid_exists(pid))
            # The start of another process counts for no station.
            outcomes = await bench.until(4)
            assert "in <lambda>\n" in (outcomes["lock"].traceback or "")
            assert outcomes["await"].code is (Code.FAILED if name == "behave_async" else Code.RESULT)
            assert outcomes["A"].code is Code.RESULT
            assert bench.runner.zombies == 0

    uvloop.run(main())


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
            await eventually(lambda: bench.runner.running == 1)
            now = 1.0
            bench.submit("A", "B")
            outcomes = await bench.until(3)
            assert {outcome.code for outcome in outcomes.values()} == {Code.RESULT, Code.EMPTY}
            await eventually(lambda: len(pool.pids()) == 1)
        assert pool.deaths == []

    uvloop.run(main())


def test_cancel_all_spares_a_process_that_finishes_at_once_and_kills_one_that_does_not() -> None:
    async def main() -> None:
        pool = Pool(module_input=module_input_of)
        async with pool as bench:
            before = set(pool.pids())
            bench.submit("slow", "hang")
            await eventually(lambda: bench.runner.busy_workers == 2)
            started = time.monotonic()
            await bench.runner.cancel_all()
            assert time.monotonic() - started < 0.5
            assert bench.runner.zombies == 2
            bench.submit("A", "B")  # nobody waits for them
            await bench.until(2)
            await eventually(lambda: bench.runner.zombies == 0 and len(pool.pids()) == 2)
            assert len(before & set(pool.pids())) == 1
            assert sorted(bench.stations()) == ["A", "B"]

    uvloop.run(main())


def test_stop_is_quick_whatever_the_callbacks_do() -> None:
    async def main() -> None:
        pool = Pool()
        async with pool as bench:
            bench.submit("hang", "lock")
            await eventually(lambda: bench.runner.busy_workers == 2)
            pids, started = pool.pids(), time.monotonic()
        assert time.monotonic() - started < 2
        assert not any(psutil.pid_exists(pid) for pid in pids)

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


@pytest.mark.parametrize("name", ["Model.predict", "model.predict"])
def test_the_callback_may_be_an_attribute_of_an_object(name: str) -> None:
    async def main() -> None:
        async with Pool(name, keep=1) as bench:
            bench.submit("A")
            outcome = (await bench.until(1))["A"]
            if name == "model.predict":
                assert value_of(outcome)["result"] == "predicted A"
            else:  # the class's own function, which lacks an object
                assert "missing 1 required positional argument" in error_of(outcome)

    uvloop.run(main())


def test_a_large_input_and_a_large_result_come_through() -> None:
    async def main() -> None:
        large = "x" * 5_000_000
        async with Pool(keep=1, module_input=lambda _: {"of": large}, max_result_bytes=2**23) as bench:
            bench.submit("A", "B")
            for outcome in (await bench.until(2)).values():
                assert value_of(outcome)["of"] == large

    uvloop.run(main())


def test_input_that_can_not_be_pickled_fails_its_station_alone() -> None:
    def module_input(call: Call) -> ModuleInput:
        return {"of": (lambda: 1) if call.station_id == "bad" else "fine"}

    async def main() -> None:
        async with Pool(keep=1, module_input=module_input) as bench:
            bench.submit("A", "bad", "B")
            outcomes = await bench.until(3)
            assert "pickle" in error_of(outcomes["bad"])
            assert outcomes["A"].code is outcomes["B"].code is Code.RESULT

    uvloop.run(main())


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import os\nif os.environ.get('IN_CHILD'): raise RuntimeError('no weights')\n", ["RuntimeError: no weights"]),
        ("import sys\nsys.exit('bye')\n", ["SystemExit: bye"]),
        ("import os\nos._exit(9)\n", ["its process ended with exit code 9 at the start"]),
    ],
)
def test_a_callback_that_a_process_can_not_import_is_an_error_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: list[str]
) -> None:
    (tmp_path / "fails_in_child.py").write_text(source + "def callback(*_): ...\n")
    monkeypatch.setenv("IN_CHILD", "1")

    async def main() -> None:
        job = ChildJob([str(tmp_path), *sys.path], "fails_in_child:callback", "AGG_CALLBACK")
        executor = ProcessExecutor(job, keep=2, on_death=lambda _: None)
        bench = Bench(executor, clock=time.time)
        with pytest.raises(FunctionError) as caught:
            async with bench:
                pass
        await bench.runner.stop()
        assert str(caught.value).startswith("AGG_CALLBACK=fails_in_child:callback: ")
        for word in words:
            assert word in str(caught.value)
        assert not executor._there

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
            model.write_text("def callback(*_): return 1\n")
            bench.submit("B")
            assert (await bench.until(3))["B"].code is Code.RESULT
        assert "RuntimeError: gone" in deaths[0]

    uvloop.run(main())


PARENT = """
import asyncio, sys, time
from app.child_calls import ChildJob
from app.processes import ProcessExecutor

async def main():
    job = ChildJob(list(sys.path), "tests.process_models:behave", "AGG_CALLBACK")
    executor = ProcessExecutor(job, keep=3, on_death=print)
    await executor.start(lambda: None)
    calls = [asyncio.create_task(executor.function(kind, {})) for kind in ("hang", "lock")]
    await asyncio.sleep(0.3)
    print(*(child.pid for child in executor._there), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_processes_end_with_their_worker_however_it_ends_and_not_before(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(children) == 3
        for child in children:  # Ctrl-C and a service manager's SIGTERM are the worker's affair
            child.send_signal(signal.SIGINT)
            child.send_signal(signal.SIGTERM)
        assert psutil.wait_procs(children, timeout=0.3)[0] == []
        parent.send_signal(number)
        assert psutil.wait_procs(children, timeout=10)[1] == []
        parent.wait(10)


def test_libraries_take_their_share_of_the_cores_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    async def main() -> None:
        pool = Pool(keep=1000)
        pool.executor._keep = 1
        async with pool:
            environment = psutil.Process(pool.pids()[0]).environ()
            assert (environment["OMP_NUM_THREADS"], environment["MKL_NUM_THREADS"]) == ("1", "7")

    uvloop.run(main())
