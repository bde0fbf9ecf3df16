"""A worker that dies while stations pass through loses none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app.messages.message import OutMessage
from app.testing import Message, TopologyTestDriver
from tests.functional.plant import (
    BATCH,
    DIRECT,
    TIME,
    TOPIC,
    ModuleInput,
    answering,
    direct,
    message,
    record,
)


async def uploads(station_id: str, module_input: ModuleInput, result: Any) -> dict[str, Any]:
    """A handler that takes a moment."""
    if station_id == "H":
        message = "no upload"
        raise OSError(message)
    await asyncio.sleep(0.001)
    return {"result": result}


def play(driver: TopologyTestDriver, crash: Callable[[OutMessage], bool], **how: bool) -> None:
    """Single stations and a batch; a worker that has died is followed by another."""
    driver.crash_before(crash, unordered=how.get("unordered", False))
    driver.send([record("A"), record("F"), record("E"), record("H"), {"sendTime": TIME}], DIRECT)
    if driver.crashed:
        driver.restart(lose_commits=how.get("lose_commits", False))
    driver.send(message("A", "F", "B"))
    if driver.crashed:
        driver.restart(lose_commits=how.get("lose_commits", False))
    driver.advance(3.0)
    if driver.crashed:
        driver.restart(lose_commits=how.get("lose_commits", False))
        driver.advance(3.0)


MODEL = answering({"A": {"a": 1}, "B": 2, "E": None, "F": ValueError("no model"), "H": 3})


def sends(handler: Callable[..., Any] | None) -> int:
    """How many messages are sent in the whole play."""
    seen: list[OutMessage] = []

    def watch(sent: OutMessage) -> bool:
        seen.append(sent)
        return False

    with direct(MODEL, handler, partitions=2, handler_retries=1) as driver:
        play(driver, watch)
    return len(seen)


@pytest.mark.parametrize("handler", [None, uploads])
def test_a_crash_before_any_send_loses_no_station_and_repeats_are_identical(
    handler: Callable[..., Any] | None,
) -> None:
    for number in range(sends(handler)):
        left = [number]

        def crash(_: OutMessage, left: list[int] = left) -> bool:
            left[0] -= 1
            return left[0] == -1

        with direct(MODEL, handler, partitions=2, handler_retries=1) as driver:
            play(driver, crash, lose_commits=bool(number % 2), unordered=bool(number % 3))
            outputs = distinct(driver.outputs)
            assert outputs.pop(BATCH).value["meta"]["status"] == "complete"
            singles = {"A": {"a": 1}} if handler else {"A": {"a": 1}, "H": 3}
            assert {key: output.value["result"] for key, output in outputs.items()} == singles
            letters = {
                (one.headers["reason"], one.headers.get("station-id"), one.headers["source-topic"])
                for one in driver.dead_letters
            }
            due = {
                ("station-failed", "F", DIRECT),
                ("station-failed", "F", TOPIC),
                ("bad-record", None, DIRECT),
            }
            assert letters == due | ({("handler-failed", "H", DIRECT)} if handler else set())
            assert len({one.raw for one in driver.dead_letters}) == len(letters)


def distinct(messages: list[Message]) -> dict[str | None, Message]:
    """Messages by key; those of one key are identical."""
    found: dict[str | None, Message] = {}
    for one in messages:
        known = found.setdefault(one.key, one)
        assert (known.raw, known.headers) == (one.raw, one.headers)
    return found
