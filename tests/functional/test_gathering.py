"""Outcomes wait for others that are about to come, a few milliseconds, and for nothing else."""

from __future__ import annotations

import asyncio

from app.messages.frames import decode_events
from app.testing import START_TIME, TopologyTestDriver
from tables.model.events import Arrived
from tests.functional.plant import BATCH, ModuleInput, message, slow


def arrivals(driver: TopologyTestDriver) -> list[tuple[float, list[str]]]:
    """The outcomes in the batches' log: seconds since the start, and the stations that travelled together."""
    frames = driver.messages(driver.settings.batch_events_topic)
    events = [event for frame in frames for event in decode_events(frame.raw or b"")]
    return [(round(event.at - START_TIME, 3), sorted(event.stations)) for event in events if isinstance(event, Arrived)]


def test_nothing_is_waited_for_where_no_call_is_left() -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send(message("A", "B"))
        assert driver.outputs[0].value["meta"]["closed_at"] == driver.now == START_TIME


def test_the_stations_of_all_partitions_travel_together() -> None:
    stations = [f"S{number:02}" for number in range(40)]
    with TopologyTestDriver(slow({})) as driver:
        driver.send(message(*stations))
        assert arrivals(driver) == [(0.0, stations)]


def test_what_ends_within_milliseconds_travels_together_while_another_call_runs_and_the_last_one_at_once() -> None:
    with TopologyTestDriver(slow({"A": 1.0, "B": 1.002, "C": 1.5, "D": 3.0})) as driver:
        driver.send(message("A", "B", "C", "D", "E"))
        driver.advance(5.0)
        assert arrivals(driver) == [(0.004, ["E"]), (1.004, ["A", "B"]), (1.504, ["C"]), (3.0, ["D"])]
        assert [output.key for output in driver.outputs] == [BATCH]


def test_outcomes_wait_longer_while_calls_wait_for_their_turn() -> None:
    async def model(station_id: str, module_input: ModuleInput) -> dict[str, str]:
        await asyncio.sleep(0.01)
        return {"of": station_id}

    with TopologyTestDriver(model, concurrency=2, partitions=1) as driver:
        driver.send(message("A", "B", "C", "D", "E", "F"))
        driver.advance(1.0)
        assert arrivals(driver) == [(0.022, ["A", "B", "C", "D"]), (0.03, ["E", "F"])]  # looked at each 4 ms
