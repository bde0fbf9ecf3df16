"""Messages with the header `replayed`: what a replayed dead letter does to its batch, whatever has become of that."""

from __future__ import annotations

from typing import Any

from app.testing import TopologyTestDriver
from tests.functional.plant import BATCH, ModuleInput, message, slow, steps

REPLAYED = {"batch-id": BATCH, "replayed": "0@7"}


async def failing_at_first(station_id: str, module_input: ModuleInput) -> Any:
    """Fails for records that are not marked as mended."""
    (columns,) = module_input.values()
    if station_id == "B" and "mended" not in columns:
        message = "no model for B"
        raise ValueError(message)
    return await slow({"C": 8.0})(station_id, module_input)


def mended(*stations: str) -> list[dict[str, object]]:
    return [{"stationId": station, "sendTime": "2025-11-14 10:00:00", "mended": 1} for station in stations]


def test_it_supplements_a_batch_that_is_open() -> None:
    with TopologyTestDriver(failing_at_first, batch_timeout=5) as driver:
        driver.send(message("A", "B", "C"))
        driver.advance(4.0)
        assert steps(driver.dead_letters) == [("station-failed", "B")]
        driver.send(mended("B"), headers=REPLAYED)
        driver.advance(5.5)
        (output,) = driver.outputs
        assert [result["station_id"] for result in output.value["stations"]] == ["A", "B", "C"]
        assert output.value["meta"]["completed_by"] == "all"
        assert driver.late == []


def test_it_is_late_when_its_batch_is_closed() -> None:
    with TopologyTestDriver(failing_at_first) as driver:
        driver.send(message("A", "B"))
        driver.send(mended("B"), headers=REPLAYED)
        assert len(driver.outputs) == 1
        assert steps(driver.late) == [("late-message", "B")]
        assert driver.late[0].key == BATCH


def test_it_is_late_without_a_batch_when_that_has_been_forgotten() -> None:
    with TopologyTestDriver(failing_at_first, closed_ttl=100) as driver:
        driver.send(message("A", "B"))
        driver.advance(101.0)
        assert driver.closed_batches == []
        driver.send(mended("B"), headers=REPLAYED)
        assert len(driver.outputs) == 1
        assert driver.open_batches == []
        assert steps(driver.late) == [("unknown-batch", "B")]


def test_it_opens_no_batch_that_never_was_and_none_of_its_stations_gets_lost() -> None:
    with TopologyTestDriver(failing_at_first) as driver:
        driver.send(message("A", "B"), headers={"replayed": ""})
        assert driver.outputs == []
        assert driver.open_batches == []
        assert sorted(steps(driver.late)) == [("unknown-batch", "A"), ("unknown-batch", "B")]
        assert {late.key for late in driver.late} == {BATCH}
        assert steps(driver.dead_letters) == [("station-failed", "B")]


def test_a_message_after_it_opens_the_batch_as_if_it_had_not_been() -> None:
    with TopologyTestDriver(failing_at_first) as driver:
        driver.send(mended("B"), headers=REPLAYED)
        driver.send(message("A"))
        (output,) = driver.outputs
        assert output.value["meta"]["expected_count"] == 1
        assert output.value["meta"]["completed_by"] == "all"


def test_a_message_that_can_not_be_read_keeps_the_batch_that_its_header_names() -> None:
    with TopologyTestDriver(failing_at_first) as driver:
        driver.send("{", headers={"batch-id": "plant:7"})
        driver.send("{", headers={"batch-id": "no good"})
        driver.send("{")
        assert [letter.headers.get("batch-id") for letter in driver.dead_letters] == ["plant:7", None, None]


def test_it_makes_a_new_revision_of_its_closed_batch_where_late_results_revise() -> None:
    with TopologyTestDriver(failing_at_first, late_policy="revise", revise_delay=1) as driver:
        driver.send(message("A", "B"))
        driver.send(mended("B"), headers=REPLAYED)
        driver.advance(1.1)
        first, second = (output.value for output in driver.outputs)
        assert [failed["station_id"] for failed in first["meta"]["failed"]] == ["B"]
        assert [result["station_id"] for result in second["stations"]] == ["A", "B"]
        assert (second["meta"]["revision"], second["meta"]["failed"]) == (2, [])
        assert driver.late == []
