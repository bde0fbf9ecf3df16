"""A backlog of slow callbacks: what is opened is done before its deadline, whatever the callbacks and messages are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest

from app.testing import TopologyTestDriver
from tests.functional.plant import DIRECT, START, Model, message, slow
from tests.further import further

LONGEST = 900.0  # virtual seconds that a backlog is given
Sizes = Iterable[int]


def stations(count: int, prefix: str = "S") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def taking(seconds: float) -> Model:
    """A model that takes so long with every station."""

    async def model(station_id: str, module_input: dict[str, Any]) -> dict[str, float]:
        await asyncio.sleep(seconds)
        return {"took": seconds}

    return model


def changing(*periods: tuple[float, float]) -> Model:
    """A model that takes, from each of these times on (seconds of the driver's), so many seconds."""

    async def model(station_id: str, module_input: dict[str, Any]) -> dict[str, float]:
        now = asyncio.get_running_loop().time()
        await asyncio.sleep([seconds for since, seconds in periods if now >= since][-1])
        return {"at": now}

    return model


def open_backlog(
    driver: TopologyTestDriver,
    messages: Sequence[Sequence[str]],
    headers: Callable[[int], Mapping[str, str]] = lambda _: {},
) -> None:
    """Let a worker start that finds these messages."""
    driver.kill()
    for number, names in enumerate(messages):
        driver.send(message(*names, time=START + number), headers=headers(number))
    driver.restart()


def finish(driver: TopologyTestDriver, batches: int) -> float:
    """Wait until so many outputs are out; returns how many seconds that took."""
    start = driver.now
    while driver.metrics.batches_closed.total() < batches:
        assert driver.now - start < LONGEST
        driver.advance(0.25)
    return driver.now - start


def partial(driver: TopologyTestDriver) -> int:
    return sum(output.value["meta"]["status"] == "partial" for output in driver.outputs)


@pytest.mark.parametrize(
    ("size", "seconds", "concurrency"),
    [
        *((50, 0.5, 64), (3, 0.5, 64), (1, 0.5, 64), (8, 0.5, 4), (30, 0.05, 4)),
        *further((10, 1.0, 64), (50, 2.0, 64), (20, 0.5, 4)),
    ],
)
@pytest.mark.parametrize("same", [True, False], ids=["same stations", "other stations"])
def test_no_batch_of_a_backlog_runs_into_its_deadline(size: int, seconds: float, concurrency: int, same: bool) -> None:
    with TopologyTestDriver(taking(seconds), concurrency=concurrency, batch_timeout=5) as driver:
        open_backlog(driver, [stations(size, "S" if same else f"S{number}-") for number in range(30)])
        assert driver.metrics.stations_split <= max(size, 2 * concurrency)
        took = finish(driver, 30)
        assert partial(driver) == 0
        at_once = min(concurrency, size if same else 30 * size)
        assert took < 1.4 * 30 * size * seconds / at_once + 2 * seconds, "the places were in use"


def test_a_pace_is_unknown_again_after_a_restart() -> None:
    with TopologyTestDriver(taking(0.5), batch_timeout=5) as driver:
        open_backlog(driver, [stations(50)] * 40)
        for _ in range(3):
            driver.advance(2.2)
            driver.restart()
        finish(driver, 3)
        driver.advance(60.0)
        assert partial(driver) == 0
        assert len(driver.outputs) == 40


def test_a_pace_is_unknown_again_after_a_long_rest() -> None:
    with TopologyTestDriver(changing((0.0, 0.01), (50.0, 0.5)), batch_timeout=5) as driver:
        open_backlog(driver, [stations(50)] * 100)
        finish(driver, 100)
        driver.advance(60.0)
        split = driver.metrics.stations_split
        for number in range(100, 130):
            driver.send(message(*stations(50), time=START + number))
        assert driver.metrics.stations_split - split <= 128
        finish(driver, 130)
        assert partial(driver) == 0


@pytest.mark.parametrize("seconds", [2.0, *further(0.5)])
@pytest.mark.parametrize("same", [True, False], ids=["same stations", "other stations"])
def test_few_run_into_their_deadlines_when_callbacks_become_slow_in_the_middle(seconds: float, same: bool) -> None:
    with TopologyTestDriver(changing((0.0, 0.01), (0.5, seconds)), batch_timeout=5) as driver:
        open_backlog(driver, [stations(50, "S" if same else f"S{number}-") for number in range(120)])
        finish(driver, 120)
        assert partial(driver) <= 4


def test_callbacks_that_are_fast_again_have_their_pace_again() -> None:
    with TopologyTestDriver(changing((0.0, 0.01), (0.5, 1.0), (10.0, 0.01)), batch_timeout=5) as driver:
        open_backlog(driver, [stations(50)] * 300)
        assert finish(driver, 300) < 10.0 + 300 * 0.01 * 2 + 1.0
        assert partial(driver) <= 2


@pytest.mark.parametrize("seconds", [30.0, *further(3.0)])
def test_one_slow_station_among_fast_ones_holds_nothing_up(seconds: float) -> None:
    async def model(station_id: str, module_input: dict[str, Any]) -> None:
        await asyncio.sleep(seconds if station_id == "S7" else 0.01)

    with TopologyTestDriver(model, batch_timeout=5) as driver:
        open_backlog(driver, [stations(50)] * 200)
        assert finish(driver, 200) < 200 * 0.01 * 1.5 + 5.0
        assert {tuple(output.value["meta"]["missing"]) for output in driver.outputs} <= {(), ("S7",)}


@pytest.mark.parametrize("size", [1, 3])
def test_small_messages_whose_stations_hang_do_not_hold_others_up(size: int) -> None:
    async def model(station_id: str, module_input: dict[str, Any]) -> None:
        await asyncio.sleep(0.01 if station_id.startswith("B") else 1000.0)

    with TopologyTestDriver(model, batch_timeout=5, station_timeout=30) as driver:
        open_backlog(driver, [stations(size, "A")] * 20 + [stations(size, "B")])
        driver.advance(4.0)
        assert [output.value["station_count"] for output in driver.outputs] == [0]
        assert driver.outputs[0].value["meta"]["empty"] == stations(size, "B")
        assert finish(driver, 21) < 30.0


def test_a_large_message_is_opened_in_one_go_and_alone() -> None:
    with TopologyTestDriver(taking(0.5), batch_timeout=60, max_batch_age=60) as driver:
        open_backlog(driver, [stations(1_000, f"{number}-") for number in range(3)])
        assert driver.metrics.stations_split == 1_000
        assert finish(driver, 3) < 3 * 1_000 / 128 + 2.0
        assert partial(driver) == 0


@pytest.mark.parametrize(("size", "concurrency"), [(100, 64), (7, 2), (1, 1)])
def test_a_batch_that_comes_in_many_messages_is_opened_as_one_that_comes_in_one(size: int, concurrency: int) -> None:
    with TopologyTestDriver(taking(1.0), concurrency=concurrency, batch_timeout=20) as driver:
        driver.kill()
        for part in range(5):
            driver.send(message(*stations(size, f"P{part}-")))
        driver.restart()
        assert len(driver.open_batches) == 1
        finish(driver, 1)
        driver.advance(20)
        [output] = driver.outputs
        assert (output.value["station_count"], output.value["meta"]["completed_by"]) == (5 * size, "all")
        assert driver.late == []


def test_a_supplement_moves_the_deadline_while_all_places_are_taken() -> None:
    with TopologyTestDriver(taking(4.0), concurrency=1, batch_timeout=5) as driver:
        driver.send(message("A", "B"))
        driver.advance(3)
        driver.send(message("C"), headers={"batch-timeout": "30"})
        driver.advance(30)
        [output] = driver.outputs
        assert output.value["meta"]["missing"] == []
        assert output.value["meta"]["deadline"] == pytest.approx(START + 33, abs=0.1)
        assert driver.late == []


def test_messages_of_unequal_sizes() -> None:
    sizes = [1, 200, 3, 50, 10, 10, 100, 1, 1, 300, 50, 3] * 4
    with TopologyTestDriver(taking(0.5), batch_timeout=6) as driver:
        open_backlog(driver, [stations(size, f"{number}-") for number, size in enumerate(sizes)])
        assert finish(driver, len(sizes)) < 1.2 * sum(sizes) / 128
        assert partial(driver) == 0


def test_a_short_timeout_by_header_is_kept_too() -> None:
    timeouts = ["1.2", "2", "30"]
    with TopologyTestDriver(taking(0.5), batch_timeout=5) as driver:
        open_backlog(driver, [stations(50)] * 30, lambda number: {"batch-timeout": timeouts[number % 3]})
        finish(driver, 30)
        assert partial(driver) == 0


def test_adaptive_timeouts() -> None:
    with TopologyTestDriver(
        taking(0.5), batch_timeout=5, timeout_mode="adaptive", timeout_min=1, timeout_max=30
    ) as driver:
        open_backlog(driver, [stations(50)] * 30)
        finish(driver, 30)
        assert partial(driver) == 0


def test_a_callback_for_many_stations() -> None:
    async def model(inputs: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0.5)
        return dict.fromkeys(inputs, 1)

    with TopologyTestDriver(batch_callback=model, concurrency=2, batch_callback_size=10, batch_timeout=5) as driver:
        open_backlog(driver, [stations(20, f"{number}-") for number in range(60)])
        assert driver.metrics.stations_split == 2 * 2 * 10
        assert finish(driver, 60) < 60 * 0.5 * 1.3
        assert partial(driver) == 0


def test_callbacks_in_threads() -> None:
    """Time stands still while they run: they are over at once, and nothing waits for the clock."""

    def model(station_id: str, module_input: dict[str, Any]) -> None:
        time.sleep(0.001)

    with TopologyTestDriver(model, concurrency=4, batch_timeout=5) as driver:
        open_backlog(driver, [stations(8)] * 30)
        finish(driver, 30)
        assert partial(driver) == 0


def test_stations_that_pass_through_in_between_wait_like_others_and_hold_no_batch_up() -> None:
    with TopologyTestDriver(taking(0.5), batch_timeout=5, passthrough_topics=(DIRECT,)) as driver:
        driver.kill()
        for number in range(20):
            driver.send(message(*stations(50), time=START + number))
            driver.send([{"stationId": f"P{number}-{one}"} for one in range(10)])  # of no batch
            driver.send([{"stationId": f"D{number}"}], DIRECT)
        driver.restart()
        finish(driver, 20)
        driver.advance(5.0)
        batches = [output for output in driver.outputs if "stations" in output.value]
        assert [output.value["meta"]["status"] for output in batches] == ["complete"] * 20
        assert len(driver.outputs) == 20 + 20 * 10 + 20


def test_skipped_stations_of_an_old_backlog_make_no_pace() -> None:
    with TopologyTestDriver(taking(0.5), batch_timeout=5) as driver:
        open_backlog(driver, [stations(2_000)])  # more than can be done
        driver.kill()
        for number in range(1, 31):
            driver.send(message(*stations(50), time=START + number))
        driver.advance(6.0)
        driver.restart()  # its stations come again, and are skipped
        finish(driver, 30)
        driver.advance(10.0)
        assert partial(driver) == 1


def test_a_backlog_of_fast_callbacks_is_not_held_up() -> None:
    with TopologyTestDriver(slow({}), batch_timeout=5) as driver:
        open_backlog(driver, [stations(100)] * 300)
        driver.advance(0.5)
        assert len(driver.outputs) == 300
