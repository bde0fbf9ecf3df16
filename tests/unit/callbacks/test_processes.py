"""Callbacks in processes: what goes in and comes out, and how they start."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from app.callbacks.executors.child_calls import ChildJob
from app.callbacks.executors.processes import ProcessExecutor
from app.callbacks.loading import FunctionError
from app.callbacks.runner import ModuleInput
from app.callbacks.scheduler import Call
from tables.model.enums import Code
from tests.callback_bench import Bench, error_of, value_of
from tests.process_bench import Pool, module_input_of


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


def test_the_callback_may_be_an_attribute_of_an_object() -> None:
    async def main() -> None:
        async with Pool("model.predict", keep=1) as bench:
            bench.submit("A")
            assert value_of((await bench.until(1))["A"])["result"] == "predicted A"

    uvloop.run(main())


def test_a_large_input_and_a_large_result_come_through() -> None:
    async def main() -> None:
        large = "x" * 5_000_000
        async with Pool(keep=1, module_input=lambda _: {"of": large}, max_result_bytes=2**23) as bench:
            bench.submit("A", "B")
            for outcome in (await bench.until(2)).values():
                assert value_of(outcome)["of"] == large

    uvloop.run(main())


@pytest.mark.parametrize("log_json", [False, True])
def test_a_process_imports_nothing_that_callbacks_do_not_need(log_json: bool) -> None:
    async def main() -> None:
        job = ChildJob(list(sys.path), "tests.process_models:behave", "AGG_CALLBACK", log_json=log_json)
        executor = ProcessExecutor(job, keep=1, on_death=lambda _: None)
        async with Bench(executor, clock=time.time) as bench:
            bench.submit("modules")
            modules = set(value_of((await bench.until(1))["modules"])["result"])
            assert {"app", "tables", "orjson"} <= modules
            assert not modules & {"aiokafka", "aiohttp", "faust", "mode", "prometheus_client", "pydantic", "tenacity"}

    uvloop.run(main())


def test_what_a_callback_prints_in_a_process_is_one_line_that_names_the_station(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def main() -> None:
        async with Pool(keep=1) as bench:
            bench.submit("print-A")
            await bench.until(1)

    uvloop.run(main())
    printed = capfd.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.endswith("[WARNING] tests.process_models:behave (station print-A) prints: load 1.5\n")


def test_a_task_in_a_process_that_exits_fails_its_station_and_the_next_call_is_well() -> None:
    async def main() -> None:
        async with Pool(keep=1) as bench:
            bench.submit("leave-A", "B", "leave-C", "D")
            outcomes = await bench.until(4)
            assert "SystemExit: 0" in error_of(outcomes["leave-A"])
            assert "SystemExit: 0" in error_of(outcomes["leave-C"])
            assert value_of(outcomes["B"])["pid"] == value_of(outcomes["D"])["pid"]

    uvloop.run(main())


def test_a_process_that_a_callback_forks_ends_when_it_is_told_to() -> None:
    async def main() -> None:
        async with Pool(module_input=module_input_of) as bench:
            bench.submit("fork")
            assert value_of((await bench.until(1))["fork"])["result"] == -15

    uvloop.run(main())


def test_input_that_can_not_be_pickled_fails_its_station_alone() -> None:
    def module_input(call: Call[Any]) -> ModuleInput:
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
        assert not executor._living

    uvloop.run(main())


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
