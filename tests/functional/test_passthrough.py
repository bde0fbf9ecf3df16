"""Pass-through: stations without a batch, each answered at once by a message of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from app.testing import START_TIME, TopologyTestDriver
from tests.functional.plant import (
    DIRECT,
    TIME,
    TOPIC,
    ModuleInput,
    answering,
    direct,
    message,
    record,
    slow,
    steps,
)

OLD = 1_762_218_000  # long before the clock of the driver


def answers(driver: TopologyTestDriver) -> dict[str | None, Any]:
    """The result of each station by the key of its message."""
    return {output.key: output.value["result"] for output in driver.outputs}


def test_each_station_of_a_pass_through_topic_has_a_message_of_its_own() -> None:
    with direct(answering({"A": {"load": 1.5}, "B": 7, "C": None, "D": [1, None]})) as driver:
        driver.send([record("A"), record("B"), record("C"), record("D")], DIRECT, headers={"batch-id": "X"})
        assert sorted((output.key, output.raw, output.headers) for output in driver.outputs) == [
            ("A", b'{"station_id":"A","module":"load_prediction","result":{"load":1.5}}', {}),
            ("B", b'{"station_id":"B","module":"load_prediction","result":7}', {}),
            ("D", b'{"station_id":"D","module":"load_prediction","result":[1,null]}', {}),
        ]
        assert driver.late == driver.dead_letters == driver.closed_batches == driver.open_batches == []
        assert (driver.metrics.passthrough_stations, driver.metrics.stations_split) == (4, 4)


def test_a_source_message_without_any_time_passes_through_and_one_with_a_batch_id_is_a_batch() -> None:
    seen: list[ModuleInput] = []

    async def model(station_id: str, module_input: ModuleInput) -> Any:
        seen.append(module_input)
        return {"of": station_id}

    with TopologyTestDriver(model) as driver:
        driver.send({TOPIC: [record("A", None, load=3), record("A", "?", load=4)]})
        assert answers(driver) == {"A": {"of": "A"}}
        assert seen == [{TOPIC: {"sendTime": [None, None], "load": [3, 4]}}]
        driver.send([record("A", None)], headers={"batch-id": "by-header"})
        assert driver.outputs[-1].key == "by-header"
        driver.send([record("A", None)], headers={"batch-id": "no good"})
        assert driver.outputs[-1].key == "A"


def test_a_topic_that_is_source_and_pass_through_is_pass_through() -> None:
    with TopologyTestDriver(slow({}), passthrough_topics=(TOPIC,)) as driver:
        driver.send(message("A"))
        assert answers(driver) == {"A": {"of": "A"}}
        assert driver.closed_batches == []


@pytest.mark.parametrize("key", ["stationId", "station_id", "hostCode", "host_id", "meterId", "meter_id"])
def test_each_key_of_a_station_id_counts_on_a_pass_through_topic_and_is_no_column(key: str) -> None:
    seen: list[ModuleInput] = []

    async def model(station_id: str, module_input: ModuleInput) -> str:
        seen.append(module_input)
        return station_id

    later = {"meter_id": "later"} if key != "meter_id" else {}
    with direct(model) as driver:
        driver.send({"sendTime": TIME, "load": 1, **later, key: 17}, DIRECT)
        assert answers(driver) == {"17": "17"}
        columns = {name: [value] for name, value in later.items()}
        assert seen == [{DIRECT: {"sendTime": [TIME], "load": [1], **columns}}]


def test_results_are_made_json_as_those_of_batches_are_and_their_own_keys_are_left_alone() -> None:
    async def model(station_id: str, module_input: ModuleInput) -> Any:
        return {
            "station_id": "mine",
            "load": np.array([1.0, np.nan]),
            "n": np.int64(3),
            "bad": {1} if len(station_id) > 1 else 0,
        }

    with direct(model) as driver:
        driver.send([record("A"), record("BB")], DIRECT)
        assert answers(driver) == {"A": {"station_id": "mine", "load": [1.0, None], "n": 3, "bad": 0}}
        assert steps(driver.dead_letters) == [("station-failed", "BB")]


def test_a_failed_station_is_a_dead_letter_that_can_be_sent_again() -> None:
    with direct(answering({"A": ValueError("no model"), "B": 1})) as driver:
        partition, offset = driver.send([record("A", load=1), record("B"), record("A", OLD)], DIRECT, key="plant")
        assert answers(driver) == {"B": 1}
        (letter,) = driver.dead_letters
        assert letter.value == {DIRECT: [record("A", load=1), record("A", OLD)]}
        assert letter.key == "plant"
        assert letter.headers.pop("error").endswith("ValueError: no model\n")
        assert letter.headers == {
            "reason": "station-failed",
            "failed-at": repr(START_TIME),
            "source-topic": DIRECT,
            "source-partition": str(partition),
            "source-offset": str(offset),
            "station-id": "A",
        }


def test_input_that_cannot_be_aligned_and_a_callback_that_takes_too_long_fail_their_station() -> None:
    with direct(slow({"B": 60.0}), station_timeout=30) as driver:
        driver.send([record("A", outputPowerPerStationAvg="?"), record("B"), record("C")], DIRECT)
        assert answers(driver) == {"C": {"of": "C"}}
        driver.advance(30.1)
        assert steps(driver.dead_letters) == [("station-failed", "A"), ("station-failed", "B")]


def test_what_cannot_be_used_of_a_message_is_a_dead_letter_as_elsewhere() -> None:
    with direct(slow({})) as driver:
        driver.send(b"bad", DIRECT)
        driver.send([], DIRECT)
        driver.send([{"sendTime": TIME}, record("A"), record("A", None)], DIRECT)
        assert steps(driver.dead_letters) == [("bad-message", None), ("bad-record", None), ("bad-record", "A")]
        assert "batch-id" not in driver.dead_letters[1].headers
        assert driver.metrics.empty_messages == 1
        assert answers(driver) == {"A": {"of": "A"}}


def test_an_old_station_is_never_skipped() -> None:
    with direct(slow({})) as driver:
        driver.kill()
        driver.send([record("A")], DIRECT)
        driver.advance(86_400)
        driver.restart()
        assert answers(driver) == {"A": {"of": "A"}}


def test_a_callback_for_many_stations_serves_batches_and_single_stations_together() -> None:
    async def models(inputs: dict[str, ModuleInput]) -> dict[str, Any]:
        return {station_id: {"n": len(inputs)} for station_id in inputs if station_id != "E"}

    with TopologyTestDriver(batch_callback=models, passthrough_topics=(DIRECT,), partitions=1) as driver:
        driver.kill()
        driver.send([record("A"), record("E")], DIRECT)
        driver.send(message("B"))
        driver.restart()
        direct_output, batch = sorted(driver.outputs, key=lambda output: str(output.key))
        assert direct_output.value == {"station_id": "A", "module": "load_prediction", "result": {"n": 3}}
        assert batch.value["stations"] == [{"station_id": "B", "n": 3}]


def test_what_a_handler_returns_is_published_and_none_is_not() -> None:
    calls: list[tuple[str, ModuleInput, Any]] = []

    async def handler(station_id: str, module_input: ModuleInput, result: Any) -> dict[str, Any] | None:
        calls.append((station_id, module_input, result))
        return None if station_id == "B" else {"id": station_id, "load": np.float32(result["load"])}

    with direct(answering({"A": {"load": 1.5}, "B": {"load": 2}, "C": None}), handler) as driver:
        driver.send([record("A", x=1), record("B"), record("C")], DIRECT)
        (output,) = driver.outputs
        assert (output.key, output.raw, output.headers) == ("A", b'{"id":"A","load":1.5}', {})
        assert calls == [
            ("A", {DIRECT: {"sendTime": [TIME], "x": [1]}}, {"load": 1.5}),
            ("B", {DIRECT: {"sendTime": [TIME]}}, {"load": 2}),
        ]


def test_a_def_handler_runs_in_threads_and_is_bounded_in_time() -> None:
    stop = threading.Event()

    def handler(station_id: str, module_input: ModuleInput, result: Any) -> dict[str, Any]:
        if station_id == "S":
            stop.wait(600.0)
        return {"got": result}

    with direct(slow({}), handler, handler_timeout=5, handler_retries=0, thread_patience=0.05) as driver:
        driver.send([record("A"), record("S")], DIRECT)
        while not driver.outputs:  # a busy machine takes its time, in which the clock stands still
            driver.advance(0.0)
        assert [output.value for output in driver.outputs] == [{"got": {"of": "A"}}]
        driver.advance(5.1)
        assert steps(driver.dead_letters) == [("handler-failed", "S")]
        assert (
            "did not finish within 5 s for station S (AGG_HANDLER_TIMEOUT)" in driver.dead_letters[0].headers["error"]
        )
        stop.set()


def test_a_handler_that_fails_is_called_again_and_then_its_default_payload_is_a_dead_letter() -> None:
    tries: list[float] = []

    async def handler(station_id: str, module_input: ModuleInput, result: Any) -> dict[str, Any]:
        tries.append(driver.now - START_TIME)
        if station_id == "A" or len(tries) < 3:
            message = "no upload"
            raise OSError(message)
        return {"ok": station_id}

    with direct(slow({}), handler, handler_retries=2) as driver:
        driver.send(record("B"), DIRECT)
        driver.advance(10.0)
        assert [round(at, 1) for at in tries] == [0.0, 0.5, 1.5]
        assert [output.value for output in driver.outputs] == [{"ok": "B"}]
        driver.send(record("A"), DIRECT)
        driver.advance(10.0)
        (letter,) = driver.dead_letters
        assert (letter.key, letter.raw) == ("A", b'{"station_id":"A","module":"load_prediction","result":{"of":"A"}}')
        assert letter.headers["reason"] == "handler-failed"
        assert letter.headers["station-id"] == "A"
        assert letter.headers["error"].endswith("OSError: no upload\n")


def test_the_calls_for_one_station_are_made_in_its_order_and_others_do_not_wait() -> None:
    ended: list[tuple[str, int]] = []

    async def model(station_id: str, module_input: ModuleInput) -> int:
        return int(module_input[DIRECT]["n"][0])

    async def handler(station_id: str, module_input: ModuleInput, result: int) -> dict[str, int]:
        if station_id == "A":
            await asyncio.sleep(5.0 - result)
        ended.append((station_id, result))
        return {"n": result}

    with direct(model, handler) as driver:
        for number in range(3):
            driver.send([record("A", n=number), record("B", n=number)], DIRECT)
        assert ended == [("B", 0), ("B", 1), ("B", 2)]
        driver.advance(20.0)
        assert ended[3:] == [("A", 0), ("A", 1), ("A", 2)]
        assert [output.value["n"] for output in driver.outputs if output.key == "A"] == [0, 1, 2]


def test_no_more_handlers_run_at_once_than_callbacks_may() -> None:
    running: list[str] = []
    most = 0

    async def handler(station_id: str, module_input: ModuleInput, result: Any) -> None:
        nonlocal most
        running.append(station_id)
        most = max(most, len(running))
        await asyncio.sleep(1.0)
        running.remove(station_id)

    with direct(slow({}), handler, concurrency=3) as driver:
        driver.send([record(f"S{number}") for number in range(10)], DIRECT)
        driver.advance(5.0)
        assert (most, running) == (3, [])


def test_callbacks_of_a_station_run_one_at_a_time_also_when_batches_come_between() -> None:
    order: list[tuple[str, str]] = []

    async def model(station_id: str, module_input: ModuleInput) -> None:
        (topic,) = module_input
        order.append(("begin", topic))
        await asyncio.sleep(1.0)
        order.append(("end", topic))

    with direct(model) as driver:
        driver.send([record("A")], DIRECT)
        driver.send(message("A"))
        driver.send([record("A")], DIRECT)
        driver.advance(5.0)
        assert order == [(step, topic) for topic in (DIRECT, TOPIC, DIRECT) for step in ("begin", "end")]


def test_an_output_that_is_too_large_is_a_dead_letter() -> None:
    async def model(station_id: str, module_input: ModuleInput) -> Any:
        return "x" * {"R": 3000, "O": 100}[station_id]

    async def handler(station_id: str, module_input: ModuleInput, result: Any) -> dict[str, Any]:
        return {"y": "y" * 2048}

    with direct(model, handler, max_message_bytes=2048) as driver:
        driver.send([record("R"), record("O")], DIRECT)
        assert driver.outputs == []
        assert steps(driver.dead_letters) == [("station-failed", "R"), ("too-large", "O")]
        assert "AGG_MAX_MESSAGE_BYTES" in driver.dead_letters[1].headers["error"]
