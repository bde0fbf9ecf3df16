"""Stations that run as groups: what their frames and batches see of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from app.messages.frames import FRAME_BYTES, FRAME_EVENTS, FrameError, StationFrame, StationGroup, decode_stations
from app.pipeline.stations import agent
from app.pipeline.stations.agent import StationAgent
from app.testing import TopologyTestDriver
from tests.functional.plant import BATCH, START, ModuleInput, message, slow, steps, unacknowledged


def agent_of(driver: TopologyTestDriver) -> StationAgent:
    assert driver._worker is not None
    return driver._worker.pipeline.stations


def test_a_message_in_two_frames_is_acknowledged_frame_by_frame() -> None:
    stations = [f"S{number}" for number in range(FRAME_EVENTS + 100)]
    with TopologyTestDriver(slow({"S7": 10.0, "S520": 20.0}), partitions=1, batch_timeout=50) as driver:
        driver.send(message(*stations))
        taken = agent_of(driver)
        assert (taken.left(0, 0), taken.left(0, 1), taken.unsettled) == (1, 1, 2)
        driver.advance(11.0)
        assert (taken.left(0, 0), taken.left(0, 1), taken.unsettled) == (None, 1, 1)
        driver.advance(10.0)
        assert (taken.left(0, 1), taken.unsettled, unacknowledged(driver)) == (None, 0, {})
        (output,) = driver.outputs
        assert [result["station_id"] for result in output.value["stations"]] == stations


def test_frames_of_several_partitions_with_one_message_are_each_acknowledged_when_they_are_done() -> None:
    stations = [f"S{number}" for number in range(40)]
    with TopologyTestDriver(slow({"S7": 10.0}), partitions=4, batch_timeout=50) as driver:
        driver.send(message(*stations))
        assert sorted([agent_of(driver).left(partition, 0) or 0 for partition in range(4)]) == [0, 0, 0, 1]
        driver.advance(11.0)
        assert unacknowledged(driver) == {}
        (output,) = driver.outputs
        assert output.value["meta"]["arrived_count"] == len(stations)


def test_when_callbacks_ran_is_remembered_whichever_way_they_took() -> None:
    async def model(station_id: str, module_input: ModuleInput) -> object:
        if station_id == "slow":
            await asyncio.sleep(10.0)
        if station_id == "bad":
            raise ValueError(station_id)
        return None if station_id == "empty" else {}

    stations = ["A", "empty", "slow", "bad", "B"]
    many = {"batch_callback": lambda inputs: dict.fromkeys(inputs, 1)}
    for callback, settings in ((model, {}), (model, {"retries": 1}), (None, many)):
        with TopologyTestDriver(callback, partitions=1, batch_timeout=50, **settings) as driver:
            driver.send(message(*stations))
            driver.advance(20.0)
            times = agent_of(driver).times.of(BATCH)
            assert set(times) == set(stations)
            assert all(START - 5 <= one.started_at <= one.ended_at for one in times.values())
            if callback is not None:
                assert times["slow"].ended_at - times["slow"].started_at == pytest.approx(10.0, abs=0.5)


def test_results_that_do_not_fit_into_a_frame_together_are_all_handed_on() -> None:
    async def model(station_id: str, module_input: ModuleInput) -> dict[str, str] | None:
        return {"x": "y" * 50_000} if int(station_id[1:]) % 3 else None

    with TopologyTestDriver(model, partitions=1) as driver:
        driver.send(message(*(f"S{number}" for number in range(60))))
        sent = driver.messages(driver.settings.batch_events_topic)
        assert max(len(event.value or b"") for event in sent) < FRAME_BYTES + 60_000
        (output,) = driver.outputs
        assert (output.value["station_count"], len(output.value["meta"]["empty"])) == (40, 20)
        assert unacknowledged(driver) == {}


@pytest.mark.parametrize("size", [1, 3])
def test_a_station_that_is_slow_keeps_none_of_its_group_waiting(size: int) -> None:
    with TopologyTestDriver(slow({"B": 6.0}), partitions=1, batch_timeout=5, concurrency=size) as driver:
        driver.send(message("A", "B", "C"))
        driver.advance(5.5)
        (output,) = driver.outputs
        assert output.value["meta"]["missing"] == (["B", "C"] if size == 1 else ["B"])
        driver.advance(1.0)
        assert [(late.key, late.value["station_id"], late.value["status"]) for late in driver.late] == (
            [(BATCH, "C", "skipped"), (BATCH, "B", "result")] if size == 1 else [(BATCH, "B", "result")]
        )


class Unreadable(StationGroup):
    """A group whose stations turn out to be none when their turn comes."""

    @property
    def count(self) -> int:
        return 2

    @property
    def stations(self) -> Sequence[Any]:
        message = "group 1 of the frame is no list of stations"
        raise FrameError(message)


@pytest.mark.parametrize("settings", [{}, {"retries": 1}])
def test_groups_that_can_not_be_read_at_their_turn_are_one_dead_letter_and_their_frame_is_acknowledged(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(value: bytes | None) -> StationFrame:
        frame = decode_stations(value)
        (good,) = frame.groups
        shared = (good.batch_id, good.source, good.opened_at, good.deadline, good.key, ())
        return StationFrame([Unreadable(*shared), good, Unreadable(*shared)], ())

    async def model(station_id: str, module_input: ModuleInput) -> None:
        await asyncio.sleep(1.0)

    with TopologyTestDriver(model, partitions=1, **settings) as driver:
        monkeypatch.setattr(agent, "decode_stations", read)
        driver.send(message("A", "B"))
        taken = agent_of(driver)
        assert (taken.left(0, 0), taken.unsettled, taken.runner.pending) == (2, 2, 2)
        driver.advance(2.0)
        assert steps(driver.dead_letters) == [("bad-message", None)]
        (letter,) = driver.dead_letters
        assert letter.headers["error"] == "group 1 of the frame is no list of stations"
        assert letter.headers["source-topic"] == driver.settings.station_events_topic
        assert (taken.left(0, 0), taken.unsettled, taken.runner.pending) == (None, 0, 0)
        assert unacknowledged(driver) == {}
        assert driver.outputs[0].value["meta"]["arrived_count"] == 2


def test_what_stands_ahead_is_seen_in_groups_too() -> None:
    with TopologyTestDriver(slow({"A": 3.0}), partitions=1, batch_timeout=30, concurrency=1) as driver:
        driver.send(message("A", "B", "C"))
        load = agent_of(driver).load(lag=1.0)
        assert (load.pending, load.ahead) == (3, 3)
        driver.advance(3.5)
        assert agent_of(driver).load(lag=1.0).ahead == 0
