"""How many callbacks run at once, in which order, and for how long."""

from __future__ import annotations

import asyncio
import threading

import pytest

from app.testing import START_TIME, TopologyTestDriver
from tests.functional.plant import BATCH, TOPIC, ModuleInput, message, slow, steps, until_arrived


def test_calls_of_one_station_run_one_at_a_time_in_the_order_of_its_messages() -> None:
    running: set[str] = set()
    order: list[tuple[str, str]] = []

    async def model(station_id: str, module_input: ModuleInput) -> None:
        assert station_id not in running
        running.add(station_id)
        await asyncio.sleep(1.0)
        running.remove(station_id)
        order.append((station_id, module_input[TOPIC]["sendTime"][0][-2:]))

    with TopologyTestDriver(model, batch_timeout=30) as driver:
        for second in range(4):
            driver.send(message("A", "B", time=f"2025-11-14 10:00:0{second}"))
        driver.advance(3.5)
        assert len(driver.outputs) == 3
        driver.advance(1.0)
        assert [seen for seen in order if seen[0] == "A"] == [("A", f"0{second}") for second in range(4)]
        assert [output.value["meta"]["failed"] for output in driver.outputs] == [[]] * 4


def test_at_most_the_set_number_of_callbacks_run_at_once() -> None:
    running = most = 0

    async def model(station_id: str, module_input: ModuleInput) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1.0)
        running -= 1

    with TopologyTestDriver(model, concurrency=3, batch_timeout=30) as driver:
        driver.send(message(*"ABCDEFG"))
        driver.advance(2.9)
        assert driver.outputs == []
        driver.advance(0.2)
        assert most == 3
        assert len(driver.outputs) == 1


def test_a_callback_over_the_station_timeout_is_cancelled_and_its_station_failed() -> None:
    cancelled_at: list[float] = []

    async def model(station_id: str, module_input: ModuleInput) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled_at.append(driver.now)
            raise

    with TopologyTestDriver(model, station_timeout=3, batch_timeout=10) as driver:
        driver.send(message("A"))
        driver.advance(3.2)
        assert cancelled_at == [pytest.approx(START_TIME + 3, abs=0.01)]
        (failed,) = driver.outputs[0].value["meta"]["failed"]
        assert failed["error"] == "TimeoutError: the callback did not finish within 3 s (AGG_STATION_TIMEOUT)"
        assert steps(driver.dead_letters) == [("station-failed", "A")]


def test_callbacks_that_outlive_their_deadline_give_up_their_places() -> None:
    with TopologyTestDriver(slow({"A": 20.0, "B": 20.0}), concurrency=2, batch_timeout=5) as driver:
        driver.send(message("A", "B"))
        driver.advance(4.0)
        driver.send(message("C", time="2025-11-14 10:00:01"))
        driver.advance(0.9)
        assert driver.outputs == []
        driver.advance(0.2)
        assert driver.outputs[-1].value["stations"] == [{"station_id": "C", "of": "C"}]
        driver.advance(15.1)
        assert steps(driver.late) == [("batch-closed", "A"), ("batch-closed", "B")]


def test_too_many_callbacks_in_overtime_cancel_the_oldest() -> None:
    with TopologyTestDriver(
        slow({"A": 20.0, "B": 20.0, "C": 20.0}), batch_timeout=5, overtime_max=2, station_timeout=60
    ) as driver:
        driver.send(message("A", "B", "C"))
        driver.advance(5.2)
        assert [late.value["status"] for late in driver.late] == ["failed"]
        assert "AGG_OVERTIME_MAX" in driver.late[0].value["error"]
        driver.advance(20.0)
        assert [late.value["status"] for late in driver.late] == ["failed", "result", "result"]


def test_a_hung_thread_fails_its_station_after_the_station_timeout() -> None:
    stop = threading.Event()

    def model(station_id: str, module_input: ModuleInput) -> dict[str, str]:
        if station_id == "H":
            stop.wait(600.0)
        return {"of": station_id}

    with TopologyTestDriver(model, station_timeout=3, batch_timeout=10, thread_patience=0.05) as driver:
        driver.send(message("A", "H"))
        until_arrived(driver)
        driver.advance(3.2)
        value = driver.outputs[0].value
        assert value["stations"] == [{"station_id": "A", "of": "A"}]
        assert "AGG_STATION_TIMEOUT" in value["meta"]["failed"][0]["error"]
        stop.set()


def test_events_whose_deadline_passed_before_their_callback_started_are_not_run() -> None:
    ran: list[str] = []

    async def model(station_id: str, module_input: ModuleInput) -> None:
        ran.append(station_id)

    with TopologyTestDriver(model, batch_timeout=5) as driver:
        driver.crash_before(
            lambda sent: sent.topic == driver.settings.batch_events_topic and b'"arr' in (sent.value or b"")
        )
        driver.send(message("A", "B"))
        assert driver.crashed
        ran.clear()
        driver.advance(10.0)
        driver.restart()
        driver.advance(1.0)
        assert ran == []
        assert driver.outputs[0].value["meta"]["missing"] == ["A", "B"]
        assert driver.outputs[0].value["meta"]["completed_by"] == "timeout"
        assert driver.late == []


def test_an_event_skipped_after_its_batch_has_closed_is_a_late_record() -> None:
    with TopologyTestDriver(slow({"A": 6.0}), batch_timeout=5) as driver:
        driver.send(message("A"))
        driver.send(message("A", time="2025-11-14 10:00:01"))
        driver.advance(7.0)
        assert [(late.key, late.value["status"]) for late in driver.late] == [
            (BATCH, "result"),
            (f"{TOPIC}_1763085601", "skipped"),
        ]
        assert driver.late[1].value["error"] == "the deadline had passed before the callback started"


def test_a_station_skipped_in_a_batch_that_a_supplement_has_extended_is_failed() -> None:
    with TopologyTestDriver(slow({"A": 6.0}), batch_timeout=5) as driver:
        driver.send(message("A", time="2025-11-14 09:59:59"))
        driver.send(message("A"))
        driver.advance(3.0)
        driver.send(message("B"))
        driver.advance(3.5)
        (output,) = driver.outputs[1:]
        assert output.key == BATCH
        assert [failed["station_id"] for failed in output.value["meta"]["failed"]] == ["A"]
        assert output.value["stations"] == [{"station_id": "B", "of": "B"}]
        (letter,) = driver.dead_letters
        assert letter.value == message("A")
        assert letter.headers["reason"] == "station-failed"
        assert letter.headers["station-id"] == "A"
        assert letter.headers["batch-id"] == BATCH
        assert letter.headers["error"] == "the deadline had passed before the callback started"


def test_a_frame_in_progress_says_for_how_many_outcomes_it_waits() -> None:
    with TopologyTestDriver(slow({"B": 10.0, "C": 20.0}), partitions=1, batch_timeout=50) as driver:
        driver.send(message("A", "B", "C"))
        stations = driver._worker.pipeline.stations if driver._worker else None
        assert stations is not None
        assert (stations.left(0, 0), stations.unsettled) == (2, 2)
        driver.advance(11.0)
        assert (stations.left(0, 0), stations.unsettled) == (1, 1)
        driver.advance(10.0)
        assert (stations.left(0, 0), stations.unsettled) == (None, 0)
