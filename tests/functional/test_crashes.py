"""A worker is killed between any two messages that it sends, and everything that is due is out all the same."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from app.messages.message import OutMessage
from app.testing import Message, TopologyTestDriver
from tests.functional.plant import BATCH, TIME, TOPIC, ModuleInput, message, record, steps
from tests.further import further

SECOND = f"{TOPIC}_1763085601"
NAMELESS = {"sendTime": TIME, "outputPowerPerStationAvg": 1.5}

Handler = Callable[..., Any] | None


async def model(station_id: str, module_input: ModuleInput) -> dict[str, str] | None:
    """A has a result, E none, F fails, S comes two seconds too late."""
    if station_id == "S":
        await asyncio.sleep(7.0)
    if station_id == "F":
        text = "no model"
        raise ValueError(text)
    return None if station_id == "E" else {"of": station_id}


async def uploads(batch_id: str, batch_results_list: list[Any], context: Any) -> dict[str, Any]:
    """A handler that sends a message of its own, waits a little and returns a payload."""
    await context.send("uploads", batch_id, batch_results_list)
    await asyncio.sleep(0.001)
    return {"id": batch_id, "got": batch_results_list, "by": context.meta["completed_by"]}


async def fails(batch_id: str, batch_results_list: list[Any]) -> None:
    """A handler that never succeeds."""
    text = "no upload"
    raise OSError(text)


class Crashes:
    """Crashes at the sends with these numbers, counted over all workers."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.sends = 0
        self.crashed = 0

    def __call__(self, _: OutMessage) -> bool:
        self.sends += 1
        hit = self.sends - 1 in self.numbers
        self.crashed += hit
        return hit


def play(
    driver: TopologyTestDriver,
    crashes: Crashes,
    *,
    lose_commits: bool = False,
    unordered: bool = False,
    downtime: float = 0.0,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Two batches, one of which times out; a worker that has died is followed by another after `downtime`."""

    def stand_up() -> None:
        while driver.crashed:
            driver.advance(downtime)
            driver.crash_before(crashes, unordered=unordered)
            driver.restart(lose_commits=lose_commits)

    driver.crash_before(crashes, unordered=unordered)
    driver.send([record("A"), record("F"), NAMELESS, record("E")], key=b"plant", headers=headers)
    stand_up()
    driver.send(message("A", "S", time="2025-11-14 10:00:01"), headers=headers)
    stand_up()
    for _ in range(12):
        driver.advance(1.0)
        stand_up()


def only(messages: list[Message]) -> Message:
    """The message that all of these are identical copies of."""
    assert messages
    assert {(one.raw_key, one.raw, tuple(one.headers.items())) for one in messages} == {
        (messages[0].raw_key, messages[0].raw, tuple(messages[0].headers.items()))
    }
    return messages[0]


def outputs_by_batch(driver: TopologyTestDriver) -> dict[str | None, Message]:
    """Each batch's output, of which there may be identical copies."""
    by_key: defaultdict[str | None, list[Message]] = defaultdict(list)
    for output in driver.outputs:
        by_key[output.key].append(output)
    return {key: only(copies) for key, copies in by_key.items()}


def sends_of(handler: Handler) -> int:
    """How many messages the worker sends in the whole play."""
    crashes = Crashes()
    with TopologyTestDriver(model, handler, partitions=2, batch_timeout=5, handler_retries=1) as driver:
        play(driver, crashes)
    return crashes.sends


SENDS = sends_of(None)
SENDS_WITH_HANDLER = sends_of(uploads)
SENDS_WITH_FAILING_HANDLER = sends_of(fails)
HOW = pytest.mark.parametrize(
    ("lose_commits", "unordered"),
    [(False, False), (True, False), (False, True), (True, True)],
    ids=["", "commits-lost", "unordered", "commits-lost-unordered"],
)


@pytest.mark.parametrize("number", [b"9" * 5000, b"9" * 30])
def test_a_foreign_message_in_the_output_topic_ends_no_recovery(number: bytes) -> None:
    with TopologyTestDriver(model, partitions=1) as driver:
        driver.crash_before(lambda sent: "changelog" in sent.topic and bool(driver.outputs))
        driver.send(message("A"))
        assert driver.crashed
        foreign = [("revision", number), ("part", number), ("parts", number)]
        driver._broker.append(OutMessage(driver.settings.output_topic, b"{}", b"x", partition=0, headers=foreign))
        driver.restart()
        driver.advance(10.0)
        assert not driver.crashed
        assert [output.key for output in driver.outputs] == [BATCH, "x"]


@HOW
@pytest.mark.parametrize("number", range(SENDS))
def test_a_crash_before_any_send_loses_nothing_and_copies_are_identical(
    number: int, lose_commits: bool, unordered: bool
) -> None:
    crashes = Crashes(number)
    with TopologyTestDriver(model, partitions=2, batch_timeout=5) as driver:
        play(driver, crashes, lose_commits=lose_commits, unordered=unordered)
        assert crashes.crashed == 1
        outputs = outputs_by_batch(driver)
        assert set(outputs) == {BATCH, SECOND}
        assert len(driver.outputs) == 2  # a successor looks whether they are out before it sends them
        first, second = outputs[BATCH].value, outputs[SECOND].value
        assert first["stations"] == [{"station_id": "A", "of": "A"}]
        assert (first["meta"]["empty"], first["meta"]["missing"]) == (["E"], [])
        assert first["meta"]["failed"] == [{"station_id": "F", "error": "ValueError: no model"}]
        assert second["stations"] == [{"station_id": "A", "of": "A"}]
        assert (second["meta"]["missing"], second["meta"]["completed_by"]) == (["S"], "timeout")
        letters = driver.dead_letters
        assert only([one for one in letters if steps([one]) == [("bad-record", None)]]).value == NAMELESS
        assert only([one for one in letters if steps([one]) == [("station-failed", "F")]]).raw_key == b"plant"
        # Not late if the next worker skipped it while the batch, though due, had not closed: then it is just missing.
        assert {one.value["station_id"] for one in driver.late} <= {"S"}
        assert driver.open_batches == []
        assert sorted(driver.closed_batches) == [BATCH, SECOND]


@HOW
@pytest.mark.parametrize("number", range(SENDS_WITH_HANDLER))
def test_a_crash_before_any_send_calls_a_custom_handler_with_the_same_arguments(
    number: int, lose_commits: bool, unordered: bool
) -> None:
    crashes = Crashes(number)
    with TopologyTestDriver(model, uploads, partitions=2, batch_timeout=5) as driver:
        play(driver, crashes, lose_commits=lose_commits, unordered=unordered)
        assert crashes.crashed == 1
        outputs = outputs_by_batch(driver)
        got = [{"station_id": "A", "of": "A"}]
        assert outputs[BATCH].value == {"id": BATCH, "got": got, "by": "all"}
        assert outputs[SECOND].value == {"id": SECOND, "got": got, "by": "timeout"}
        for key in (BATCH, SECOND):
            assert only([one for one in driver.messages("uploads") if one.key == key]).value == got


@HOW
@pytest.mark.parametrize("number", range(SENDS_WITH_FAILING_HANDLER))
def test_a_crash_before_any_send_leaves_a_batch_whose_handler_fails_as_identical_dead_letters(
    number: int, lose_commits: bool, unordered: bool
) -> None:
    crashes = Crashes(number)
    with TopologyTestDriver(model, fails, partitions=2, batch_timeout=5, handler_retries=1) as driver:
        play(driver, crashes, lose_commits=lose_commits, unordered=unordered)
        assert crashes.crashed == 1
        assert driver.outputs == []
        letters = [one for one in driver.dead_letters if one.headers["reason"] == "handler-failed"]
        for key in (BATCH, SECOND):
            letter = only([one for one in letters if one.key == key])
            assert letter.value["stations"] == [{"station_id": "A", "of": "A"}]
        assert sorted(driver.closed_batches) == [BATCH, SECOND]


@pytest.mark.parametrize("first", [*range(0, SENDS, 2), *further(of=range(1, SENDS, 2))])
def test_a_crash_in_the_recovery_from_a_crash_loses_nothing_either(first: int) -> None:
    for second in range(first + 1, first + 12):
        crashes = Crashes(first, second, second + 3)
        with TopologyTestDriver(model, partitions=2, batch_timeout=5) as driver:
            play(driver, crashes, lose_commits=bool(second % 2), unordered=bool(second % 3))
            outputs = outputs_by_batch(driver)
            assert set(outputs) == {BATCH, SECOND}
            assert outputs[BATCH].value["meta"]["failed"] == [{"station_id": "F", "error": "ValueError: no model"}]
            assert outputs[SECOND].value["meta"]["missing"] == ["S"]
            assert {one.value["station_id"] for one in driver.late} <= {"S"}
            assert sorted(driver.closed_batches) == [BATCH, SECOND]


@pytest.mark.parametrize("number", range(SENDS))
def test_a_worker_that_is_away_past_the_deadline_loses_no_batch_and_names_every_station(number: int) -> None:
    crashes = Crashes(number)
    with TopologyTestDriver(model, partitions=2, batch_timeout=5) as driver:
        play(driver, crashes, downtime=30.0)
        outputs = outputs_by_batch(driver)
        assert set(outputs) == {BATCH, SECOND}
        for batch_id, stations in ((BATCH, "AEF"), (SECOND, "AS")):
            value = outputs[batch_id].value
            named = {station["station_id"] for station in value["stations"] + value["meta"]["failed"]}
            assert named | {*value["meta"]["empty"], *value["meta"]["missing"]} == set(stations)


def test_no_station_event_is_sent_before_the_opening_of_its_batch() -> None:
    with TopologyTestDriver(model) as driver:
        driver.crash_before(lambda sent: sent.topic == driver.settings.batch_events_topic)
        driver.send(message("A"))
        assert driver.crashed
        assert driver.messages(driver.settings.station_events_topic) == []


def test_parts_that_were_out_before_a_crash_are_not_sent_again() -> None:
    async def wide(station_id: str, module_input: ModuleInput) -> dict[str, str]:
        return {"x": "y" * 500}

    names = [f"S{number}" for number in range(10)]
    for number in range(3):
        with TopologyTestDriver(wide, max_message_bytes=2048) as driver:
            outputs = driver.settings.output_topic
            sent: list[OutMessage] = []

            def third(out: OutMessage, sent: list[OutMessage] = sent, topic: str = outputs, at: int = number) -> bool:
                sent += [out] if out.topic == topic else []
                return out.topic == topic and len(sent) > at

            driver.crash_before(third)
            driver.send(message(*names))
            assert len(driver.outputs) == number
            driver.restart()
            parts = [output.headers["part"] for output in driver.outputs]
            assert parts == [str(part) for part in range(1, len(parts) + 1)]
            assert len(parts) > 3


@pytest.mark.parametrize("changed", ["larger", "a little larger", "smaller", "a handler"])
def test_an_output_that_is_cut_elsewhere_after_a_crash_between_two_parts_loses_no_station(changed: str) -> None:
    """Settings have changed meanwhile. The parts that are out are then of another cut, which is never completed."""

    async def padded(station_id: str, module_input: ModuleInput) -> dict[str, str]:
        return {"pad": "x" * 400}

    async def counts(batch_id: str, batch_results_list: list[Any]) -> dict[str, int]:
        return {"got": len(batch_results_list)}

    with TopologyTestDriver(padded, partitions=1, max_message_bytes=2000) as driver:
        output = driver.settings.output_topic
        driver.crash_before(lambda sent: sent.topic == output and dict(sent.headers).get("part") == b"2")
        driver.send(message(*"ABCDEFGHI"))
        assert [one.headers["parts"] for one in driver.outputs] == ["3"]
        if changed == "a handler":
            driver._functions = replace(driver._functions, result_handler=counts)
        else:
            limit = {"larger": 100_000, "a little larger": 2500, "smaller": 1500}[changed]
            driver.settings = driver.settings.model_copy(update={"max_message_bytes": limit})
        driver.restart()
        driver.advance(10.0)
        out = driver.outputs[1:]
    if changed == "a handler":
        assert only(out).value == {"got": 9}
    else:
        assert [one.headers["parts"] for one in out] == [str(len(out))] * len(out)
        assert sorted(row["station_id"] for one in out for row in one.value["stations"]) == list("ABCDEFGHI")
