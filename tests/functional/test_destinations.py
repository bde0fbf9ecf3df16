"""A stored destination that is gone: another one within what is there, stored before anything is sent to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app.messages.message import OutMessage
from app.messages.partitioner import partition_of
from app.testing import TopologyTestDriver
from tests.functional.plant import BATCH, TOPIC, ModuleInput, message, slow
from tests.functional.test_crashes import Crashes

BATCHES = [f"{TOPIC}_{1763085600 + second}" for second in range(6)]
PARTITIONS = 8


async def model(station_id: str, module_input: ModuleInput) -> dict[str, str]:
    """A result at once."""
    return {"of": station_id}


async def uploads(batch_id: str, batch_results_list: list[Any]) -> dict[str, Any]:
    """A handler that takes its time."""
    await asyncio.sleep(0.001)
    return {"stations": batch_results_list}


def times(count: int) -> list[str]:
    return [f"2025-11-14 10:00:{second:02d}" for second in range(count)]


def to_output(driver: TopologyTestDriver) -> Callable[[OutMessage], bool]:
    """Crash before an output."""
    return lambda sent: sent.topic == driver.settings.output_topic


def moves(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if getattr(one, "event", "") == "output-moved"]


@pytest.mark.parametrize("handler", [None, uploads], ids=["default", "handler"])
def test_a_decision_whose_partition_is_gone_comes_out_in_one_that_is_there(
    handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with TopologyTestDriver(model, handler, partitions=PARTITIONS) as driver:
        topic = driver.settings.output_topic
        driver.crash_before(to_output(driver))
        driver.send(message("A", "B"))
        assert driver.crashed
        driver._broker.make_again(topic, 1)
        driver.restart()
        (output,) = driver.outputs
        assert (output.key, output.partition) == (BATCH, 0)
        old = partition_of(BATCH.encode(), PARTITIONS)
        assert old > 0
        assert moves(caplog) == [
            f"Batch {BATCH}: its stored place {topic}[{old}] is gone, its output goes to {topic}[0]"
        ]
        assert {one.levelname for one in caplog.records if getattr(one, "event", "") == "output-moved"} == {"WARNING"}
        driver.restart(lose_commits=True)
        assert len(driver.outputs) == 1
        assert driver.closed_batches == [BATCH]


@pytest.mark.parametrize("count", [1, 3])
def test_the_new_partition_is_the_keys_among_those_that_are_there(count: int) -> None:
    with TopologyTestDriver(model, partitions=PARTITIONS) as driver:
        for time in times(6):
            driver.crash_before(to_output(driver))
            driver.send(message("A", time=time))
            driver.crash_before(to_output(driver))
            driver.restart()
        driver._broker.make_again(driver.settings.output_topic, count)
        driver.restart()
        stayed = {batch for batch in BATCHES if partition_of(batch.encode(), PARTITIONS) < count}
        assert {str(output.key): output.partition for output in driver.outputs} == {
            batch: partition_of(batch.encode(), PARTITIONS if batch in stayed else count) for batch in BATCHES
        }
        assert len(driver.outputs) == len(BATCHES)


def test_more_partitions_than_before_move_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with TopologyTestDriver(model, partitions=2) as driver:
        driver.crash_before(to_output(driver))
        driver.send(message("A"))
        driver._broker.make_again(driver.settings.output_topic, 5)
        driver.restart()
        assert [output.partition for output in driver.outputs] == [partition_of(BATCH.encode(), 2)]
        assert moves(caplog) == []


def test_a_topic_that_is_made_again_while_the_worker_runs_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with TopologyTestDriver(model, partitions=PARTITIONS) as driver:
        driver._broker.make_again(driver.settings.output_topic, 2)
        for time in times(6):
            driver.send(message("A", time=time))
        assert not driver.crashed
        assert {output.key: output.partition for output in driver.outputs} == {
            batch: partition_of(batch.encode(), 2) for batch in BATCHES
        }
        # Once it is known, nothing is stored for a place that is gone.
        assert len(moves(caplog)) <= 1


def play(driver: TopologyTestDriver, crashes: Crashes, *, lose_commits: bool) -> None:
    """Two batches that are decided, and come out after the topic has been made again, over any number of crashes."""

    def stand_up() -> None:
        while driver.crashed:
            driver.crash_before(crashes)
            driver.restart(lose_commits=lose_commits)

    for time in times(2):
        driver.crash_before(to_output(driver))
        driver.send(message("A", time=time))
    driver._broker.make_again(driver.settings.output_topic, 1)
    driver.crash_before(crashes)
    driver.restart()
    for _ in range(4):
        stand_up()
        driver.advance(1.0)
    stand_up()


def sends_of(handler: Any) -> int:
    crashes = Crashes()
    with TopologyTestDriver(model, handler, partitions=PARTITIONS) as driver:
        play(driver, crashes, lose_commits=False)
    return crashes.sends


@pytest.mark.parametrize("lose_commits", [False, True], ids=["", "commits-lost"])
@pytest.mark.parametrize("handler", [None, uploads], ids=["default", "handler"])
def test_a_crash_between_any_two_sends_makes_no_second_output(handler: Any, lose_commits: bool) -> None:
    for first in range(sends_of(handler)):
        for second in (first + 1, first + 2, first + 4):
            with TopologyTestDriver(model, handler, partitions=PARTITIONS) as driver:
                play(driver, Crashes(first, second), lose_commits=lose_commits)
                assert sorted(str(output.key) for output in driver.outputs) == BATCHES[:2]
                assert {output.partition for output in driver.outputs} == {0}


def test_a_revision_whose_partition_is_gone_is_moved_too() -> None:
    async def late(station_id: str, module_input: ModuleInput) -> dict[str, str]:
        await asyncio.sleep(7.0 if station_id == "S" else 0.0)
        return {"of": station_id}

    with TopologyTestDriver(late, partitions=PARTITIONS, batch_timeout=5, late_policy="revise") as driver:
        driver.send(message("A", "S"))
        driver.advance(6.0)
        (first,) = driver.outputs
        assert first.partition > 0
        driver.crash_before(to_output(driver))
        driver.advance(3.0)
        assert driver.crashed
        driver._broker.make_again(driver.settings.output_topic, 1)
        driver.restart()
        assert [(output.partition, output.headers["revision"]) for output in driver.outputs] == [(0, "2")]
        driver.restart(lose_commits=True)
        driver.advance(5.0)
        assert len(driver.outputs) == 1


def test_what_was_stored_for_a_topic_that_is_no_setting_any_more_and_gone_goes_to_the_one_that_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with TopologyTestDriver(model, output_topic="OLD") as driver:
        driver.crash_before(to_output(driver))
        driver.send(message("A"))
        driver.settings = driver.settings.model_copy(update={"output_topic": "NEW"})
        driver._broker.delete("OLD")
        driver.restart()
        assert [output.key for output in driver.messages("NEW")] == [BATCH]
        (line,) = moves(caplog)
        assert "OLD[" in line
        assert "NEW[" in line
        driver.restart(lose_commits=True)
        assert len(driver.messages("NEW")) == 1


def test_a_stored_payload_that_the_topic_does_not_take_any_more_is_a_letter_and_stops_nothing() -> None:
    async def handler(batch_id: str, batch_results_list: list[Any]) -> dict[str, str]:
        return {"x": "y" * 2_000_000}

    with TopologyTestDriver(model, handler, max_message_bytes=4_000_000) as driver:
        driver.crash_before(to_output(driver))
        driver.send(message("A"))
        driver.settings = driver.settings.model_copy(update={"max_message_bytes": 1024})
        driver.restart()
        (letter,) = driver.dead_letters
        assert (letter.key, letter.headers["reason"]) == (BATCH, "too-large")
        assert driver.settings.output_topic in letter.headers["error"]
        assert driver.outputs == []
        assert driver.closed_batches == [BATCH]


@pytest.mark.parametrize("again", [None, 1], ids=["deleted", "made again"])
def test_a_letter_whose_source_topic_is_gone_says_so_and_stops_nothing(again: int | None) -> None:
    with TopologyTestDriver(slow({"A": 6.0}), batch_timeout=5) as driver:
        driver.send(message("A", time="2025-11-14 09:59:59"))
        driver.send(message("A"), key="in another partition than the first")
        driver.advance(3.0)
        driver.send(message("B"))  # the batch lives on past the deadline for which A is skipped
        if again is None:
            driver._broker.delete(TOPIC)
        else:
            driver._broker.make_again(TOPIC, again)
        driver.advance(3.5)
        assert [output.key for output in driver.outputs][1:] == [BATCH]
        (letter,) = driver.dead_letters
        assert letter.value == {TOPIC: []}
        assert letter.headers["error"].endswith("its source message can't be read any more")


def test_a_handlers_side_topic_that_is_gone_is_the_handlers_failure() -> None:
    async def handler(batch_id: str, batch_results_list: list[Any], context: Any) -> dict[str, bool]:
        try:
            await context.send("gone", batch_id, "v")
        except ValueError as error:
            await context.send("there", batch_id, str(error))
        return {"done": True}

    with TopologyTestDriver(model, handler) as driver:
        driver._broker.append(OutMessage("gone", b"before"))
        driver._broker.delete("gone")
        driver.send(message("A"))
        assert [output.value for output in driver.outputs] == [{"done": True}]
        (told,) = driver.messages("there")
        assert b"there is no topic gone" in (told.raw or b"")
