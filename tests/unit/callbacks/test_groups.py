"""Stations of one message that run as a group: the same as their calls one by one, but for what it costs."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from app.callbacks.outcome import encode_result, result_text
from app.callbacks.runner import ModuleInput
from app.callbacks.scheduler import BURST_CALLS, Call
from tables.model.enums import Code
from tests.callback_bench import Bench, Others, condition, echo, error_of, hang, leading_tasks, value_of
from tests.virtual_time import EPOCH, run_in_virtual_time

DEEP: list[Any] = []
for _ in range(300):
    DEEP = [DEEP]


class Odd(dict[str, Any]):
    """A dict of the user's own kind."""


VALUES: list[Any] = [
    {"x": 1},
    {"x": math.nan},
    {"station_id": "other", "x": 1},
    {1: "no text"},
    {"big": 2**70},
    {"x": object()},
    {"long": "x" * 2_000},
    {},
    Odd(x=1),
    DEEP,
    {"x": "\ud800"},
    [1, 2],
    "text",
    1.5,
    Decimal(1),
    None,
]


def test_a_group_comes_to_the_same_outcomes_as_calls() -> None:
    async def callback(station_id: str, module_input: ModuleInput) -> Any:
        return VALUES[int(station_id)]

    async def main() -> None:
        stations = [str(number) for number in range(len(VALUES))]
        async with Bench(callback, max_result_bytes=1_000) as by_call, Bench(callback, max_result_bytes=1_000) as bench:
            by_call.submit(*stations)
            group = bench.submit_group(*stations)
            assert await bench.until(len(stations)) == await by_call.until(len(stations))
            assert (group.opened, bench.runner.pending) == (1, 0)
            assert sum(group.taken) > len(group.taken) > 1

    run_in_virtual_time(main())


@pytest.mark.parametrize("value", VALUES)
def test_the_short_way_to_a_result_is_the_long_one_s_or_none(value: Any) -> None:
    text = result_text("A", value, 1_000)
    assert text is None or text == encode_result("A", value, max_bytes=1_000).value


def test_what_fails_in_a_group_fails_its_station_alone() -> None:
    async def callback(station_id: str, module_input: ModuleInput) -> dict[str, int]:
        if station_id == "exits":
            raise SystemExit
        if station_id == "raises":
            raise ValueError(station_id)
        return {"x": 1}

    def refuse(call: Any) -> ModuleInput:
        if call.station_id == "refused":
            message = "ragged"
            raise TypeError(message)
        return {}

    async def main() -> None:
        async with Bench(callback, module_input=refuse) as bench:
            bench.submit_group("A", "raises", "B", "exits", "refused", "C")
            outcomes = await bench.until(6)
            assert error_of(outcomes["raises"]) == "ValueError: raises"
            assert error_of(outcomes["exits"]).startswith("SystemExit")
            assert error_of(outcomes["refused"]) == "TypeError: ragged"
            assert [value_of(outcomes[station])["x"] for station in "ABC"] == [1, 1, 1]
            assert bench.runner.pending == 0

    run_in_virtual_time(main())


def test_a_station_of_a_group_waits_for_its_call_that_has_suspended_and_the_others_do_not() -> None:
    started: list[tuple[str, Any]] = []

    async def callback(station_id: str, module_input: ModuleInput) -> None:
        started.append((station_id, module_input["n"]))
        if station_id == "slow":
            await asyncio.sleep(10)

    async def main() -> None:
        async with Bench(callback, module_input=lambda call: {"n": call.context}) as bench:
            for n in range(3):
                bench.submit_group(("A", n), ("slow", n), ("B", n))
            await bench.until(6)
            assert started == [("A", 0), ("slow", 0), ("B", 0), ("A", 1), ("B", 1), ("A", 2), ("B", 2)]
            await bench.until(9)
            assert started[7:] == [("slow", 1), ("slow", 2)]
            assert bench.times[6:] == [pytest.approx(10), pytest.approx(20), pytest.approx(30)]

    run_in_virtual_time(main())


def test_calls_behind_a_group_and_groups_behind_calls_keep_the_order_of_a_station() -> None:
    started: list[int] = []

    async def callback(station_id: str, module_input: ModuleInput) -> None:
        started.append(module_input["n"])
        if module_input["n"] % 3 == 0:
            await asyncio.sleep(1)

    async def main() -> None:
        async with Bench(callback, module_input=lambda call: {"n": call.context}) as bench:
            for n in range(0, 20, 2):
                bench.submit_group(("A", n))
                bench.runner.submit(Call("A", None, n + 1))
                if n == 10:
                    await bench.until(6)
            await bench.until(20)
            assert started == list(range(20))
            assert bench.runner.upcoming is None

    run_in_virtual_time(main())


@pytest.mark.parametrize(("places", "order"), [(1, "ABCDE"), (2, "ACDEB"), (64, "ACEDB")])
def test_a_group_goes_on_where_it_stands_when_there_is_a_place(places: int, order: str) -> None:
    async def callback(station_id: str, module_input: ModuleInput) -> None:
        if station_id == "B":
            await asyncio.sleep(2)
        if station_id == "D":
            await asyncio.sleep(1)
        if station_id == "E":
            await asyncio.sleep(0.75)

    async def main() -> None:
        async with Bench(callback, concurrency=places) as bench:
            group = bench.submit_group(*"ABCDE")
            await bench.until(5)
            assert "".join(bench.stations()) == order
            assert group.opened == 1

    run_in_virtual_time(main())


def test_results_before_a_station_that_hangs_are_not_held_up() -> None:
    async def callback(station_id: str, module_input: ModuleInput) -> None:
        if station_id == "hangs":
            await hang(station_id, module_input)

    async def main() -> None:
        async with Bench(callback, concurrency=1) as bench:
            bench.submit_group("A", "B", "hangs", "C")
            await bench.until(2)
            await asyncio.sleep(1)
            assert bench.stations() == ["A", "B"]
            assert (bench.runner.running, bench.runner.pending) == (1, 2)

    run_in_virtual_time(main())


def test_a_group_lets_the_event_loop_have_its_turn_and_shares_one_task() -> None:
    async def main() -> None:
        tasks: set[object] = set()

        async def callback(station_id: str, module_input: ModuleInput) -> None:
            tasks.add(asyncio.current_task())

        async with Others() as others, Bench(callback) as bench:
            group = bench.submit_group(*(str(n) for n in range(5_000)))
            await bench.until(5_000)
            assert max(group.taken) <= BURST_CALLS
        assert others.turns > 10
        assert len(tasks) == 1

    run_in_virtual_time(main())


def test_no_outcome_of_a_group_that_is_cancelled_in_its_middle_comes_after_that() -> None:
    async def main() -> None:
        async with Bench(echo) as bench:
            bench.submit_group(*(str(n) for n in range(5_000)))
            bench.submit_group("A")
            bench.submit("B")
            await condition(lambda: len(bench.outcomes) > 0)
            seen = len(bench.outcomes)
            assert 0 < seen < 5_000
            await bench.runner.cancel_all()
            assert (bench.runner.pending, bench.runner.upcoming) == (0, None)
            bench.submit("A")
            bench.submit_group("B", "C")
            await bench.until(seen + 3)
            await asyncio.sleep(1)
            assert bench.stations()[seen:] == ["A", "B", "C"]
            assert bench.runner.pending == 0

    run_in_virtual_time(main())


def test_a_group_goes_on_in_another_task_when_somebody_cancels_the_one_it_runs_in() -> None:
    async def callback(station_id: str, module_input: ModuleInput) -> None:
        task = asyncio.current_task()
        assert task is not None
        if station_id == "cancels":
            task.cancel()
        assert not task.cancelling() or station_id == "cancels"

    async def main() -> None:
        async with Bench(callback) as bench:
            bench.submit_group(*(str(n) for n in range(3_000)), "cancels", "A", "cancels", "B")
            await condition(lambda: len(bench.outcomes) > 0)
            (task,) = leading_tasks()
            task.cancel()
            await bench.until(3_004)
            assert {outcome.code for _, outcome in bench.outcomes} == {Code.EMPTY}
            assert set(Counter(bench.stations()).values()) == {1, 2}

    run_in_virtual_time(main())


def test_a_station_of_a_group_that_outlives_the_deadline_gives_up_its_place() -> None:
    async def main() -> None:
        async with Bench(hang, concurrency=1, station_timeout=20) as bench:
            bench.submit_group("A", "B", deadline=5.0)
            await bench.until(1)
            assert bench.stations() == ["B"]
            assert bench.outcomes[0][1].code is Code.SKIPPED
            assert (bench.overtime(), bench.runner.running) == (1, 1)
            assert bench.times == [pytest.approx(5.0, abs=0.1)]
            outcomes = await bench.until(2)
            assert "AGG_STATION_TIMEOUT" in error_of(outcomes["A"])
            assert bench.times[1] == pytest.approx(20.0, abs=0.1)

    run_in_virtual_time(main())


def test_stations_whose_deadline_passes_while_callbacks_of_their_group_compute_are_not_run() -> None:
    now = 0.0

    async def callback(station_id: str, module_input: ModuleInput) -> None:
        nonlocal now
        until = time.perf_counter() + 0.002
        while time.perf_counter() < until:
            pass
        if station_id == "B":
            now = 1.0

    async def main() -> None:
        async with Bench(callback, clock=lambda: now) as bench:
            bench.submit_group(*"ABCD", deadline=0.001 - EPOCH)
            outcomes = await bench.until(4)
            codes = [outcomes[station].code for station in "ABCD"]
            assert codes == [Code.EMPTY, Code.EMPTY, Code.SKIPPED, Code.SKIPPED]

    asyncio.run(main())


def test_callbacks_of_a_group_are_timed_one_by_one() -> None:
    rows: list[tuple[Any, Any]] = []
    single: list[str] = []

    async def callback(station_id: str, module_input: ModuleInput) -> None:
        if station_id == "raises":
            raise ValueError
        if station_id == "suspends":
            await asyncio.sleep(2)
        until = time.perf_counter() + 0.001
        while time.perf_counter() < until:
            pass

    async def main() -> None:
        async with Bench(
            callback,
            observe=lambda station, _: single.append(station),
            observe_group=lambda stations, times: rows.append((list(stations), list(times))),
        ) as bench:
            bench.submit_group("A", "B", "raises", "C", "suspends", "D")
            await bench.until(6)

    run_in_virtual_time(main())
    assert [station for stations, _ in rows for station in stations] == ["A", "B", "raises", "C", "D"]
    assert single == ["suspends"]
    for stations, times in rows:
        assert len(times) == len(stations) + 1
        for station, begin, end in zip(stations, times, times[1:], strict=False):
            assert end - begin >= (0.001 if station != "raises" else 0)


def test_results_that_can_not_be_handed_on_are_an_error_and_stations_that_can_not_be_read_are_not_waited_for() -> None:
    async def main() -> None:
        bench = Bench(echo)
        await bench.runner.start()
        bench.submit_group("A", size=7)
        await bench.until(1)
        assert bench.runner.pending == 0
        bench.submit_group("B", "C").failing = True
        await condition(lambda: bench.runner.pending == 0)
        assert [type(error) for error in bench.errors] == [OSError]
        await bench.runner.stop()

    run_in_virtual_time(main())
