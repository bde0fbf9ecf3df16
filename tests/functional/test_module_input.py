"""What the keys of `module_input` are: the topic of the message first, whatever its name, then the context topics."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.testing import TopologyTestDriver
from tests.functional.plant import ModuleInput, record

DIRECT = "direct.stations"
OWN, OTHER = "plant_a", "B"
CONTEXT = ["WEATHER", "AAA", "calendar"]
OPTIONS: dict[str, Any] = {"source_topics": [OWN, OTHER], "passthrough_topics": [DIRECT], "context_topics": CONTEXT}


@pytest.mark.parametrize("kind", ["loop", "suspends", "thread", "many"])
@pytest.mark.parametrize("topic", [OWN, OTHER, DIRECT])
def test_the_messages_topic_stands_first_and_the_context_topics_follow_as_they_are_set(topic: str, kind: str) -> None:
    seen: list[list[str]] = []

    def one(station_id: str, module_input: ModuleInput) -> dict[str, Any]:
        columns = next(iter(module_input.values()))
        seen.append(list(module_input))
        return {"load": columns["load"]}

    async def on_the_loop(station_id: str, module_input: ModuleInput) -> dict[str, Any]:
        if kind == "suspends":
            await asyncio.sleep(0)
        return one(station_id, module_input)

    async def many(inputs: dict[str, ModuleInput]) -> dict[str, Any]:
        return {station_id: one(station_id, module_input) for station_id, module_input in inputs.items()}

    callback: dict[str, Any] = (
        {"batch_callback": many} if kind == "many" else {"callback": one if kind == "thread" else on_the_loop}
    )
    with TopologyTestDriver(**callback, **OPTIONS) as driver:
        driver.send(record("A", load=7), CONTEXT[2])  # what came first says nothing
        driver.send([record("A", load=2), record("B", load=3)], topic)
        driver.advance(1.0)
        value = driver.outputs[0].value
        assert seen == [[topic, *CONTEXT]] * 2
        if topic == DIRECT:
            # Of two threads either may be first.
            assert sorted(output.value["result"]["load"] for output in driver.outputs) == [[2], [3]]
        else:
            assert [station["load"] for station in value["stations"]] == [[2], [3]]


@pytest.mark.parametrize("context", [[], ["WEATHER"]])
def test_who_asks_for_another_topic_is_told_which_there_are(
    context: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    def model(station_id: str, module_input: ModuleInput) -> Any:
        assert module_input.get("SCHEDULE-STATION-REALTIME-DATA") is None
        return module_input["SCHEDULE-STATION-REALTIME-DATA"]

    there = ", ".join(map(repr, [OWN, *context]))
    error = f"KeyError: \"'SCHEDULE-STATION-REALTIME-DATA'; module_input has {there}\""
    with TopologyTestDriver(model, source_topics=[OWN], context_topics=context) as driver:
        driver.send([record("A"), record("B")], OWN)
        driver.advance(1.0)
        (output,) = driver.outputs
        assert [failed["error"] for failed in output.value["meta"]["failed"]] == [error] * 2
        assert driver.dead_letters[0].headers["error"].rstrip().endswith(error)
    (told,) = [entry.getMessage() for entry in caplog.records if "all stations have failed" in entry.getMessage()]
    assert told.endswith(f"all stations have failed, 2 of 2 with {error}")
