"""The migration guide: its code runs, in both languages, and what it has side by side compares as equal."""

from __future__ import annotations

import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from app.cli.result_comparison import ResultReader, join
from app.messages.message import InMessage
from app.testing import Message, TopologyTestDriver
from tests.functional.documents import assert_tests_pass, code_of, load
from tests.functional.plant import TOPIC, record
from tests.further import further

GUIDES = ["docs/migration.md", "docs/migration.zh-CN.md"]
LOADS = [("A", 30.0), ("B", 12.5), ("C", 1.0)]


@pytest.mark.parametrize("guide", [GUIDES[0], *further(GUIDES[1])])  # their code is the same
def test_the_tests_of_the_guide_pass(guide: str, tmp_path: Path) -> None:
    assert_tests_pass(tmp_path, guide, "test_migration.py", 2)


def results(outputs: list[Message], *, time_field: str | None) -> ResultReader:
    reader = ResultReader(ZoneInfo("Asia/Shanghai"), time_field)
    for one in outputs:
        headers = [(name, value.encode()) for name, value in one.headers.items()]
        reader.take(InMessage(one.topic, one.partition, one.offset, one.timestamp, one.raw_key, one.raw, headers))
    return reader


@pytest.mark.parametrize("time_field", ["time", None])
@pytest.mark.parametrize("guide", GUIDES)
def test_both_ways_of_the_guide_have_the_same_results_to_compare(
    guide: str, time_field: str | None, tmp_path: Path
) -> None:
    callback = load(tmp_path, guide, "model.py").callback
    before = load(tmp_path, guide, "old_handlers.py")
    after = load(tmp_path, guide, "new_handlers.py")
    times = {second: f"2025-11-14 10:00:{second:02}" for second in (0, 5, 10)}
    batches = [
        [record(station, time, outputPowerPerStationAvg=load + second) for station, load in LOADS]
        for second, time in times.items()
    ]
    outputs = []
    for old_way in (True, False):
        with TopologyTestDriver(
            callback,
            None if old_way else after.result_handler,
            station_result_handler=before.result_handler if old_way else None,
            passthrough_topics=[TOPIC] if old_way else [],
        ) as driver:
            for message in batches:
                driver.send(message)
                driver.advance(5.0)
            outputs.append(results(driver.outputs, time_field=time_field))
    old, new = outputs
    pairs = join(old.results(), new.results(), within=2.0)
    assert old.unreadable == new.unreadable == []
    assert len(pairs) == 3 * len(LOADS)
    assert all(pair.same for pair in pairs)


@pytest.mark.parametrize("guide", GUIDES)
def test_the_handlers_that_upload_by_themselves_publish_nothing(guide: str, tmp_path: Path) -> None:
    callback = load(tmp_path, guide, "model.py").callback
    before = load(tmp_path, guide, "old_handlers.py")
    with TopologyTestDriver(callback, station_result_handler=before.uploading, passthrough_topics=[TOPIC]) as driver:
        driver.send([record(station, outputPowerPerStationAvg=load) for station, load in LOADS])
        assert driver.outputs == driver.dead_letters == []
    assert before.database == dict(LOADS)


def test_both_languages_show_the_same_code_but_for_its_comments() -> None:
    english, chinese = map(code_of, GUIDES)
    assert english == chinese
    assert sorted(english) == ["model.py", "new_handlers.py", "old_handlers.py", "service.py", "test_migration.py"]


@pytest.mark.parametrize("guide", GUIDES)
def test_the_service_of_the_guide_calls_the_old_handler_unchanged(
    guide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("model", "old_handlers"):
        monkeypatch.setitem(sys.modules, name, load(tmp_path, guide, f"{name}.py"))
    with TopologyTestDriver.of(load(tmp_path, guide, "service.py").app) as driver:
        driver.send([record(station, outputPowerPerStationAvg=load) for station, load in LOADS])
        found = {output.key: output.value for output in driver.outputs}
    assert found.keys() == {"A", "B", "C"}
    assert found["A"] == {
        "station_id": "A",
        "time": "2025-11-14 10:00:00",
        "guns": 0,
        "result": {"last_kw": 30.0, "mean_kw": 30.0, "guns": 0},
    }
