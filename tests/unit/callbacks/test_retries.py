"""Further calls of a callback that raises (`AGG_RETRIES`)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.callbacks.runner import ModuleInput
from app.callbacks.scheduler import Call
from app.settings.enums import Executor
from tables.model.enums import Code
from tests.callback_bench import Bench, error_of, value_of
from tests.virtual_time import EPOCH, run_in_virtual_time


class Flaky:
    """A callback that raises so many times for each station, and then returns how often it was called."""

    def __init__(self, failures: int, seconds: float = 0.0, error: type[BaseException] = ValueError) -> None:
        self.failures = failures
        self.seconds = seconds
        self.error = error
        self.times: list[float] = []

    async def __call__(self, *_: object) -> int:
        self.times.append(round(asyncio.get_running_loop().time(), 3))
        if self.seconds:
            await asyncio.sleep(self.seconds)
        if len(self.times) <= self.failures:
            raise self.error(len(self.times))
        return len(self.times)


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_a_callback_that_raises_is_called_again_after_a_backoff_that_doubles_up_to_five_seconds(seconds: float) -> None:
    async def main() -> None:
        callback = Flaky(8, seconds)
        async with Bench(callback, retries=8, station_timeout=60) as bench:
            bench.submit("A")
            assert value_of((await bench.until(1))["A"])["result"] == 9
        pauses = [after - before - seconds for before, after in zip(callback.times, callback.times[1:], strict=False)]
        assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0], abs=0.01)

    run_in_virtual_time(main())


@pytest.mark.parametrize("error", [ValueError, SystemExit, asyncio.CancelledError])
def test_when_every_call_raises_the_last_error_is_the_station_s(error: type[BaseException]) -> None:
    async def main() -> None:
        callback = Flaky(99, error=error)
        async with Bench(callback, retries=2) as bench:
            bench.submit("A")
            outcome = (await bench.until(1))["A"]
            assert error_of(outcome).startswith(error.__name__)
            assert "raise self.error(len(self.times))" in (outcome.traceback or "")
            assert "During handling" not in (outcome.traceback or "")
            assert len(callback.times) == 3

    run_in_virtual_time(main())


def test_without_retries_there_is_one_call() -> None:
    async def main() -> None:
        callback = Flaky(1)
        async with Bench(callback) as bench:
            bench.submit("A")
            assert error_of((await bench.until(1))["A"]) == "ValueError: 1"
            assert len(callback.times) == 1

    run_in_virtual_time(main())


def test_the_timeout_runs_from_the_first_call_over_all_retries() -> None:
    async def main() -> None:
        callback = Flaky(99, seconds=4.0)
        async with Bench(callback, retries=99, station_timeout=10.0) as bench:
            bench.submit("A")
            assert "AGG_STATION_TIMEOUT" in error_of((await bench.until(1))["A"])
            assert bench.times == pytest.approx([10.0], abs=0.01)
            assert callback.times == [0.0, 4.1, 8.3]

    run_in_virtual_time(main())


def test_a_retry_for_which_no_time_is_left_is_not_waited_for() -> None:
    async def main() -> None:
        callback = Flaky(99, seconds=2.0)
        async with Bench(callback, retries=99, station_timeout=4.15) as bench:
            bench.submit("A")
            assert error_of((await bench.until(1))["A"]) == "ValueError: 2"
            assert bench.times == pytest.approx([4.1], abs=0.01)

    run_in_virtual_time(main())


def test_a_retry_after_the_deadline_goes_on_in_overtime_and_gives_its_place_to_others() -> None:
    async def main() -> None:
        flaky = Flaky(3, seconds=1.0)

        async def callback(station_id: str, module_input: ModuleInput) -> Any:
            return await flaky(station_id, module_input) if station_id == "flaky" else "at once"

        async with Bench(callback, retries=5, concurrency=1) as bench:
            bench.submit("flaky", deadline=1.05)  # it passes while the second call is waited for
            bench.submit("B", deadline=100)
            await bench.until(1)
            assert bench.stations() == ["B"]
            assert bench.times == pytest.approx([1.05], abs=0.06)
            assert bench.overtime() == 1
            assert value_of((await bench.until(2))["flaky"])["result"] == 4

    run_in_virtual_time(main())


def test_the_station_s_next_call_waits_for_the_last_retry() -> None:
    async def main() -> None:
        seen: list[int] = []

        async def callback(station_id: str, module_input: ModuleInput) -> None:
            seen.append(module_input["n"])
            if seen in ([1], [1, 1]):
                raise ValueError

        async with Bench(callback, retries=3, module_input=lambda call: {"n": call.context}) as bench:
            for n in (1, 2):
                bench.runner.submit(Call("A", None, n))
            await bench.until(2)
            assert seen == [1, 1, 1, 2]

    run_in_virtual_time(main())


def test_each_call_gets_a_module_input_of_its_own() -> None:
    async def main() -> None:
        calls: list[int] = []

        async def callback(station_id: str, module_input: ModuleInput) -> Any:
            value = module_input.pop("of")
            calls.append(value)
            if len(calls) < 3:
                raise ValueError
            return value

        async with Bench(callback, retries=3) as bench:
            bench.submit("A")
            assert value_of((await bench.until(1))["A"])["result"] == "A"

    run_in_virtual_time(main())


def test_input_that_can_not_be_aligned_is_not_tried_again() -> None:
    async def main() -> None:
        made: list[str] = []

        def module_input(call: Call[Any]) -> ModuleInput:
            made.append(call.station_id)
            message = "ragged"
            raise ValueError(message)

        async with Bench(Flaky(0), retries=3, module_input=module_input) as bench:
            bench.submit("A")
            assert error_of((await bench.until(1))["A"]) == "ValueError: ragged"
            assert made == ["A"]

    run_in_virtual_time(main())


def test_cancel_all_ends_it_between_two_calls() -> None:
    async def main() -> None:
        callback = Flaky(99)
        async with Bench(callback, retries=99) as bench:
            bench.submit("A")
            await asyncio.sleep(0.5)
            await bench.runner.cancel_all()
            count = len(callback.times)
            await asyncio.sleep(20)
            assert len(callback.times) == count
            assert bench.outcomes == []
            assert (bench.runner.pending, bench.zombies()) == (0, 0)

    run_in_virtual_time(main())


@pytest.mark.parametrize("kind", [Executor.AUTO, Executor.THREAD])
def test_a_def_in_a_thread_is_called_again_too(kind: Executor) -> None:
    calls: list[str] = []

    def callback(station_id: str, module_input: ModuleInput) -> int:
        calls.append(station_id)
        if len(calls) < 3:
            raise ValueError
        return len(calls)

    async def main() -> None:
        async with Bench(callback, retries=2, kind=kind, clock=lambda: EPOCH) as bench:
            bench.submit("A")
            outcome = (await bench.until(1))["A"]
            assert outcome.code is Code.RESULT
            assert value_of(outcome)["result"] == 3

    asyncio.run(main())
