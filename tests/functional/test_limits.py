"""Limits of what a message may hold: what exceeds them is a dead letter, or fails its station, with a clear error."""

from __future__ import annotations

import json

import pytest

from app.testing import TopologyTestDriver
from tests.functional.plant import BATCH, DIRECT, TOPIC, direct, message, record, slow, steps

WEATHER = "WEATHER"


@pytest.mark.parametrize("topic", [TOPIC, DIRECT, WEATHER])
def test_a_message_of_too_many_stations_is_a_dead_letter_whole(topic: str) -> None:
    with direct(slow({}), max_stations=3, context_topics=(WEATHER,)) as driver:
        raw = json.dumps([record(station) for station in "ABCD"]).encode()
        driver.send(raw, topic, key="k")
        (letter,) = driver.dead_letters
        assert (letter.raw, letter.key, letter.headers["reason"]) == (raw, "k", "bad-message")
        assert letter.headers["error"] == "4 stations, more than the 3 of a message (AGG_MAX_STATIONS)"
        assert driver.outputs == []
        driver.send([record(station) for station in "ABCABC"])
        assert driver.outputs[0].value["meta"]["status"] == "complete"


@pytest.mark.parametrize("topic", [TOPIC, DIRECT, WEATHER])
def test_a_record_whose_station_id_is_too_long_is_a_dead_letter_and_the_rest_goes_on(topic: str) -> None:
    with direct(slow({}), max_id_length=5, context_topics=(WEATHER,)) as driver:
        records = [record("12345"), record("123456"), {**record("A"), "stationId": 1234567}]
        driver.send(records, topic)
        assert [letter.value for letter in driver.dead_letters] == records[1:]
        assert steps(driver.dead_letters) == [("bad-record", None)] * 2
        assert (
            "a station id of 6 characters, more than 5 (AGG_MAX_ID_LENGTH): 123456"
            in (driver.dead_letters[0].headers["error"])
        )
        if topic == TOPIC:
            assert driver.outputs[0].value["stations"] == [{"station_id": "12345", "of": "12345"}]


def test_a_record_that_is_too_large_fails_its_station_and_not_the_batch() -> None:
    with TopologyTestDriver(slow({}), max_record_bytes=2000) as driver:
        large = record("A", text="x" * 2000)
        driver.send([record("A"), large, record("B"), *(record("C", text="x" * 900) for _ in range(9))])
        (output,) = driver.outputs
        assert (output.key, output.value["meta"]["status"]) == (BATCH, "complete")
        assert [station["station_id"] for station in output.value["stations"]] == ["B", "C"]
        (failed,) = output.value["meta"]["failed"]
        size = len(json.dumps(large, separators=(",", ":")))
        assert failed["station_id"] == "A"
        assert failed["error"] == (
            f"ValueError: a record of station A has {size} bytes of JSON, more than the 2000 of one record"
            " (AGG_MAX_RECORD_BYTES)"
        )
        assert steps(driver.dead_letters) == [("too-large", "A")]


@pytest.mark.parametrize("topic", [DIRECT, WEATHER])
def test_elsewhere_too(topic: str) -> None:
    with direct(slow({}), max_record_bytes=2000, context_topics=(WEATHER,)) as driver:
        driver.send([record("A", text="x" * 2000), record("B")], topic)
        (letter,) = driver.dead_letters
        assert (letter.headers["reason"], letter.headers["station-id"]) == ("too-large", "A")
        assert "AGG_MAX_RECORD_BYTES" in letter.headers["error"]
        assert len(driver.outputs) == (topic == DIRECT)


def test_what_the_limits_allow_by_default_is_generous() -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send(message("x" * 1000, *(str(number) for number in range(1000))))
        assert driver.outputs[0].value["station_count"] == 1001
        assert driver.dead_letters == []
