"""A callback for many stations at once, in the whole application."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from app.testing import TopologyTestDriver
from tests.functional.plant import BATCH, TOPIC, ModuleInput, answering, message

Inputs = dict[str, ModuleInput]


async def means(inputs: Inputs) -> dict[str, Any]:
    """The mean power of each station; none for those without any."""
    powers = {station: module_input[TOPIC]["power"] for station, module_input in inputs.items()}
    return {station: {"mean": sum(power) / len(power)} for station, power in powers.items() if any(power)}


def of(**powers: list[float]) -> dict[str, Any]:
    return {
        TOPIC: [
            {"stationId": station, "sendTime": f"2025-11-14 {hour:02}:00:00", "power": value}
            for station, values in powers.items()
            for hour, value in enumerate(values)
        ]
    }


def test_each_station_has_its_result_and_one_left_out_is_empty() -> None:
    with TopologyTestDriver(batch_callback=means) as driver:
        driver.send(of(A=[1.0, 2.0], B=[0.0, 0.0], C=[4.0]))
        value = driver.outputs[0].value
        assert value["stations"] == [{"station_id": "A", "mean": 1.5}, {"station_id": "C", "mean": 4.0}]
        assert (value["meta"]["empty"], value["meta"]["completed_by"]) == (["B"], "all")


def test_stations_of_several_batches_share_calls() -> None:
    calls: list[int] = []

    async def callback(inputs: Inputs) -> dict[str, Any]:
        calls.append(len(inputs))
        await asyncio.sleep(0.5)
        return dict.fromkeys(inputs, 1)

    with TopologyTestDriver(batch_callback=callback, batch_callback_size=4, concurrency=1) as driver:
        for number in range(3):
            driver.send(message(*(f"{number}{letter}" for letter in "ABCD")), headers={"batch-id": f"b{number}"})
        driver.advance(5)
        assert [output.value["meta"]["completed_by"] for output in driver.outputs] == ["all"] * 3
        assert sum(calls) == 12
        assert len(calls) == 3


def test_when_it_raises_each_station_has_a_dead_letter_of_its_own() -> None:
    def callback(inputs: Inputs) -> dict[str, Any]:
        message = "no weights"
        raise RuntimeError(message)

    with TopologyTestDriver(batch_callback=callback) as driver:
        driver.send(message("A", "B", "C"))
        failed = driver.outputs[0].value["meta"]["failed"]
        assert failed == [{"station_id": station, "error": "RuntimeError: no weights"} for station in "ABC"]
        assert [(letter.headers["reason"], letter.headers["station-id"]) for letter in driver.dead_letters] == [
            ("station-failed", station) for station in "ABC"
        ]


def test_input_that_can_not_be_aligned_fails_its_station_alone() -> None:
    with TopologyTestDriver(batch_callback=means) as driver:
        records = of(A=[1.0], B=[2.0])
        records[TOPIC][1]["outputPowerPerStationAvg"] = "?"
        driver.send(records)
        value = driver.outputs[0].value
        assert [result["station_id"] for result in value["stations"]] == ["A"]
        assert [failed["station_id"] for failed in value["meta"]["failed"]] == ["B"]


def test_a_call_that_hangs_past_the_deadline_lets_others_go_on() -> None:
    async def callback(inputs: Inputs) -> dict[str, Any]:
        if "hangs" in inputs:
            await asyncio.Event().wait()
        return dict.fromkeys(inputs, 1)

    with TopologyTestDriver(batch_callback=callback, batch_callback_size=1, concurrency=1, batch_timeout=5) as driver:
        driver.send(message("hangs"), headers={"batch-id": "one"})
        driver.advance(4)
        driver.send(message("A"), headers={"batch-id": "two"})
        driver.advance(2)
        assert [(output.key, output.value["meta"]["missing"]) for output in driver.outputs] == [
            ("one", ["hangs"]),
            ("two", []),
        ]
        driver.advance(30)
        assert driver.late[0].value["status"] == "failed"


def test_results_that_were_not_asked_for_are_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    async def callback(inputs: Inputs) -> dict[str, Any]:
        return {"A": 1, "ghost": 2}

    with caplog.at_level(logging.WARNING), TopologyTestDriver(batch_callback=callback) as driver:
        for number in range(3):
            driver.send(message("A"), headers={"batch-id": str(number)})
        assert [output.value["station_count"] for output in driver.outputs] == [1, 1, 1]
    lines = [record.getMessage() for record in caplog.records if "not called for" in record.getMessage()]
    assert lines == [
        f"{callback.__qualname__} has returned results of stations that it was not called for, ignored: {{'ghost'}}"
    ]


def test_exactly_one_callback_is_given() -> None:
    with pytest.raises(TypeError, match="either a callback"):
        TopologyTestDriver()
    with pytest.raises(TypeError, match="either a callback"):
        TopologyTestDriver(answering({}), batch_callback=means)


def test_a_batch_of_one_is_a_call_of_one() -> None:
    with TopologyTestDriver(batch_callback=means) as driver:
        driver.send(of(A=[3.0]))
        assert driver.closed_batches == [driver.outputs[0].value["batch_id"]] != [BATCH]
