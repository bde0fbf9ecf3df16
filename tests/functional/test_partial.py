"""Batches that close with some of their stations: published early, published as partial, or discarded."""

from __future__ import annotations

from typing import Any

import pytest

from app.testing import Message, TopologyTestDriver
from tables.model.enums import Action
from tests.functional.plant import BATCH, START, command, message, slow, steps


def stations(output: Message) -> list[str]:
    return [station["station_id"] for station in output.value["stations"]]


def test_too_few_stations_at_the_deadline_leave_a_letter_with_what_had_arrived() -> None:
    with TopologyTestDriver(slow({"C": 7.0, "D": 60.0}), batch_timeout=5, partial_min_ratio=0.75) as driver:
        driver.send(message("A", "B", "C", "D"))
        driver.advance(5.1)
        assert driver.outputs == []
        (letter,) = driver.dead_letters
        assert steps([letter]) == [("discarded", None)]
        assert letter.key == letter.headers["batch-id"] == BATCH
        assert letter.headers["error"] == (
            f"batch {BATCH} was discarded with 2 of 4 stations at its deadline: "
            "less than AGG_PARTIAL_MIN_RATIO=0.75 of its stations had arrived"
        )
        assert stations(letter) == ["A", "B"]
        meta = letter.value["meta"]
        assert (meta["status"], meta["completed_by"], meta["missing"]) == ("discarded", "timeout", ["C", "D"])
        assert driver.closed_batches == [BATCH]
        driver.advance(3.0)
        assert steps(driver.late) == [("batch-closed", "C")]


@pytest.mark.parametrize(("ratio", "published"), [(0.5, True), (0.51, False)])
def test_the_share_itself_is_enough(ratio: float, published: bool) -> None:
    with TopologyTestDriver(slow({"B": 60.0}), batch_timeout=5, partial_min_ratio=ratio) as driver:
        driver.send(message("A", "B"))
        driver.advance(5.1)
        assert len(driver.outputs) == published
        assert len(driver.dead_letters) == 1 - published


def test_a_missing_station_that_is_required_discards_the_batch_that_expects_it() -> None:
    with TopologyTestDriver(slow({"B": 60.0}), batch_timeout=5, required_stations=("B", "X")) as driver:
        driver.send(message("A", "C", time=START + 1))
        driver.send(message("A", "B", "C"))
        driver.advance(5.1)
        assert [output.key for output in driver.outputs] == ["SCHEDULE-STATION-REALTIME-DATA_1763085601"]
        (letter,) = driver.dead_letters
        assert letter.headers["error"].endswith("required stations are missing (AGG_REQUIRED_STATIONS): B")


def test_a_required_station_that_failed_has_arrived() -> None:
    async def model(station_id: str, module_input: dict[str, Any]) -> Any:
        if station_id == "B":
            raise ValueError
        return await slow({"C": 60.0})(station_id, module_input)

    with TopologyTestDriver(model, batch_timeout=5, required_stations=("B",)) as driver:
        driver.send(message("A", "B", "C"))
        driver.advance(5.1)
        assert stations(driver.outputs[0]) == ["A"]


def test_an_operator_publishes_whatever_is_required() -> None:
    with TopologyTestDriver(slow({"B": 60.0}), required_stations=("B",), partial_min_ratio=1.0) as driver:
        driver.send(message("A", "B"))
        command(driver, Action.COMPLETE)
        assert driver.outputs[0].value["meta"]["missing"] == ["B"]


def test_a_batch_is_out_early_once_the_share_has_arrived() -> None:
    with TopologyTestDriver(slow({"B": 1.0, "C": 2.0, "D": 3.0}), release_ratio=0.5) as driver:
        driver.send(message("A", "B", "C", "D"))
        driver.advance(0.9)
        assert driver.outputs == []
        driver.advance(0.2)
        (output,) = driver.outputs
        meta = output.value["meta"]
        assert output.headers["completed-by"] == "ratio"
        assert stations(output) == ["A", "B"]
        assert (meta["status"], meta["missing"]) == ("partial", ["C", "D"])
        assert meta["closed_at"] == pytest.approx(START + 1.004, abs=0.001)
        driver.advance(3.0)
        assert steps(driver.late) == [("batch-closed", "C"), ("batch-closed", "D")]


def test_an_early_release_waits_for_the_required_stations() -> None:
    with TopologyTestDriver(
        slow({"B": 1.0, "C": 2.0, "D": 3.0}), release_ratio=0.5, required_stations=("C",)
    ) as driver:
        driver.send(message("A", "B", "C", "D"))
        driver.advance(1.9)
        assert driver.outputs == []
        driver.advance(0.2)
        assert stations(driver.outputs[0]) == ["A", "B", "C"]


def test_all_wins_over_the_share_when_both_come_at_once() -> None:
    with TopologyTestDriver(slow({}), release_ratio=0.9) as driver:
        driver.send(message("A", "B"))
        assert driver.outputs[0].headers["completed-by"] == "all"


def test_a_supplement_can_make_the_share_smaller() -> None:
    with TopologyTestDriver(slow({"B": 1.0, "C": 2.0, "X": 60.0, "Y": 60.0}), release_ratio=0.6) as driver:
        driver.send(message("A", "B", "C"))
        driver.send(message("X", "Y"))
        driver.advance(1.5)
        assert driver.outputs == []
        driver.advance(1.0)
        assert stations(driver.outputs[0]) == ["A", "B", "C"]


def test_with_no_result_at_all_the_batch_is_published_by_default() -> None:
    with TopologyTestDriver(slow({"A": 60.0}), batch_timeout=5) as driver:
        driver.send(message("A"))
        driver.advance(5.1)
        assert driver.outputs[0].value["stations"] == []
