"""What released versions have left in their topics is read, whole; what a newer one has left is refused, by name."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from app.kafka.topics import changelog_topic
from app.messages.frames import decode_events, decode_stations
from app.messages.message import OutMessage
from app.testing import TopologyTestDriver
from tables.storage import exact_json
from tables.storage.checks import NewerFormatError
from tables.storage.records import RecordKind, Table, UnreadableRecordError, kind_of
from tables.window_segments import PREFIX
from tests.functional.plant import BATCH, answering, message
from tests.integration.support.next_version import added_to
from tests.recorded.recording import FOLDER, Recording, gone_on, read, record
from tests.recorded.scenarios import PLANT, SCENARIOS, WEATHER, Scenario

FILES = sorted(FOLDER.glob("*/*.jsonl"))
THIS = FOLDER / version("station-batch-aggregator")
SCENARIO_OF = {scenario.name: scenario for scenario in SCENARIOS}
EVENTS, STATIONS = "recorded-batch-events", "recorded-station-events"
NEWER = "format version 2, and this program reads 1: a newer version of the application wrote it; start that one"


def name_of(file: Path) -> str:
    return f"{file.parent.name}-{file.stem}"


def gone_on_again(scenario: Scenario, recording: Recording) -> Any:
    """As it is read back from a file."""
    return json.loads(json.dumps(gone_on(scenario, recording)))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_worker_goes_on_with_what_a_released_version_has_left(file: Path) -> None:
    recording = read(file)
    assert gone_on_again(SCENARIO_OF[file.stem], recording) == recording.expected


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_worker_goes_on_with_what_a_version_has_left_that_adds_to_frames_and_records(file: Path) -> None:
    recording = read(file)
    messages = [replace(one, value=added_to(one.value)) for one in recording.messages]
    assert any(one.value != other.value for one, other in zip(messages, recording.messages, strict=True))
    assert gone_on_again(SCENARIO_OF[file.stem], replace(recording, messages=messages)) == recording.expected


def test_a_topic_that_was_recorded_without_a_window_begins_one_with_what_was_kept() -> None:
    recording = read(FOLDER / "0.1.0" / "topic.jsonl")
    scenario = replace(SCENARIO_OF["topic"], settings={"context_topics": (f"{WEATHER}:5",), "closed_ttl": 20.0})
    assert gone_on_again(scenario, recording) == recording.expected


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_recording_of_this_version_is_what_it_writes(scenario: Scenario) -> None:
    """Who changes what is written keeps the recording of the version before, and makes one of the new one."""
    recorded, now = read(THIS / f"{scenario.name}.jsonl"), record(scenario)
    assert list(map(content_of, now.messages)) == list(map(content_of, recorded.messages)), (
        "what is written has changed: raise the version, and run `python -m tests.recorded`"
    )


def content_of(one: OutMessage) -> tuple[object, ...]:
    """All but tracebacks, which have numbers of lines in them."""
    return one.topic, one.partition, one.key, None if b"Traceback" in (one.value or b"") else one.value


def test_each_kind_of_event_and_record_is_in_the_recordings() -> None:
    events: set[str] = set()
    records: set[RecordKind] = set()
    states: set[str] = set()
    letters = context = singles = stored_context = wide = segments = False
    for recording in map(read, FILES):
        for value in recording.values(EVENTS):
            for event in decode_events(value):
                events.add(type(event).__name__)
                letters |= bool(getattr(event, "letters", None))
        for value in recording.values(STATIONS):
            frame = decode_stations(value)
            context |= bool(frame.context)
            singles |= any(group.batch_id is None for group in frame.groups)
            wide |= value.startswith(exact_json.MARK)
        for one in recording.messages:
            stored_context |= one.topic == changelog_topic("recorded", Table.CONTEXT)
            segments |= (one.key or b"").startswith(PREFIX)
            if one.topic == changelog_topic("recorded", Table.BATCHES):
                assert one.key is not None
                kind = kind_of(one.key)
                records.add(kind)
                if one.value is not None and kind is RecordKind.HEADER:
                    states.add(exact_json.loads_marked(one.value)["state"])
    assert events == {"Open", "Arrived", "Expire", "Command", "Revise", "Forget"}
    assert records == set(RecordKind)
    assert states == {"closing", "prepared", "closed"}
    assert letters
    assert context
    assert stored_context
    assert segments
    assert singles
    assert wide


# -- a newer version ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["batch_events_topic", "station_events_topic"])
def test_a_frame_of_a_newer_version_ends_the_worker_and_is_not_acknowledged(topic: str) -> None:
    with TopologyTestDriver(answering({"A": 1})) as driver:
        name = getattr(driver.settings, topic)
        partition = 3
        place = rf"^{name}\[{partition}\]@0: it has {NEWER}$"
        with pytest.raises(NewerFormatError, match=place):
            append(driver, OutMessage(name, b'{"v":2,"layout":[],"groups":[],"events":[]}', partition=partition))
        assert driver.crashed
        with pytest.raises(NewerFormatError, match=place):
            driver.restart()
        assert driver.dead_letters == []
        assert (name, partition) not in driver._broker.committed


@pytest.mark.parametrize("key", [b"other", b"other#0.0-0.0", b"other#r2", BATCH.encode()])
def test_a_record_of_a_newer_version_ends_the_worker_that_recovers_it(key: bytes) -> None:
    with TopologyTestDriver(answering({"A": 1})) as driver:
        driver.send(message("A"))
        driver.kill()
        changelog = changelog_topic(driver.settings.app_id, Table.BATCHES)
        driver._broker.append(OutMessage(changelog, b'{"v":2}', key, partition=5))
        with pytest.raises(UnreadableRecordError, match=rf"^table batches, partition 5: .* it has {NEWER}$"):
            driver.restart()
        assert driver.dead_letters == []


def test_context_of_a_newer_version_ends_the_worker_that_needs_it() -> None:
    with TopologyTestDriver(answering({"A": 1}), source_topics=(PLANT,), context_topics=(WEATHER,)) as driver:
        driver.kill()
        changelog = changelog_topic(driver.settings.app_id, Table.CONTEXT)
        for partition in range(driver.settings.partitions):
            driver._broker.append(OutMessage(changelog, b'{"v":2}', f"{WEATHER}#A".encode(), partition=partition))
        driver.restart()
        with pytest.raises(UnreadableRecordError, match=NEWER):
            driver.send([{"stationId": "A", "sendTime": "2025-11-14 10:00:00"}], PLANT)
        assert driver.crashed
        assert driver.outputs == driver.dead_letters == []


def append(driver: TopologyTestDriver, one: OutMessage) -> None:
    """Send to a partition."""
    driver._broker.append(one)
    driver.advance(0.1)
