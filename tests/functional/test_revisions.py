"""AGG_LATE_POLICY=revise and drop: what comes late makes another output, or is counted and logged."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.testing import Message, TopologyTestDriver
from tests.functional.plant import BATCH, START, ModuleInput, message, slow, steps

REVISE: dict[str, Any] = {"late_policy": "revise", "batch_timeout": 5}


def told(output: Message) -> tuple[str, str, list[str], list[str]]:
    """An output in short: revision, rule, stations with results, missing ones."""
    ids = [station["station_id"] for station in output.value["stations"]]
    return output.headers["revision"], output.headers["completed-by"], ids, output.value["meta"]["missing"]


def test_a_late_result_makes_a_second_full_output() -> None:
    with TopologyTestDriver(slow({"B": 7.0}), **REVISE) as driver:
        driver.send(message("A", "B", "C"))
        driver.advance(7.9)
        assert [told(output) for output in driver.outputs] == [("1", "timeout", ["A", "C"], ["B"])]
        driver.advance(0.3)
        first, second = driver.outputs
        assert told(second) == ("2", "revision", ["A", "B", "C"], [])
        meta = second.value["meta"]
        assert (meta["status"], meta["completed_by"], meta["revision"]) == ("complete", "revision", 2)
        assert meta["closed_at"] == second.value["timestamp"] == pytest.approx(START + 8.05, abs=0.06)
        assert (meta["opened_at"], meta["deadline"]) == (START, START + 5)
        assert (first.partition, first.key) == (second.partition, second.key)
        assert driver.late == []
        assert driver.metrics.late_outcomes == {"batch-closed": 1}
        driver.advance(100.0)
        assert len(driver.outputs) == 2


def test_what_comes_within_the_delay_makes_one_revision() -> None:
    with TopologyTestDriver(slow({"B": 6.0, "C": 6.9, "D": 7.5}), **REVISE) as driver:
        driver.send(message("A", "B", "C", "D"))
        driver.advance(20.0)
        assert [told(output) for output in driver.outputs] == [
            ("1", "timeout", ["A"], ["B", "C", "D"]),
            ("2", "revision", ["A", "B", "C"], ["D"]),
            ("3", "revision", ["A", "B", "C", "D"], []),
        ]


def test_a_late_message_unites_the_expected_stations_and_names_its_missing_ones() -> None:
    with TopologyTestDriver(slow({"Y": 60.0}), station_timeout=90, **REVISE) as driver:
        driver.send(message("A"))
        driver.advance(10.0)
        driver.send(message("X", "Y"))
        driver.advance(1.2)
        assert told(driver.outputs[1]) == ("2", "revision", ["A", "X"], ["Y"])
        assert driver.outputs[1].value["meta"]["expected_count"] == 3
        driver.advance(62.0)
        assert told(driver.outputs[2]) == ("3", "revision", ["A", "X", "Y"], [])


def test_a_late_message_with_the_same_results_makes_a_revision_that_says_so() -> None:
    with TopologyTestDriver(slow({}), **REVISE) as driver:
        driver.send(message("A"))
        driver.advance(1.0)
        driver.send(message("A"))
        driver.advance(1.2)
        assert [told(output) for output in driver.outputs] == [("1", "all", ["A"], []), ("2", "revision", ["A"], [])]
        driver.advance(100.0)
        assert len(driver.outputs) == 2


def test_a_revision_with_the_same_results_comes_out_after_a_crash() -> None:
    with TopologyTestDriver(slow({}), revise_delay=5, **REVISE) as driver:
        driver.send(message("A"))
        driver.advance(1.0)
        driver.send(message("A"))
        driver.advance(4.0)
        driver.kill()
        driver.advance(5.0)
        driver.restart()
        driver.advance(0.2)
        assert [told(output) for output in driver.outputs] == [("1", "all", ["A"], []), ("2", "revision", ["A"], [])]
        driver.restart(lose_commits=True)
        driver.advance(10.0)
        assert len(driver.outputs) == 2


def test_a_late_message_makes_no_revision_before_an_outcome_of_it_or_another_station_has_come() -> None:
    times = iter((0.0, 4.0))

    async def model(station_id: str, module_input: ModuleInput) -> dict[str, int]:
        await asyncio.sleep(next(times))
        return {"n": 1}

    with TopologyTestDriver(model, **REVISE) as driver:
        driver.send(message("A"))
        driver.advance(1.0)
        driver.send(message("A"))
        driver.advance(4.5)
        assert len(driver.outputs) == 1
        driver.advance(0.8)
        assert told(driver.outputs[1]) == ("2", "revision", ["A"], [])


def test_a_failure_that_comes_late_is_named_as_failed_and_is_a_dead_letter() -> None:
    with TopologyTestDriver(slow({"B": 60.0}), station_timeout=7, **REVISE) as driver:
        driver.send(message("A", "B"))
        driver.advance(9.0)
        meta = driver.outputs[1].value["meta"]
        assert (meta["missing"], [one["station_id"] for one in meta["failed"]]) == ([], ["B"])
        assert steps(driver.dead_letters) == [("station-failed", "B")]


def test_a_late_none_takes_its_station_from_missing_to_empty() -> None:
    async def model(station_id: str, module_input: ModuleInput) -> None:
        await slow({"B": 7.0})(station_id, module_input)

    with TopologyTestDriver(model, **REVISE) as driver:
        driver.send(message("A", "B"))
        driver.advance(9.0)
        assert driver.outputs[1].value["meta"]["empty"] == ["A", "B"]


def test_a_station_that_was_skipped_stays_missing_and_makes_no_revision(caplog: pytest.LogCaptureFixture) -> None:
    with TopologyTestDriver(slow({"A": 8.0, "B": 8.0}), concurrency=1, overtime_max=1, **REVISE) as driver:
        driver.send(message("A", "B"))
        driver.advance(30.0)
        assert [told(output)[2:] for output in driver.outputs] == [([], ["A", "B"]), (["A"], ["B"])]
        assert driver.late == []
        assert driver.metrics.late_outcomes == {"batch-closed": 2}
    assert f"Batch {BATCH} late, and not run any more: they stay missing, stations: {{'B'}}" in caplog.text


def test_repeats_of_late_outcomes_make_no_revision() -> None:
    with TopologyTestDriver(slow({"B": 7.0}), **REVISE) as driver:
        driver.send(message("A", "B"))
        driver.advance(10.0)
        assert len(driver.outputs) == 2
        driver.restart(lose_commits=True)
        driver.advance(30.0)
        assert len(driver.outputs) == 2


def test_a_batch_that_is_still_being_uploaded_keeps_what_is_late_and_revises_after_that() -> None:
    uploaded: list[tuple[int, str, list[Any]]] = []

    async def handler(batch_id: str, results: list[Any], context: Any) -> dict[str, Any]:
        await asyncio.sleep(10.0)
        uploaded.append((context.meta["revision"], context.meta["completed_by"], [one["of"] for one in results]))
        return {"revision": context.meta["revision"], "of": [one["of"] for one in results]}

    with TopologyTestDriver(slow({"B": 6.0, "C": 8.0}), handler, **REVISE) as driver:
        driver.send(message("A", "B", "C"))
        driver.advance(14.9)
        assert driver.outputs == []
        driver.advance(11.0)
        assert uploaded == [(1, "timeout", ["A"]), (2, "revision", ["A", "B", "C"])]
        assert [output.value["revision"] for output in driver.outputs] == [1, 2]
        assert [output.headers["revision"] for output in driver.outputs] == ["1", "2"]


def test_a_pending_revision_comes_out_after_a_crash() -> None:
    with TopologyTestDriver(slow({"B": 7.0}), **REVISE) as driver:
        driver.send(message("A", "B"))
        driver.advance(7.5)
        driver.kill()
        driver.advance(50.0)
        driver.restart()
        driver.advance(0.2)
        assert [told(output)[:3] for output in driver.outputs] == [
            ("1", "timeout", ["A"]),
            ("2", "revision", ["A", "B"]),
        ]


def test_a_restart_before_the_delay_is_over_keeps_it() -> None:
    with TopologyTestDriver(slow({"B": 6.0, "C": 6.8}), **REVISE) as driver:
        driver.send(message("A", "B", "C"))
        driver.advance(6.85)
        driver.restart()
        driver.advance(2.0)
        assert [told(output)[2] for output in driver.outputs] == [["A"], ["A", "B", "C"]]


def test_late_outcomes_of_a_discarded_batch_go_to_the_late_topic() -> None:
    with TopologyTestDriver(slow({"B": 7.0}), partial_min_ratio=1.0, **REVISE) as driver:
        driver.send(message("A", "B"))
        driver.advance(10.0)
        assert driver.outputs == []
        assert steps(driver.late) == [("batch-closed", "B")]


def test_outcomes_of_a_batch_that_is_not_known_go_to_the_late_topic() -> None:
    with TopologyTestDriver(slow({"B": 25.0}), closed_ttl=10, **REVISE) as driver:
        driver.send(message("A", "B"))
        driver.advance(26.0)
        assert steps(driver.late) == [("unknown-batch", "B")]
        assert len(driver.outputs) == 1


def test_a_batch_is_not_forgotten_before_its_last_revision_is_out() -> None:
    with TopologyTestDriver(slow({"B": 14.8}), closed_ttl=10, **REVISE) as driver:
        driver.send(message("A", "B"))
        driver.advance(20.0)
        assert [told(output)[2] for output in driver.outputs] == [["A"], ["A", "B"]]
        assert driver.closed_batches == []
        changelog = driver.messages(f"{driver.settings.app_id}-batches-changelog")
        left = {change.raw_key: change.raw for change in changelog}
        assert [key for key, value in left.items() if value is not None] == []


def test_dropped_outcomes_are_counted_and_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    late = {f"S{number}": 7.0 for number in range(50)}
    with TopologyTestDriver(slow(late), late_policy="drop", batch_timeout=5) as driver:
        driver.send(message("A", *late))
        driver.advance(30.0)
        assert len(driver.outputs) == 1
        assert driver.late == []
        assert driver.metrics.late_dropped == 50
        assert driver.metrics.late_outcomes == {"batch-closed": 50}
    assert 1 <= caplog.text.count("late results dropped (AGG_LATE_POLICY=drop)") < 10


@pytest.mark.parametrize(("before", "after"), [("topic", "revise"), ("drop", "revise"), ("revise", "topic")])
def test_a_batch_keeps_the_policy_under_which_it_closed(before: str, after: str) -> None:
    with TopologyTestDriver(slow({}), late_policy=before) as driver:
        driver.send(message("A"))
        driver.settings = driver.settings.model_copy(update={"late_policy": after})
        driver.restart()
        driver.send(message("B"))
        driver.advance(2.0)
        assert steps(driver.late) == ([("late-message", "B")] if before == "topic" else [])
        assert [told(output)[2] for output in driver.outputs] == [["A"], ["A", "B"]][: 1 + (before == "revise")]


def test_what_is_to_be_revised_is_revised_under_another_policy_too() -> None:
    with TopologyTestDriver(slow({"B": 7.0}), **REVISE) as driver:
        driver.send(message("A", "B"))
        driver.advance(7.5)
        driver.settings = driver.settings.model_copy(update={"late_policy": "topic"})
        driver.restart()
        driver.advance(1.0)
        assert [told(output)[2] for output in driver.outputs] == [["A"], ["A", "B"]]
