"""The runner for a callback that takes many stations at once (`AGG_BATCH_CALLBACK`)."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import UserDict
from typing import Any

import numpy as np
import pytest

from app.callbacks import scheduler
from app.callbacks.runner import ModuleInput
from app.callbacks.scheduler import Call
from app.settings.enums import Executor
from tables.model.enums import Code
from tests.callback_bench import ROUNDING, Bench, Others, condition, error_of, value_of
from tests.virtual_time import run_in_virtual_time

Inputs = dict[str, ModuleInput]


class Model:
    """Returns what each station's input is `of`, and notes which stations it was called with."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.calls: list[list[str]] = []

    async def __call__(self, inputs: Inputs) -> dict[str, Any]:
        self.calls.append(list(inputs))
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return {station: {"of": module_input["of"]} for station, module_input in inputs.items()}


def test_what_is_ready_goes_into_one_call_up_to_the_size() -> None:
    async def main() -> None:
        model = Model()
        async with Bench(model, size=4) as bench:
            bench.submit(*"ABCDEFGHIJ")
            outcomes = await bench.until(10)
            assert model.calls == [list("ABCD"), list("EFGH"), list("IJ")]
            assert bench.stations() == list("ABCDEFGHIJ")
            assert value_of(outcomes["C"]) == {"station_id": "C", "of": "C"}
            bench.submit("K")  # nothing is waited for to fill a call
            await bench.until(11)
            assert bench.times[-1] == 0.0

    run_in_virtual_time(main())


def test_concurrency_counts_calls() -> None:
    async def main() -> None:
        model = Model(1.0)
        async with Bench(model, size=2, concurrency=3) as bench:
            bench.submit(*"ABCDEFGH")
            await asyncio.sleep(0.5)
            assert model.calls == [list("AB"), list("CD"), list("EF")]
            assert (bench.runner.running, bench.runner.pending) == (3, 8)
            await bench.until(8)
            assert bench.times == pytest.approx([1.0] * 6 + [2.0] * 2)

    run_in_virtual_time(main())


def test_one_station_s_calls_never_share_a_call_and_keep_their_order() -> None:
    async def main() -> None:
        seen: list[tuple[str, int]] = []

        async def callback(inputs: Inputs) -> None:
            seen.extend((station, module_input["n"]) for station, module_input in inputs.items())
            await asyncio.sleep(1)

        async with Bench(callback, size=10, module_input=lambda call: {"n": call.context}) as bench:
            for n in range(3):
                for station in "AB":
                    bench.runner.submit(Call(station, None, n))
            await bench.until(6)
            assert seen == [("A", 0), ("B", 0), ("A", 1), ("B", 1), ("A", 2), ("B", 2)]
            assert bench.times == pytest.approx([1, 1, 2, 2, 3, 3])

    run_in_virtual_time(main())


def test_a_station_that_is_left_out_is_empty_and_one_that_is_invented_is_told_of() -> None:
    async def main() -> None:
        async def callback(inputs: Inputs) -> dict[str, Any]:
            return {"A": 1, "B": None, "X": 5, 7: 1}  # type: ignore[dict-item]

        async with Bench(callback, size=32) as bench:
            bench.submit("A", "B", "C")
            outcomes = await bench.until(3)
            assert value_of(outcomes["A"]) == {"station_id": "A", "result": 1}
            assert outcomes["B"].code is outcomes["C"].code is Code.EMPTY
            assert bench.strangers == ["X", "7"]

    run_in_virtual_time(main())


@pytest.mark.parametrize("waits", [False, True])
def test_when_it_raises_each_of_its_stations_is_failed_and_no_other(waits: bool) -> None:
    async def callback(inputs: Inputs) -> dict[str, Any]:
        if waits:
            await asyncio.sleep(1)
        if "bad" in inputs:
            raise SystemExit("no model")
        return dict.fromkeys(inputs, 1)

    async def main() -> None:
        async with Bench(callback, size=2) as bench:
            bench.submit("A", "bad", "B", "C")
            outcomes = await bench.until(4)
            assert {station: outcome.code for station, outcome in outcomes.items()} == {
                "A": Code.FAILED, "bad": Code.FAILED, "B": Code.RESULT, "C": Code.RESULT,
            }  # fmt: skip
            assert error_of(outcomes["A"]) == "SystemExit: no model"
            assert "raise SystemExit" in (outcomes["A"].traceback or "")

    run_in_virtual_time(main())


@pytest.mark.parametrize(("value", "name"), [(None, "NoneType"), ([("A", 1)], "list"), ("A", "str")])
def test_a_return_that_is_no_mapping_fails_each(value: Any, name: str) -> None:
    async def callback(inputs: Inputs) -> Any:
        return value

    async def main() -> None:
        async with Bench(callback, size=32) as bench:
            bench.submit("A", "B")
            outcomes = await bench.until(2)
            for station in "AB":
                assert error_of(outcomes[station]) == (
                    f"TypeError: a batch callback returns a dict {{station_id: result}}, this one returned {name}"
                )

    run_in_virtual_time(main())


def test_any_mapping_and_numpy_values_are_fine_and_a_bad_value_fails_its_station_alone() -> None:
    async def callback(inputs: Inputs) -> Any:
        return UserDict({"A": np.float32(1.5), "B": object(), "C": {"x": np.arange(2)}, "D": "x" * 200})

    async def main() -> None:
        async with Bench(callback, size=32, max_result_bytes=100) as bench:
            bench.submit("A", "B", "C", "D")
            outcomes = await bench.until(4)
            assert value_of(outcomes["A"])["result"] == 1.5
            assert "can't be written as JSON" in error_of(outcomes["B"])
            assert value_of(outcomes["C"]) == {"station_id": "C", "x": [0, 1]}
            assert "AGG_MAX_MESSAGE_BYTES" in error_of(outcomes["D"])

    run_in_virtual_time(main())


def test_input_that_can_not_be_aligned_fails_its_station_before_the_call() -> None:
    def module_input(call: Call[Any]) -> ModuleInput:
        if call.station_id == "bad":
            message = "ragged"
            raise ValueError(message)
        return {"of": call.station_id}

    async def main() -> None:
        model = Model()
        async with Bench(model, size=2, module_input=module_input) as bench:
            bench.submit("A", "bad", "B")
            outcomes = await bench.until(3)
            assert error_of(outcomes["bad"]) == "ValueError: ragged"
            assert model.calls == [["A", "B"]]

    run_in_virtual_time(main())


def test_a_station_whose_deadline_has_passed_is_skipped_and_the_call_made_of_others() -> None:
    async def main() -> None:
        model = Model(3.0)
        async with Bench(model, size=2, concurrency=1) as bench:
            bench.submit("A", "B")
            bench.submit("late", deadline=2)
            bench.submit("C", "D", deadline=9)
            outcomes = await bench.until(5)
            assert outcomes["late"].code is Code.SKIPPED
            assert model.calls == [["A", "B"], ["C", "D"]]

    run_in_virtual_time(main())


def test_a_backlog_of_late_stations_lets_others_have_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    milliseconds = itertools.count()  # one for each look at the clock: how fast this machine is, is of no interest
    monkeypatch.setattr(scheduler, "perf_counter", lambda: next(milliseconds) / 1000)

    async def main() -> None:
        async with Others() as others, Bench(Model(), size=4) as bench:
            bench.submit(*(str(n) for n in range(20_000)), deadline=-1.0)
            await bench.until(20_000)
        assert others.turns > 10  # 77 takes of 260, six at a time

    run_in_virtual_time(main())


def test_the_timeout_fails_all_stations_of_a_call() -> None:
    async def main() -> None:
        model = Model(1000)
        async with Bench(model, size=32) as bench:
            bench.submit("A", "B")
            outcomes = await bench.until(2)
            assert bench.times == pytest.approx([30, 30], abs=0.01)
            for station in "AB":
                assert "AGG_STATION_TIMEOUT" in error_of(outcomes[station])
                assert "await asyncio.sleep(self.seconds)" in (outcomes[station].traceback or "")

    run_in_virtual_time(main())


def test_a_call_is_in_overtime_from_the_earliest_deadline_of_its_stations() -> None:
    async def main() -> None:
        model = Model(10)
        async with Bench(model, size=3, concurrency=1) as bench:
            bench.submit("A", deadline=8)
            bench.submit("B", deadline=4)
            bench.submit("C")
            bench.submit("D", deadline=20)
            await asyncio.sleep(3.9)
            assert (len(model.calls), bench.overtime()) == (1, 0)
            await asyncio.sleep(0.2)
            assert (model.calls[1:], bench.overtime()) == ([["D"]], 1)
            await bench.until(4)
            assert bench.times == pytest.approx([10, 10, 10, 14], abs=0.1)

    run_in_virtual_time(main())


def test_it_is_called_again_for_all_of_its_stations_with_inputs_of_their_own() -> None:
    async def main() -> None:
        calls: list[list[str]] = []

        async def callback(inputs: Inputs) -> dict[str, Any]:
            calls.append([f"{station}:{inputs.pop(station).pop('of')}" for station in list(inputs)])
            if len(calls) < 3:
                raise ValueError
            return {"A": 1}

        async with Bench(callback, size=2, retries=2) as bench:
            bench.submit("A", "B")
            outcomes = await bench.until(2)
            assert calls == [["A:A", "B:B"]] * 3
            assert value_of(outcomes["A"])["result"] == 1

    run_in_virtual_time(main())


@pytest.mark.parametrize("kind", [Executor.AUTO, Executor.THREAD])
def test_a_def_for_many_runs_in_a_thread(kind: Executor) -> None:
    def callback(inputs: Inputs) -> dict[str, Any]:
        time.sleep(0.01)
        return {station: module_input["of"] for station, module_input in inputs.items()}

    async def main() -> None:
        loop = asyncio.get_running_loop()
        times: dict[str, float] = {}
        began = loop.time()
        async with Bench(callback, size=2, kind=kind, observe=times.__setitem__) as bench:
            bench.submit("A", "B", "C")
            outcomes = await bench.until(3)
            assert [value_of(outcomes[station])["result"] for station in "ABC"] == ["A", "B", "C"]
            await condition(lambda: bench.busy() == 0)
            assert all(0.01 - ROUNDING <= seconds <= loop.time() - began for seconds in times.values())
            assert sorted(times) == ["A", "B", "C"]

    asyncio.run(main())


def test_cancel_all_forgets_whole_calls() -> None:
    async def main() -> None:
        model = Model(5)
        async with Bench(model, size=2, concurrency=1) as bench:
            bench.submit("A", "B", "C")
            await asyncio.sleep(1)
            await bench.runner.cancel_all()
            bench.submit("A")
            await bench.until(1)
            assert model.calls == [["A", "B"], ["A"]]
            assert bench.stations() == ["A"]

    run_in_virtual_time(main())
