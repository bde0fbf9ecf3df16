"""What the keys of `module_input` are: the topic of the message first, whatever its name, then the context topics."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.testing import TopologyTestDriver
from tests.functional.plant import ModuleInput, answering, record

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


def asks_for_soc(station_id: str, module_input: ModuleInput) -> Any:
    return next(iter(module_input.values()))["soc"]


async def asks_for_soc_in_a_loop(station_id: str, module_input: ModuleInput) -> Any:
    return asks_for_soc(station_id, module_input)


async def asks_for_soc_later(station_id: str, module_input: ModuleInput) -> Any:
    await asyncio.sleep(0.1)
    return asks_for_soc(station_id, module_input)


def asks_all_for_soc(inputs: dict[str, ModuleInput]) -> Any:
    return {station_id: asks_for_soc(station_id, module_input) for station_id, module_input in inputs.items()}


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize("topic", [OWN, DIRECT])
@pytest.mark.parametrize(
    "callback",
    [
        {"callback": asks_for_soc},
        {"callback": asks_for_soc_in_a_loop},
        {"callback": asks_for_soc_later},
        {"batch_callback": asks_all_for_soc},
    ],
    ids=["thread", "loop", "suspended", "many"],
)
def test_who_asks_for_another_column_is_told_which_there_are(
    callback: dict[str, Any], topic: str, retries: int, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"source_topics": [OWN], "passthrough_topics": [DIRECT], "context_topics": ["WEATHER"]}
    with TopologyTestDriver(**callback, **options, retries=retries) as driver:
        driver.send(record("A", load=3), topic)
        driver.advance(1.0)
        error = f"KeyError: 'soc'; module_input['{topic}'] has 'sendTime', 'load', module_input['WEATHER'] is empty"
        (letter,) = driver.dead_letters
        assert letter.headers["error"].startswith("Traceback")
        assert letter.headers["error"].endswith(f"\n{error}\n")
        if topic == OWN:
            assert driver.outputs[0].value["meta"]["failed"] == [{"station_id": "A", "error": error}]
    assert f"Dead letter (station-failed): {error} " in "".join(entry.getMessage() for entry in caplog.records)


def test_a_handler_of_stations_that_asks_for_another_column_is_told_which_there_are() -> None:
    def handler(station_id: str, module_input: ModuleInput, result: Any) -> Any:
        return module_input[DIRECT]["soc"]

    callback = answering({"A": 1})
    options: dict[str, Any] = {"passthrough_topics": [DIRECT], "handler_retries": 0}
    with TopologyTestDriver(callback, station_result_handler=handler, **options) as driver:
        driver.send(record("A", load=3), DIRECT)
        driver.advance(1.0)
        (letter,) = driver.dead_letters
        assert letter.headers["error"].endswith(f"\nKeyError: 'soc'; module_input['{DIRECT}'] has 'sendTime', 'load'\n")


@pytest.mark.parametrize("error", [KeyError("load"), KeyError(3), KeyError(), KeyError("soc", 1), LookupError("soc")])
def test_an_error_that_is_of_no_missing_column_is_told_as_it_is(error: Exception) -> None:
    with TopologyTestDriver(answering({"A": error}), source_topics=[OWN]) as driver:
        driver.send(record("A", load=3), OWN)
        (failed,) = driver.outputs[0].value["meta"]["failed"]
        assert failed["error"] == f"{type(error).__name__}: {error}".removesuffix(": ")
