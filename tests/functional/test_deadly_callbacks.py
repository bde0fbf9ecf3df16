"""A callback that ends its process ends no other worker for ever; the others' work is not touched by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.messages.start_note import GROUP
from app.testing import TopologyTestDriver
from tests.functional.plant import ModuleInput, message, record
from tests.further import further

DEATHS = 5  # two that are only counted, one in a group, two alone
LONG = 500.0


class Plant:
    """A model whose `deadly` stations end the worker: they never return, and the test kills it while they run."""

    def __init__(self, *deadly: str) -> None:
        self.deadly = deadly
        self.running: list[str] = []
        self.ran: list[str] = []

    async def __call__(self, station_id: str, _: ModuleInput) -> dict[str, str]:
        self.ran.append(station_id)
        if station_id in self.deadly:
            self.running.append(station_id)
            await asyncio.sleep(10 * LONG)
        return {"of": station_id}


@pytest.fixture
def driver_of() -> Iterator[Callable[..., TopologyTestDriver]]:
    drivers: list[TopologyTestDriver] = []

    def make(model: Any, **settings: Any) -> TopologyTestDriver:
        times = {"batch_timeout": LONG, "max_batch_age": 2 * LONG, "station_timeout": 5 * LONG}
        drivers.append(TopologyTestDriver(model, partitions=1, **(times | settings)))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


def die_while_it_runs(driver: TopologyTestDriver, plant: Plant, *, lose_commits: bool = False) -> None:
    for _ in range(2_000):
        if plant.running:
            break
        driver.advance(0.001)
    assert plant.running, f"nothing deadly runs; {plant.ran} ran"
    plant.running.clear()
    driver.restart(lose_commits=lose_commits)


@pytest.mark.parametrize("others", [0, 1, 3, GROUP, 3 * GROUP])
def test_a_station_that_ends_its_worker_again_and_again_is_failed_and_the_others_are_not(
    driver_of: Callable[..., TopologyTestDriver], others: int
) -> None:
    plant = Plant("X")
    driver = driver_of(plant)
    stations = [f"S{number}" for number in range(others)]
    driver.send(message(*stations[: others // 2], "X", *stations[others // 2 :]))
    for _ in range(DEATHS - (not others)):  # where it is alone from the first the group is the first time alone
        assert not driver.outputs
        die_while_it_runs(driver, plant)
    driver.advance(1)
    assert not plant.running
    (output,) = driver.outputs
    assert output.value["meta"]["status"] == "complete"
    assert [failed["station_id"] for failed in output.value["meta"]["failed"]] == ["X"]
    assert "os._exit" in output.value["meta"]["failed"][0]["error"]
    assert [station["station_id"] for station in output.value["stations"]] == stations
    (letter,) = driver.dead_letters
    assert (letter.headers["reason"], letter.headers["station-id"]) == ("station-failed", "X")
    driver.restart()
    plant.ran.clear()
    driver.send(message("A", "B", time="2025-11-14 10:00:01"))
    assert len(driver.outputs) == 2


@pytest.mark.parametrize("after", [0.1, 0.19, 0.25, 1.0, 10.0])
@pytest.mark.parametrize("slow", [(), ("SLOW",), ("SLOW", "SLOWER", "HANGS")])
@pytest.mark.parametrize("topic", [None, *further("SINGLES")])
def test_it_is_found_also_when_it_takes_its_time_and_beside_slow_ones(
    driver_of: Callable[..., TopologyTestDriver], topic: str | None, slow: tuple[str, ...], after: float
) -> None:
    plant = Plant("X")
    times = {"SLOW": 3.0, "SLOWER": 20.0, "HANGS": LONG}

    async def model(station_id: str, module_input: ModuleInput) -> dict[str, str]:
        if station_id in times:
            await asyncio.sleep(times[station_id])
        return await plant(station_id, module_input)

    driver = driver_of(model, passthrough_topics=("SINGLES",))
    driver.send([record(station) for station in ("A", *slow, "X", "B", *(f"S{n}" for n in range(100)))], topic=topic)
    for _ in range(2 * DEATHS):
        for _ in range(50_000):
            if plant.running or any(letter.headers.get("station-id") == "X" for letter in driver.dead_letters):
                break
            driver.advance(0.002 if not slow else 0.1)
        if not plant.running:
            break
        driver.advance(after)
        plant.running.clear()
        driver.restart()
    failed = [letter for letter in driver.dead_letters if "os._exit" in letter.headers["error"]]
    assert [letter.headers["station-id"] for letter in failed] == ["X"]


def test_it_is_found_where_its_source_message_is_split_again_at_each_start(
    driver_of: Callable[..., TopologyTestDriver],
) -> None:
    plant = Plant("X")
    driver = driver_of(plant)
    driver.send(message("A", "X", "B"))
    for _ in range(DEATHS):
        assert not driver.outputs
        die_while_it_runs(driver, plant, lose_commits=True)
    driver.advance(1)
    assert not plant.running
    (output,) = driver.outputs
    assert [failed["station_id"] for failed in output.value["meta"]["failed"]] == ["X"]


def test_two_that_end_their_workers_are_both_found(driver_of: Callable[..., TopologyTestDriver]) -> None:
    plant = Plant("X", "Y")
    driver = driver_of(plant)
    driver.send(message("A", "X", "B", "Y"))
    deaths = 0
    while not driver.outputs:
        die_while_it_runs(driver, plant)
        deaths += 1
        assert deaths <= 2 * DEATHS
    (output,) = driver.outputs
    assert [failed["station_id"] for failed in output.value["meta"]["failed"]] == ["X", "Y"]


def test_one_that_passes_through_is_found_too(driver_of: Callable[..., TopologyTestDriver]) -> None:
    plant = Plant("X")
    driver = driver_of(plant, passthrough_topics=("SINGLES",))
    driver.send([record("A"), record("X"), record("B")], topic="SINGLES")
    for _ in range(DEATHS):
        die_while_it_runs(driver, plant)
    assert {output.key for output in driver.outputs} == {"A", "B"}
    assert [letter.headers["station-id"] for letter in driver.dead_letters] == ["X"]


@pytest.mark.parametrize("kills", range(1, DEATHS))
def test_workers_that_are_killed_while_all_is_well_fail_no_station(
    driver_of: Callable[..., TopologyTestDriver], kills: int
) -> None:
    async def slow(station_id: str, _: ModuleInput) -> dict[str, str]:
        await asyncio.sleep(2)
        return {"of": station_id}

    driver = driver_of(slow)
    driver.send(message(*(f"S{number}" for number in range(200))))
    for _ in range(kills):
        driver.advance(1)
        driver.restart()
    driver.advance(300)
    (output,) = driver.outputs
    assert (output.value["station_count"], output.value["meta"]["failed"]) == (200, [])


def test_an_event_whose_deadline_has_passed_is_neither_run_nor_suspected(
    driver_of: Callable[..., TopologyTestDriver],
) -> None:
    plant = Plant("X")
    driver = driver_of(plant, batch_timeout=5.0)
    driver.send(message("A", "X"))
    die_while_it_runs(driver, plant)
    driver.advance(6)
    plant.running.clear()
    driver.restart()
    assert not plant.running
    assert driver.outputs[0].value["meta"]["missing"] == ["X"]
