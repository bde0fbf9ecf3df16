"""A worker is killed between any two messages that it sends: revisions come out, discarded batches are letters."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import pytest

from app.testing import Message, TopologyTestDriver
from tests.functional.plant import BATCH, TOPIC, ModuleInput, message, steps
from tests.functional.test_crashes import HOW, Crashes, Handler, only
from tests.further import further

SECOND = f"{TOPIC}_1763085601"
SETTINGS: dict[str, Any] = {
    "partitions": 2,
    "batch_timeout": 5,
    "handler_retries": 1,
    "late_policy": "revise",
    "required_stations": ("R",),
}


async def model(station_id: str, module_input: ModuleInput) -> dict[str, str]:
    """S and R come two seconds too late."""
    if station_id in "SR":
        await asyncio.sleep(7.0)
    return {"of": station_id}


async def uploads(batch_id: str, batch_results_list: list[Any], context: Any) -> dict[str, Any]:
    """A handler that takes its time."""
    await asyncio.sleep(0.001)
    return {"stations": batch_results_list, "meta": context.meta}


def play(driver: TopologyTestDriver, crashes: Crashes, *, lose_commits: bool = False, unordered: bool = False) -> None:
    """A batch that gets late outcomes and late messages, and one that is discarded."""

    def stand_up() -> None:
        while driver.crashed:
            driver.crash_before(crashes, unordered=unordered)
            driver.restart(lose_commits=lose_commits)

    driver.crash_before(crashes, unordered=unordered)
    driver.send(message("A", "S"))
    stand_up()
    driver.send(message("A", "R", time="2025-11-14 10:00:01"))
    for _ in range(6):
        stand_up()
        driver.advance(1.0)
    for late in ("X", "Y"):
        stand_up()
        driver.send(message(late))
        for _ in range(4):
            stand_up()
            driver.advance(1.0)
    stand_up()


def sends_of(handler: Handler) -> int:
    """How many messages the worker sends in the whole play."""
    crashes = Crashes()
    with TopologyTestDriver(model, handler, **SETTINGS) as driver:
        play(driver, crashes)
    return crashes.sends


def check(driver: TopologyTestDriver) -> None:
    """Every revision is out once, the last one has all; the other batch is a letter."""
    copies: defaultdict[tuple[str | None, int], list[Message]] = defaultdict(list)
    for output in driver.outputs:
        copies[output.key, int(output.headers["revision"])].append(output)
    outputs = {key: only(same) for key, same in copies.items()}
    assert len(outputs) == len(driver.outputs)
    assert {key for key, _ in outputs} == {BATCH}
    revisions = sorted(revision for _, revision in outputs)
    assert revisions == list(range(1, len(revisions) + 1))
    order = [int(output.headers["revision"]) for output in driver.outputs]
    assert order == revisions
    last = outputs[BATCH, revisions[-1]].value
    told = {station["station_id"] for station in last["stations"]}
    # S is missing for good if the next worker skipped it, for its deadline had passed; it has failed where X found the
    # batch still open after that, and moved the deadline.
    assert told | {"S"} == {"A", "S", "X", "Y"}
    lost = [*last["meta"]["missing"], *(failed["station_id"] for failed in last["meta"]["failed"])]
    assert lost == ["S"] * ("S" not in told)
    letter = only([one for one in driver.dead_letters if steps([one]) == [("discarded", None)]])
    assert (letter.key, letter.value["meta"]["missing"]) == (SECOND, ["R"])
    assert sorted(driver.closed_batches) == [BATCH, SECOND]


@HOW
@pytest.mark.parametrize("number", range(sends_of(None)))
def test_a_crash_before_any_send_loses_no_revision_and_no_letter(
    number: int, lose_commits: bool, unordered: bool
) -> None:
    crashes = Crashes(number)
    with TopologyTestDriver(model, **SETTINGS) as driver:
        play(driver, crashes, lose_commits=lose_commits, unordered=unordered)
        assert crashes.crashed == 1
        check(driver)


@HOW
@pytest.mark.parametrize("number", range(sends_of(uploads)))
def test_a_crash_before_any_send_loses_no_revision_of_a_custom_handlers(
    number: int, lose_commits: bool, unordered: bool
) -> None:
    crashes = Crashes(number)
    with TopologyTestDriver(model, uploads, **SETTINGS) as driver:
        play(driver, crashes, lose_commits=lose_commits, unordered=unordered)
        assert crashes.crashed == 1
        check(driver)


FIRST = range(sends_of(None))


@pytest.mark.parametrize("first", [*FIRST[::2], *further(of=FIRST[1::2])])
def test_a_crash_in_the_recovery_loses_none_either(first: int) -> None:
    for second in range(first + 1, first + 8):
        crashes = Crashes(first, second, second + 3)
        with TopologyTestDriver(model, **SETTINGS) as driver:
            play(driver, crashes, lose_commits=bool(second % 2), unordered=bool(second % 3))
            check(driver)
