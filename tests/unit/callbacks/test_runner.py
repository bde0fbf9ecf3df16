"""The callback runner: what a call comes to."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from app.callbacks.executors.base import LoopExecutor
from app.callbacks.outcome import Outcome
from app.callbacks.runner import CallbackRunner, ModuleInput
from app.callbacks.scheduler import Call
from app.settings import Settings
from tables.model.enums import Code
from tests.callback_bench import Bench, echo, error_of, value_of
from tests.virtual_time import run_in_virtual_time, unix_now


def test_the_callback_gets_the_station_and_its_module_input_and_its_result_comes_out() -> None:
    async def main() -> None:
        async with Bench(echo) as bench:
            bench.submit("A", "B")
            outcomes = await bench.until(2)
            assert value_of(outcomes["A"]) == {"station_id": "A", "of": "A"}
            assert value_of(outcomes["B"]) == {"station_id": "B", "of": "B"}
            assert bench.runner.pending == 0

    run_in_virtual_time(main())


def test_a_call_comes_back_with_its_context() -> None:
    async def main() -> None:
        async with Bench(echo) as bench:
            call = Call("A", None, object())
            bench.runner.submit(call)
            await bench.until(1)
            assert bench.outcomes[0][0] is call

    run_in_virtual_time(main())


def test_a_def_runs_in_a_thread() -> None:
    def callback(station_id: str, module_input: ModuleInput) -> dict[str, Any]:
        thread = threading.current_thread()
        return {"main": thread is threading.main_thread(), "daemon": thread.daemon, **module_input}

    async def main() -> None:
        async with Bench(callback) as bench:
            bench.submit("A")
            outcomes = await bench.until(1)
            assert value_of(outcomes["A"]) == {"station_id": "A", "main": False, "daemon": True, "of": "A"}
            assert bench.busy() == 0

    asyncio.run(main())


def test_a_def_that_returns_an_awaitable_has_it_awaited() -> None:
    def callback(station_id: str, module_input: ModuleInput) -> Any:
        return echo(station_id, module_input)

    async def main() -> None:
        async with Bench(callback) as bench:
            bench.submit("A")
            assert value_of((await bench.until(1))["A"]) == {"station_id": "A", "of": "A"}

    asyncio.run(main())


ERRORS = [
    ValueError("own"),
    SystemExit(3),
    KeyboardInterrupt(),
    asyncio.CancelledError(),
    GeneratorExit(),
    StopIteration(),
]


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize("suspends", [False, True])
@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_whatever_a_callback_raises_fails_its_station_alone(
    error: BaseException, suspends: bool, in_thread: bool
) -> None:
    async def coroutine(station_id: str, module_input: ModuleInput) -> str:
        if suspends:
            await asyncio.sleep(0.01)
        if station_id == "bad":
            raise error
        return station_id

    def function(station_id: str, module_input: ModuleInput) -> Any:
        if suspends:
            return coroutine(station_id, module_input)
        if station_id == "bad":
            raise error
        return station_id

    async def main() -> None:
        async with Bench(function if in_thread else coroutine, concurrency=1) as bench:
            bench.submit("A", "bad", "B", "bad", "C")
            outcomes = await bench.until(5)
            assert [outcome.code for _, outcome in bench.outcomes].count(Code.FAILED) == 2
            assert type(error).__name__ in error_of(outcomes["bad"])
            assert outcomes["bad"].traceback is not None
            assert {value_of(outcomes[station])["result"] for station in "ABC"} == set("ABC")

    asyncio.run(main())


def test_a_module_input_that_can_not_be_made_fails_its_station_alone() -> None:
    def module_input(call: Call[Any]) -> ModuleInput:
        if call.station_id == "bad":
            message = "ragged gun lists"
            raise ValueError(message)
        if call.station_id == "exit":
            raise SystemExit(1)
        return {}

    async def main() -> None:
        async with Bench(echo, module_input=module_input) as bench:
            bench.submit("bad", "A", "exit")
            outcomes = await bench.until(3)
            assert error_of(outcomes["bad"]) == "ValueError: ragged gun lists"
            assert error_of(outcomes["exit"]) == "SystemExit: 1"
            assert outcomes["A"].code is Code.RESULT

    run_in_virtual_time(main())


def test_the_module_input_is_made_when_the_callback_starts_not_before() -> None:
    async def main() -> None:
        made: list[str] = []
        gate = asyncio.Event()

        def module_input(call: Call[Any]) -> ModuleInput:
            made.append(call.station_id)
            return {}

        async def callback(station_id: str, module_input: ModuleInput) -> None:
            await gate.wait()

        async with Bench(callback, module_input=module_input, concurrency=1) as bench:
            bench.submit("A", "B")
            await asyncio.sleep(1)
            assert made == ["A"]
            gate.set()
            await bench.until(2)
            assert made == ["A", "B"]

    run_in_virtual_time(main())


def test_a_result_over_the_limit_fails_its_station() -> None:
    async def main() -> None:
        async with Bench(echo, max_result_bytes=10) as bench:
            bench.submit("A")
            assert "AGG_MAX_MESSAGE_BYTES" in error_of((await bench.until(1))["A"])

    run_in_virtual_time(main())


def test_an_outcome_that_can_not_be_taken_is_an_error_that_ends_the_worker() -> None:
    async def main() -> None:
        errors: list[BaseException] = []
        taken: list[str] = []
        done = asyncio.Event()

        def on_outcome(call: Call[Any], outcome: Outcome) -> None:
            if call.station_id == "A":
                message = "bug"
                raise RuntimeError(message)
            taken.append(call.station_id)
            done.set()

        runner: CallbackRunner[None] = CallbackRunner(
            LoopExecutor(echo),
            Settings(),
            module_input=lambda _: {},
            on_outcome=on_outcome,
            on_error=errors.append,
            clock=unix_now,
            max_result_bytes=1_000,
        )
        await runner.start()
        for station in "AB":
            runner.submit(Call(station, None, None))
        await done.wait()
        await runner.stop()
        assert taken == ["B"]
        assert [str(error) for error in errors] == ["bug"]

    run_in_virtual_time(main())


def test_a_runner_that_is_not_started_takes_no_calls() -> None:
    async def main() -> None:
        bench = Bench(echo)
        with pytest.raises(RuntimeError, match="not started"):
            bench.submit("A")

    run_in_virtual_time(main())
