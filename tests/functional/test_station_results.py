"""What a callback may return, and what becomes of one that fails."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from app.testing import START_TIME, TopologyTestDriver
from tests.functional.plant import BATCH, TOPIC, ModuleInput, answering, message, record, steps


def test_none_makes_a_station_empty_and_not_missing() -> None:
    with TopologyTestDriver(answering({"A": {"x": 1}, "B": None})) as driver:
        driver.send(message("A", "B"))
        value = driver.outputs[0].value
        assert value["stations"] == [{"station_id": "A", "x": 1}]
        assert (value["meta"]["empty"], value["meta"]["arrived_count"], value["meta"]["status"]) == (
            ["B"],
            2,
            "complete",
        )


def test_a_batch_whose_stations_are_all_empty_or_failed_comes_out_with_an_empty_list() -> None:
    with TopologyTestDriver(answering({"A": None, "B": ValueError("no data")})) as driver:
        driver.send(message("A", "B"))
        value = driver.outputs[0].value
        assert (value["stations"], value["station_count"], value["meta"]["completed_by"]) == ([], 0, "all")


@pytest.mark.parametrize("result", [7, 1.5, "text", True, [1, 2]])
def test_a_value_that_is_no_dict_becomes_the_result(result: object) -> None:
    with TopologyTestDriver(answering({"A": result})) as driver:
        driver.send(message("A"))
        assert driver.outputs[0].value["stations"] == [{"station_id": "A", "result": result}]


def test_the_station_id_of_the_framework_comes_first_and_wins() -> None:
    with TopologyTestDriver(answering({"A": {"x": 1, "station_id": "other"}})) as driver:
        driver.send(message("A"))
        assert b'"stations":[{"station_id":"A","x":1}]' in (driver.outputs[0].raw or b"")


def test_numpy_values_are_json() -> None:
    result = {"f": np.float32(0.5), "i": np.int64(3), "b": np.bool_(True), "a": np.array([[1.0, 2.0], [3.0, np.nan]])}
    with TopologyTestDriver(answering({"A": result, "B": np.float64(1.5)})) as driver:
        driver.send(message("A", "B"))
        assert driver.outputs[0].value["stations"] == [
            {"station_id": "A", "f": 0.5, "i": 3, "b": True, "a": [[1.0, 2.0], [3.0, None]]},
            {"station_id": "B", "result": 1.5},
        ]


def test_nan_and_infinity_become_null() -> None:
    with TopologyTestDriver(answering({"A": {"load": [1.0, math.nan, math.inf, -math.inf]}})) as driver:
        driver.send(message("A"))
        assert driver.outputs[0].value["stations"] == [{"station_id": "A", "load": [1.0, None, None, None]}]


def test_a_result_that_json_cannot_hold_makes_its_station_failed() -> None:
    with TopologyTestDriver(answering({"A": {"at": datetime(2025, 1, 1)}, "B": {"x": 1}})) as driver:  # noqa: DTZ001
        driver.send(message("A", "B"))
        (failed,) = driver.outputs[0].value["meta"]["failed"]
        assert failed == {"station_id": "A", "error": "TypeError: the result can't be written as JSON: datetime at at"}


def test_a_failing_callback_is_named_in_the_output_and_its_records_are_a_dead_letter() -> None:
    records = [record("A", load=1), record("B"), record("A", "2025-11-14 09:00:00", load=2)]
    with TopologyTestDriver(answering({"A": ValueError("no model for A"), "B": {"x": 1}})) as driver:
        partition, offset = driver.send(records, key=b"\x00plant")
        value = driver.outputs[0].value
        assert value["stations"] == [{"station_id": "B", "x": 1}]
        assert value["meta"]["failed"] == [{"station_id": "A", "error": "ValueError: no model for A"}]
        assert (value["meta"]["status"], value["meta"]["arrived_count"]) == ("complete", 2)
        (letter,) = driver.dead_letters
        assert letter.value == {TOPIC: [records[0], records[2]]}
        assert letter.raw_key == b"\x00plant"
        error = letter.headers.pop("error")
        assert error.startswith("Traceback (most recent call last)")
        assert error.rstrip().endswith("ValueError: no model for A")
        assert letter.headers == {
            "reason": "station-failed",
            "failed-at": repr(START_TIME),
            "source-topic": TOPIC,
            "source-partition": str(partition),
            "source-offset": str(offset),
            "batch-id": BATCH,
            "station-id": "A",
        }


def test_a_dead_letter_of_a_failed_station_can_be_sent_again_and_names_the_same_batch() -> None:
    broken = True

    async def model(station_id: str, module_input: ModuleInput) -> dict[str, bool]:
        if broken:
            message = "not yet"
            raise RuntimeError(message)
        return {"ok": True}

    with TopologyTestDriver(model) as driver:
        driver.send({"realTimeData": [record("A")]})
        broken = False
        (letter,) = driver.dead_letters
        driver.send(letter.raw, headers={"batch-id": letter.headers["batch-id"]})
        assert driver.late[0].value["result"] == {"station_id": "A", "ok": True}


@pytest.mark.parametrize("ending", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
def test_a_callback_that_wants_to_end_the_process_only_fails_its_station(ending: BaseException) -> None:
    async def model(station_id: str, module_input: ModuleInput) -> None:
        raise ending

    with TopologyTestDriver(model) as driver:
        driver.send(message("A"))
        assert [failed["station_id"] for failed in driver.outputs[0].value["meta"]["failed"]] == ["A"]


def test_a_def_runs_in_threads_and_its_results_are_there_when_send_returns() -> None:
    names: set[str] = set()

    def model(station_id: str, module_input: ModuleInput) -> dict[str, Any]:
        time.sleep(0.02)
        names.add(threading.current_thread().name)
        return {"of": station_id}

    with TopologyTestDriver(model) as driver:
        driver.send(message("A", "B", "C"))
        assert [station["of"] for station in driver.outputs[0].value["stations"]] == ["A", "B", "C"]
        assert threading.main_thread().name not in names


def test_a_def_that_raises_or_exits_fails_its_station() -> None:
    def model(station_id: str, module_input: ModuleInput) -> None:
        if station_id == "A":
            sys.exit("bye")
        message = "broken"
        raise LookupError(message)

    with TopologyTestDriver(model) as driver:
        driver.send(message("A", "B"))
        assert driver.outputs[0].value["meta"]["failed"] == [
            {"station_id": "A", "error": "SystemExit: bye"},
            {"station_id": "B", "error": "LookupError: broken"},
        ]
        assert sorted(steps(driver.dead_letters)) == [("station-failed", "A"), ("station-failed", "B")]


def test_a_result_over_the_message_limit_makes_its_station_failed() -> None:
    with TopologyTestDriver(answering({"A": {"x": "y" * 5000}, "B": {"x": 1}}), max_message_bytes=4096) as driver:
        driver.send(message("A", "B"))
        (output,) = driver.outputs
        assert [station["station_id"] for station in output.value["stations"]] == ["B"]
        assert "AGG_MAX_MESSAGE_BYTES" in output.value["meta"]["failed"][0]["error"]


def test_an_output_over_the_message_limit_goes_out_in_parts() -> None:
    names = [f"S{number:03}" for number in range(100)]

    async def model(station_id: str, module_input: ModuleInput) -> dict[str, str]:
        return {"x": "y" * 100}

    with TopologyTestDriver(model, max_message_bytes=4096) as driver:
        driver.send(message(*names))
        outputs = driver.outputs
        count = len(outputs)
        assert count > 3
        assert {output.partition for output in outputs} == {outputs[0].partition}
        assert [station["station_id"] for output in outputs for station in output.value["stations"]] == names
        for number, output in enumerate(outputs, 1):
            assert len(output.raw or b"") <= 4096
            assert output.key == BATCH
            assert output.value["station_count"] == len(output.value["stations"])
            assert (output.value["meta"]["part"], output.value["meta"]["parts"]) == (number, count)
            assert (output.headers["part"], output.headers["parts"]) == (str(number), str(count))
            assert output.value["meta"]["expected_count"] == 100


def test_parts_without_meta_can_be_told_by_their_headers() -> None:
    async def model(station_id: str, module_input: ModuleInput) -> dict[str, str]:
        return {"x": "y" * 100}

    with TopologyTestDriver(model, max_message_bytes=2048, output_meta=False) as driver:
        driver.send(message(*[f"S{number}" for number in range(40)]))
        outputs = driver.outputs
        assert [output.headers["part"] for output in outputs] == [str(number) for number in range(1, len(outputs) + 1)]
        assert all("meta" not in output.value for output in outputs)
        assert all(len(output.raw or b"") <= 2048 for output in outputs)
