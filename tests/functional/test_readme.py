"""The Python of both READMEs and of docs/callbacks.md, run as a reader would: files in a folder, and pytest."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from app.testing import TopologyTestDriver
from tests.functional.documents import ROOT, assert_tests_pass, code_of, load
from tests.further import further

READMES = ("README.md", "README.zh-CN.md")
CALLBACKS = ("docs/callbacks.md", "docs/callbacks.zh-CN.md")


def source_messages(readme: str) -> list[str]:
    text = (ROOT / readme).read_text(encoding="utf-8")
    found: list[str] = re.findall(r'^\{"realTimeData": .*\}$', text, re.MULTILINE)
    return found


@pytest.mark.parametrize("readme", [READMES[0], *further(READMES[1])])  # their code is the same
def test_the_test_of_the_readme_passes(readme: str, tmp_path: Path) -> None:
    assert_tests_pass(tmp_path, readme, "test_load.py", 1)


@pytest.mark.parametrize("topic", ["SCHEDULE-STATION-REALTIME-DATA", "plant.a_1"])
@pytest.mark.parametrize("readme", READMES)
def test_the_callback_makes_of_the_message_what_the_readme_says(readme: str, topic: str, tmp_path: Path) -> None:
    with TopologyTestDriver(
        load(tmp_path, readme, "load.py").callback, source_topics=[topic], context_topics=["A-CALENDAR"]
    ) as driver:
        for message in source_messages(readme):
            driver.send(message)
        first, second = driver.outputs
    assert (first.key, second.key) == (f"{topic}_1763085600", f"{topic}_1763089200")
    assert first.value["stations"] == [{"station_id": "A", "last_kw": 37.02, "mean_kw": 33.76}]
    assert (first.value["meta"]["empty"], first.value["meta"]["failed"]) == (["B"], [])
    assert [failed["station_id"] for failed in second.value["meta"]["failed"]] == ["C"]


@pytest.mark.parametrize("readme", READMES)
def test_the_log_is_what_the_readme_shows_of_it(readme: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "app.batches")
    with TopologyTestDriver(load(tmp_path, readme, "load.py").callback) as driver:
        for message in source_messages(readme):
            driver.send(message)
    said = [re.sub(r"\[topic=.*\]", "[...]", record.getMessage()) for record in caplog.records]
    text = (ROOT / readme).read_text(encoding="utf-8")
    assert said == re.findall(r"^(?:Batch|Dead letter) .*", text, re.MULTILINE)


@pytest.mark.parametrize("page", CALLBACKS)
def test_the_handlers_make_the_payload_of_what_they_get(page: str, tmp_path: Path) -> None:
    handlers = load(tmp_path, page, "handlers.py")

    async def model(station_id: str, module_input: dict[str, Any]) -> dict[str, Any]:
        if station_id == "slow":
            await asyncio.sleep(60)
        return {"last_kw": 2.5}

    message = [{"stationId": station, "sendTime": "2025-11-14 10:00:00"} for station in ("A", "B", "slow")]
    with TopologyTestDriver(model, handlers.result_handler) as driver:
        driver.send(message)
        driver.advance(5.1)
        assert driver.outputs[0].value["loads"] == {"A": 2.5, "B": 2.5}
    with TopologyTestDriver(model, handlers.with_context) as driver:
        driver.send(message)
        driver.advance(5.1)
        assert [result["station_id"] for result in driver.outputs[0].value["results"]] == ["A", "B"]
        (total,) = driver.messages("PLANT-TOTALS")
        assert total.value == {"kw": 5.0, "missing": ["slow"]}


def test_both_languages_show_the_same_code_but_for_its_comments() -> None:
    english, chinese = map(code_of, READMES)
    assert english == chinese
    assert sorted(english) == ["load.py", "test_load.py"]
    english, chinese = map(code_of, CALLBACKS)
    assert english == chinese
    assert sorted(english) == ["handlers.py"]
    assert source_messages(READMES[0]) == source_messages(READMES[1])
