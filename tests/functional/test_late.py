"""What comes after a batch has closed, and how long a closed batch is remembered."""

from __future__ import annotations

import pytest

from app.testing import START_TIME, TopologyTestDriver
from tests.functional.plant import BATCH, TOPIC, ModuleInput, message, slow, steps


def test_a_late_result_goes_to_the_late_topic_exactly() -> None:
    with TopologyTestDriver(slow({"B": 7.0}), batch_timeout=5) as driver:
        driver.send(message("A", "B"))
        driver.advance(8.0)
        (late,) = driver.late
        assert late.raw == (
            b'{"batch_id":"SCHEDULE-STATION-REALTIME-DATA_1763085600","station_id":"B","status":"result",'
            b'"result":{"station_id":"B","of":"B"},"reason":"batch-closed","revision":1,"closed_at":1763085605.0,'
            b'"timestamp":1763085607.0}'
        )
        assert late.key == BATCH
        assert late.headers == {"batch-id": BATCH, "station-id": "B", "reason": "batch-closed"}
        assert len(driver.outputs) == 1


def test_a_late_failure_is_late_and_a_dead_letter() -> None:
    with TopologyTestDriver(slow({"B": 60.0}), batch_timeout=5, station_timeout=8) as driver:
        driver.send(message("A", "B"))
        driver.advance(8.5)
        (late,) = driver.late
        assert (late.value["status"], "result" in late.value) == ("failed", False)
        assert late.value["error"] == "TimeoutError: the callback did not finish within 8 s (AGG_STATION_TIMEOUT)"
        assert steps(driver.dead_letters) == [("station-failed", "B")]


def test_a_late_none_is_late_and_empty() -> None:
    async def model(station_id: str, module_input: ModuleInput) -> None:
        await slow({"B": 7.0})(station_id, module_input)

    with TopologyTestDriver(model, batch_timeout=5) as driver:
        driver.send(message("A", "B"))
        driver.advance(8.0)
        assert set(driver.late[0].value) == {
            "batch_id", "station_id", "status", "reason", "revision", "closed_at", "timestamp",
        }  # fmt: skip
        assert driver.late[0].value["status"] == "empty"


def test_a_late_result_that_is_read_again_changes_nothing() -> None:
    with TopologyTestDriver(slow({"B": 7.0}), batch_timeout=5) as driver:
        driver.send(message("A", "B"))
        driver.advance(8.0)
        (first,) = driver.late
        driver.restart(lose_commits=True)
        driver.advance(30.0)
        assert [late.raw for late in driver.late if late.value["status"] == "result"] == [first.raw]
        assert len(driver.outputs) == 1


def test_another_message_for_a_closed_batch_is_late_and_opens_no_second_one() -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send(message("A"))
        driver.advance(100.0)
        driver.send(message("A", "B"))
        assert driver.open_batches == []
        assert len(driver.outputs) == 1
        assert steps(driver.late) == [("late-message", "A"), ("late-message", "B")]
        assert {late.value["closed_at"] for late in driver.late} == {START_TIME}


def test_a_closed_batch_is_remembered_over_a_restart() -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send(message("A"))
        driver.restart()
        assert driver.closed_batches == [BATCH]
        driver.send(message("B"))
        assert len(driver.outputs) == 1
        assert steps(driver.late) == [("late-message", "B")]


def test_a_closed_batch_is_forgotten_after_its_time_and_its_records_are_deleted() -> None:
    with TopologyTestDriver(slow({}), closed_ttl=100) as driver:
        driver.send(message("A", "B"))
        driver.advance(99.9)
        assert driver.closed_batches == [BATCH]
        driver.advance(0.2)
        assert driver.closed_batches == []
        for table in ("batches", "batch_opens", "batch_results"):
            changelog = driver.messages(f"{driver.settings.app_id}-{table}-changelog")
            left = {change.raw_key: change.raw for change in changelog}
            assert [key for key, value in left.items() if value is not None] == []


def test_the_oldest_closed_batches_are_forgotten_when_there_are_too_many() -> None:
    with TopologyTestDriver(slow({}), closed_max=3, partitions=1) as driver:
        for second in range(6):
            driver.send(message("A", time=START_TIME + second))
        driver.advance(0.2)
        assert len(driver.closed_batches) <= 3
        assert f"{TOPIC}_1763085605" in driver.closed_batches


def test_a_result_for_a_batch_that_has_been_forgotten_is_late_with_an_unknown_batch() -> None:
    with TopologyTestDriver(slow({"B": 25.0}), batch_timeout=5, closed_ttl=10) as driver:
        driver.send(message("A", "B"))
        driver.advance(20.0)
        assert driver.closed_batches == []
        driver.advance(6.0)
        (late,) = driver.late
        assert late.value == {
            "batch_id": BATCH,
            "station_id": "B",
            "status": "result",
            "result": {"station_id": "B", "of": "B"},
            "reason": "unknown-batch",
            "revision": None,
            "closed_at": None,
            "timestamp": pytest.approx(START_TIME + 25.0),
        }
        assert late.headers["reason"] == "unknown-batch"
        assert len(driver.outputs) == 1


def test_a_message_with_a_forgotten_batch_id_opens_a_new_batch() -> None:
    with TopologyTestDriver(slow({}), closed_ttl=10) as driver:
        driver.send(message("A"))
        driver.advance(11.0)
        driver.send(message("A"))
        assert [output.key for output in driver.outputs] == [BATCH, BATCH]
