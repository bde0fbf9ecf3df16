"""The examples: each runs on the driver as docs/python.md says, but for own_agent.py, which needs a real Kafka."""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.testing import Message, TopologyTestDriver
from tests.functional.documents import ROOT, assert_tests_pass, code_of, python_files
from tests.functional.plant import TOPIC
from tests.further import further

EXAMPLES = ROOT / "examples"
DOCUMENTS = ("docs/python.md", "docs/python.zh-CN.md")
LOG_LINE = re.compile(r"^(?:Batch|Dead letter|Timeout) .*", re.MULTILINE)
MESSAGE = re.compile(r'^\{"realTimeData": .*\}$', re.MULTILINE)

Example = Callable[[str], Any]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Example]:
    """Imports an example by its name, as `faust -A` does in that folder."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if (EXAMPLES / f"{name}.py").exists():
            del sys.modules[name]


def records(*stations: str, time: str = "2025-11-14 10:00:00", kw: float = 30.0) -> list[dict[str, Any]]:
    return [{"stationId": station, "sendTime": time, "outputPowerPerStationAvg": kw} for station in stations]


def results(output: Message) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = output.value["stations"]
    return found


def test_a_callback_answers_for_one_station(example: Example) -> None:
    module = example("one_station")
    assert (module.app.settings.callback, module.app.settings.batch_timeout) == ("load_model:predict", 10.0)
    with TopologyTestDriver.of(module.app) as driver:
        driver.send(records("A", "B") + records("C", kw=0.0))
        (output,) = driver.outputs
    assert results(output) == [{"station_id": id_, "last_kw": 30.0, "mean_kw": 30.0} for id_ in ("A", "B")]
    assert output.value["meta"]["empty"] == ["C"]


def test_a_batch_callback_answers_for_many_with_a_model_that_is_loaded_once(example: Example) -> None:
    module = example("many_stations")
    with TopologyTestDriver.of(module.app) as driver:
        driver.send(records("A", "B"))
        driver.send(records("A", time="2025-11-14 11:00:00"))
        assert [result for output in driver.outputs for result in results(output)] == [
            {"station_id": "A", "kw": 60.0},
            {"station_id": "B", "kw": 60.0},
            {"station_id": "A", "kw": 60.0},
        ]
    assert module.model.cache_info().misses == 1


def test_a_callback_in_a_process_ends_nothing_but_its_call(example: Example) -> None:
    with TopologyTestDriver.of(example("in_processes").app, thread_patience=60.0) as driver:
        driver.send(records("A", "crash"))
        (output,) = driver.outputs
    (result,) = results(output)
    assert result["process"] != os.getpid()
    assert [failed["station_id"] for failed in output.value["meta"]["failed"]] == ["crash"]


def test_a_result_handler_makes_the_payload_and_sends_beside(example: Example) -> None:
    with TopologyTestDriver.of(example("own_payload").app) as driver:
        driver.send(records("A", "B"))
        assert driver.outputs[0].value == {"batch_id": f"{TOPIC}_1763085600", "loads": {"A": 30.0, "B": 30.0}}
        assert driver.messages("PLANT-TOTALS")[0].value == {"kw": 60.0, "missing": []}


def test_context_is_what_is_known_of_the_station(example: Example) -> None:
    with TopologyTestDriver.of(example("with_weather").app) as driver:
        driver.send({"stationId": "A", "sendTime": "2025-11-14 09:00:00", "temp": 21.5}, "WEATHER")
        driver.send(records("A", "B"))
        assert [result["temp"] for result in results(driver.outputs[0])] == [21.5, None]


def test_stations_pass_through_one_by_one(example: Example) -> None:
    with TopologyTestDriver.of(example("station_by_station").app) as driver:
        driver.send(records("A", "B"))
        assert {output.key: output.value for output in driver.outputs} == {
            "A": {"station": "A", "load": 30.0},
            "B": {"station": "B", "load": 30.0},
        }


def test_modules_are_chained_by_the_first_ones_output(example: Example) -> None:
    first, second = example("first_module").app, example("second_module").app
    with TopologyTestDriver.of(first) as one, TopologyTestDriver.of(second) as two:
        one.send(records("A", "B"))
        (output,) = one.outputs
        two.send(output.raw, key=output.raw_key)
        (last,) = two.outputs
    assert last.key == "MODULE-OUTPUT-LOAD_PREDICTION_1763085600"
    assert results(last) == [{"station_id": "A", "limit_kw": 24.0}, {"station_id": "B", "limit_kw": 24.0}]


def test_an_adaptive_timeout_follows_what_batches_have_needed(example: Example) -> None:
    with TopologyTestDriver.of(example("adaptive_timeout").app) as driver:
        for hour in (10, 11):
            driver.send(records("A", "B", time=f"2025-11-14 {hour}:00:00"))
            driver.advance(10.0)
        first, second = (output.value["meta"] for output in driver.outputs)
    assert (first["missing"], first["timeout"]) == (["B"], 5.0)
    assert (second["missing"], second["timeout"]) == ([], pytest.approx(12.0, abs=0.1))


def test_a_batch_is_released_with_its_share(example: Example) -> None:
    with TopologyTestDriver.of(example("early_release").app) as driver:
        driver.send(records("A", "B"))
        (output,) = driver.outputs
        assert output.value["meta"]["completed_by"] == "ratio"
        assert output.value["meta"]["missing"] == ["B"]
        driver.advance(8.5)
        assert [message.headers["station-id"] for message in driver.late] == ["B"]


def test_a_batch_without_a_required_station_is_discarded(example: Example) -> None:
    with TopologyTestDriver.of(example("required_stations").app) as driver:
        driver.send(records("A", "B"))
        driver.send(records("A", "C", time="2025-11-14 11:00:00"))
        driver.advance(5.1)
        assert [output.key for output in driver.outputs] == [f"{TOPIC}_1763089200"]
        assert [letter.headers["reason"] for letter in driver.dead_letters] == ["discarded"]


def test_columns_are_arrays(example: Example) -> None:
    guns = {"gunNo": ["1", "2"], "outputPowerPerGunAvg": [1.0, 7.5]}
    sent = records("A", time="2025-11-14 09:00:00", kw=10.0) + records("A", kw=30.0)
    with TopologyTestDriver.of(example("with_arrays").app) as driver:
        driver.send([record | {"gunPower": guns} for record in sent])
        (result,) = results(driver.outputs[0])
    assert result == {"station_id": "A", "busiest": "2", "kw": 7.5, "by_hour": {"9": 10.0, "10": 30.0}}


def test_gaps_are_filled(example: Example) -> None:
    with TopologyTestDriver.of(example("filled_gaps").app) as driver:
        driver.send(records("A", time="2025-11-14 08:00:00", kw=10.0) + records("A", kw=30.0))
        (result,) = results(driver.outputs[0])
    assert result == {"station_id": "A", "times": ["08:00", "09:00", "10:00"], "kw": [10.0, 20.0, 30.0]}


def test_a_late_result_makes_a_revision(example: Example) -> None:
    with TopologyTestDriver.of(example("revised_outputs").app) as driver:
        driver.send(records("A", "B"))
        driver.advance(10.0)
        assert [output.value["meta"]["revision"] for output in driver.outputs] == [1, 2]
        assert [len(results(output)) for output in driver.outputs] == [1, 2]
        assert driver.late == []


def after_example(document: str, name: str) -> str:
    """What a document says of an example, up to the next one."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return text.split(f"# {name}.py\n")[1].split("```python")[0]


@pytest.mark.parametrize("name", ["adaptive_timeout", "early_release", "required_stations", "revised_outputs"])
def test_the_message_of_the_document_makes_the_log_that_it_shows(
    name: str, example: Example, caplog: pytest.LogCaptureFixture
) -> None:
    english, chinese = (after_example(document, name) for document in DOCUMENTS)
    shown = LOG_LINE.findall(english)
    assert shown == LOG_LINE.findall(chinese)
    (message,) = {line for document in DOCUMENTS for line in MESSAGE.findall((ROOT / document).read_text("utf-8"))}
    caplog.set_level(logging.INFO, "app.batches")
    with TopologyTestDriver.of(example(name).app) as driver:
        driver.send(message)
        driver.advance(10.0)
        for batch_id in re.findall(r"--header batch-id=([\w-]+)", english):
            driver.send(message, headers={"batch-id": batch_id})
            driver.advance(10.0)
    assert [re.sub(r"\[\w+=.*\]", "[...]", record.getMessage()) for record in caplog.records] == shown


@pytest.mark.parametrize("document", [DOCUMENTS[0], *further(DOCUMENTS[1])])  # their code is the same
def test_the_test_of_the_document_passes(document: str, tmp_path: Path) -> None:
    assert_tests_pass(tmp_path, document, "test_one_station.py", 1)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_document_shows_each_example_as_it_is(document: str) -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.py")}
    if document == DOCUMENTS[0]:
        assert python_files(document) == files
    assert code_of(document) == code_of(DOCUMENTS[0])
