"""An operator's commands through the whole topology: outputs, letters, log lines, and crashes in between."""

from __future__ import annotations

import pytest

from app.messages.message import OutMessage
from app.testing import TopologyTestDriver
from tables.model.enums import Action
from tests.functional.plant import BATCH, START, command, message, slow, steps


def test_complete_publishes_at_once_and_names_the_operator(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with TopologyTestDriver(slow({"B": 3.0})) as driver:
        driver.send(message("A", "B"))
        driver.advance(1.0)
        command(driver, Action.COMPLETE)
        (output,) = driver.outputs
        meta = output.value["meta"]
        assert output.headers["completed-by"] == "operator"
        assert [station["station_id"] for station in output.value["stations"]] == ["A"]
        assert (meta["status"], meta["missing"], meta["closed_at"]) == ("partial", ["B"], pytest.approx(START + 1.01))
        assert meta["operator"] == {"action": "complete", "by": "ops@10.0.0.7", "at": meta["closed_at"]}
        driver.advance(3.0)
        assert steps(driver.late) == [("batch-closed", "B")]
    assert "complete by operator ops@10.0.0.7 at 2025-11-14 02:00:01.004+00:00" in caplog.text
    assert f"Batch {BATCH} released early (operator) with 1/2, missing stations: {{'B'}}" in caplog.text


def test_discard_leaves_a_letter_with_all_that_had_arrived_and_no_output() -> None:
    with TopologyTestDriver(slow({"B": 3.0}), output_meta=False) as driver:
        driver.send(message("A", "B"))
        command(driver, Action.DISCARD)
        assert driver.outputs == []
        (letter,) = driver.dead_letters
        assert letter.headers["reason"] == "discarded"
        assert (
            letter.headers["error"] == f"batch {BATCH} was discarded with 1 of 2 stations by the operator ops@10.0.0.7"
        )
        assert letter.headers["batch-id"] == letter.key == BATCH
        assert letter.value["stations"] == [{"station_id": "A", "of": "A"}]
        assert letter.value["meta"]["status"] == "discarded"
        assert letter.value["meta"]["operator"]["action"] == "discard"
        assert driver.closed_batches == [BATCH]
        assert driver.metrics.discarded == 1
        driver.advance(4.0)
        assert steps(driver.late) == [("batch-closed", "B")]
        driver.restart(lose_commits=True)
        driver.advance(10.0)
        assert {one.raw for one in driver.dead_letters} == {letter.raw}
        assert driver.outputs == []


def test_a_result_handler_is_not_called_for_a_batch_that_is_discarded() -> None:
    called = []

    def handler(batch_id: str, results: list[object]) -> None:
        called.append(batch_id)

    with TopologyTestDriver(slow({"B": 3.0}), handler) as driver:
        driver.send(message("A", "B"))
        command(driver, Action.DISCARD)
        assert steps(driver.dead_letters) == [("discarded", None)]
        assert called == []


def test_a_discarded_batch_that_is_too_large_for_one_message_is_several_letters() -> None:
    names = [f"S{number}" for number in range(40)]
    with TopologyTestDriver(slow({"S39": 60.0}), max_message_bytes=1024) as driver:
        driver.send(message(*names))
        command(driver, Action.DISCARD)
        letters = driver.dead_letters
        assert len(letters) > 1
        assert [letter.headers["reason"] for letter in letters] == ["discarded"] * len(letters)
        assert [letter.value["meta"]["part"] for letter in letters] == list(range(1, len(letters) + 1))
        assert [one["station_id"] for letter in letters for one in letter.value["stations"]] == names[:-1]


def test_extend_gives_a_batch_more_time() -> None:
    with TopologyTestDriver(slow({"B": 7.0}), batch_timeout=5) as driver:
        driver.send(message("A", "B"))
        command(driver, Action.EXTEND, seconds=3.0)
        driver.advance(7.1)
        (output,) = driver.outputs
        assert output.value["meta"]["completed_by"] == "all"
        assert output.value["meta"]["deadline"] == START + 8
        assert output.value["meta"]["operator"]["action"] == "extend"


@pytest.mark.parametrize("commits_lost", [False, True])
def test_an_extension_moves_the_deadline_once_wherever_the_worker_dies(commits_lost: bool) -> None:
    for number in range(4):
        with TopologyTestDriver(slow({"B": 60.0}), batch_timeout=5) as driver:
            driver.send(message("A", "B"))
            sends: list[OutMessage] = []

            def crash(sent: OutMessage, sends: list[OutMessage] = sends, number: int = number) -> bool:
                sends.append(sent)
                return len(sends) == number + 1

            driver.crash_before(crash)
            command(driver, Action.EXTEND, seconds=3.0)
            driver.advance(0.5)
            driver.restart(lose_commits=commits_lost)
            driver.advance(7.3)
            assert driver.outputs == []
            driver.advance(0.4)
            (output,) = driver.outputs
            assert output.value["meta"]["deadline"] == START + 8


def test_a_command_that_comes_too_late_is_logged_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send(message("A"))
        for action in Action:
            command(driver, action, seconds=1.0)
        assert len(driver.outputs) == 1
        assert driver.dead_letters == []
    assert caplog.text.count("changes nothing") == 3
