"""What source messages may look like, and where those end that don't."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.testing import START_TIME, TopologyTestDriver
from tests.functional.plant import BATCH, TIME, TOPIC, ModuleInput, message, record, slow, steps

RECORDS = [record("A"), record("B")]


@pytest.mark.parametrize(
    "form",
    [{TOPIC: RECORDS}, {"realTimeData": RECORDS}, RECORDS, {TOPIC: RECORDS, "realTimeData": [record("X")], "v": 2}],
    ids=["topic", "realTimeData", "list", "topic-before-realTimeData"],
)
def test_each_form_of_a_source_message_makes_the_same_batch(form: Any) -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send(form)
        (output,) = driver.outputs
        assert output.key == BATCH
        assert output.value["stations"] == [{"station_id": "A", "of": "A"}, {"station_id": "B", "of": "B"}]


def test_one_record_alone_is_a_batch_of_one_station() -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send(record("A"))
        assert driver.outputs[0].key == BATCH
        assert driver.outputs[0].value["stations"] == [{"station_id": "A", "of": "A"}]


def test_further_envelope_keys_are_a_setting() -> None:
    with TopologyTestDriver(slow({}), envelope_keys=("rows",)) as driver:
        driver.send({"rows": RECORDS})
        assert driver.outputs[0].value["station_count"] == 2


@pytest.mark.parametrize(
    "time",
    [
        TIME,
        "2025-11-14T10:00:00+08:00",
        "2025-11-14T02:00:00Z",
        "2025-11-14T10:00:00",
        1763085600,
        1763085600.9,
        1763085600000,
        "1763085600",
    ],
)
def test_each_form_of_a_time_names_the_same_batch(time: object) -> None:
    seen: list[Any] = []

    async def model(station_id: str, module_input: ModuleInput) -> None:
        seen.append(module_input[TOPIC]["sendTime"])

    with TopologyTestDriver(model) as driver:
        driver.send(message("A", time=time))
        assert driver.outputs[0].key == BATCH
        assert seen == [[TIME]]


@pytest.mark.parametrize("key", ["sendTime", "send_time", "timestamp"])
def test_each_key_of_a_time_counts(key: str) -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send([{"stationId": "A", key: TIME}])
        assert driver.outputs[0].key == BATCH


def test_the_batch_is_named_by_the_latest_time_in_the_message() -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send([record("A", "2025-11-14 09:00:00"), record("B"), record("C", "2025-11-14 08:00:00")])
        assert driver.outputs[0].key == BATCH


def test_times_without_a_zone_are_in_the_zone_of_the_settings() -> None:
    with TopologyTestDriver(slow({}), timezone="UTC") as driver:
        driver.send(message("A", time="2025-11-14 02:00:00"))
        assert driver.outputs[0].key == BATCH


def test_a_station_id_may_be_a_number_and_is_text_in_the_output() -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send([{"station_id": 1881540927845654529, "sendTime": TIME}])
        assert driver.outputs[0].value["stations"][0]["station_id"] == "1881540927845654529"


def test_the_callback_gets_its_stations_records_aligned() -> None:
    seen: dict[str, ModuleInput] = {}

    async def model(station_id: str, module_input: ModuleInput) -> None:
        seen[station_id] = module_input

    def plant_record(time: str, powers: list[float], average: float) -> dict[str, Any]:
        guns = {"gunNo": ["05", "01"], "outputPowerPerGunAvg": powers}
        return record("A", time, hostCode="52", gunPower=guns, outputPowerPerStationAvg=average)

    with TopologyTestDriver(model) as driver:
        driver.send(
            [
                plant_record("2025-11-14 10:00:00", [34.29, 2.73], 37.02),
                record("B"),
                plant_record("2025-11-14 09:00:00", [30.1, 2.0], 32.1),
            ]
        )
        assert seen == {
            "A": {
                TOPIC: {
                    "sendTime": ["2025-11-14 09:00:00", "2025-11-14 10:00:00"],
                    "gunNo": ["05", "01"],
                    "hostCode": ["52", "52"],
                    "outputPowerPerGunAvg": [[30.1, 2.0], [34.29, 2.73]],
                    "outputPowerPerStationAvg": [32.1, 37.02],
                }
            },
            "B": {TOPIC: {"sendTime": [TIME]}},
        }
        assert driver.outputs[0].value["meta"]["empty"] == ["A", "B"]


@pytest.mark.parametrize(
    ("size", "points"), [(None, ["07", "08", "09", "10"]), (2, ["09", "10"]), (5, ["06", "07", "08", "09", "10"])]
)
def test_a_step_alone_inserts_back_to_the_earliest_record_and_with_a_size_so_many(
    size: int | None, points: list[str]
) -> None:
    seen: list[list[str]] = []

    async def model(station_id: str, module_input: ModuleInput) -> None:
        del station_id
        seen.append(module_input[TOPIC]["sendTime"])

    records = [record("A", f"2025-11-14 {hour}:00:00") for hour in ("07", "10")]
    with TopologyTestDriver(model, window_step=3600, window_size=size) as driver:
        driver.send({TOPIC: records})
    assert seen == [[f"2025-11-14 {hour}:00:00" for hour in points]]


def test_input_that_cannot_be_aligned_fails_its_station_and_not_the_batch() -> None:
    with TopologyTestDriver(slow({})) as driver:
        ragged = {"gunNo": ["05", "01"], "outputPowerPerGunAvg": [1.0]}
        driver.send([record("A", gunPower=ragged), record("B")])
        (output,) = driver.outputs
        assert output.value["stations"] == [{"station_id": "B", "of": "B"}]
        (failed,) = output.value["meta"]["failed"]
        assert failed["station_id"] == "A"
        assert "outputPowerPerGunAvg" in failed["error"]


@pytest.mark.parametrize(
    "value",
    [b"", b"not json", b"\xff\x00", '{"TOPIC": ', "1", '"text"', "null", '{"other": []}', '{"realTimeData": 7}', "NaN"],
)
def test_a_message_in_no_known_form_is_a_dead_letter_byte_for_byte(value: str | bytes) -> None:
    raw = value.encode() if isinstance(value, str) else value
    with TopologyTestDriver(slow({})) as driver:
        partition, offset = driver.send(value, key=b"\xfekey")
        assert driver.outputs == []
        (letter,) = driver.dead_letters
        assert (letter.raw, letter.raw_key) == (raw, b"\xfekey")
        assert letter.headers.pop("error")
        assert letter.headers == {
            "reason": "bad-message",
            "failed-at": repr(START_TIME),
            "source-topic": TOPIC,
            "source-partition": str(partition),
            "source-offset": str(offset),
        }


def test_a_message_without_a_value_is_a_dead_letter() -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send(None, key="k")
        (letter,) = driver.dead_letters
        assert (letter.key, letter.raw, letter.headers["reason"]) == ("k", None, "bad-message")


def test_a_record_without_a_station_id_is_a_dead_letter_and_the_others_go_on() -> None:
    nameless = {"sendTime": TIME, "outputPowerPerStationAvg": 1.5}
    with TopologyTestDriver(slow({})) as driver:
        driver.send([record("A"), nameless, record("B"), "no record"], key="plant-7")
        assert driver.outputs[0].value["station_count"] == 2
        assert driver.outputs[0].value["meta"]["status"] == "complete"
        assert [json.loads(letter.raw or b"") for letter in driver.dead_letters] == [nameless, "no record"]
        assert [letter.key for letter in driver.dead_letters] == ["plant-7", "plant-7"]
        assert steps(driver.dead_letters) == [("bad-record", None)] * 2


def test_a_record_without_a_time_beside_others_that_have_one_is_a_dead_letter() -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send([record("A"), record("A", None, load=1), record("B")])
        assert driver.outputs[0].value["station_count"] == 2
        assert [letter.value for letter in driver.dead_letters] == [record("A", None, load=1)]


def test_a_station_without_any_time_keeps_its_records_when_others_have_one() -> None:
    seen: dict[str, ModuleInput] = {}

    async def model(station_id: str, module_input: ModuleInput) -> None:
        seen[station_id] = module_input

    with TopologyTestDriver(model) as driver:
        driver.send([record("A"), record("B", None, load=1), record("B", "?", load=2)])
        assert seen["B"] == {TOPIC: {"sendTime": [None, None], "load": [1, 2]}}
        assert driver.dead_letters == []


def test_an_empty_list_makes_nothing_and_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send([])
        driver.send({TOPIC: []})
        driver.advance(10.0)
        assert driver.outputs == driver.dead_letters == []
        assert driver.metrics.empty_messages == 2
    assert caplog.text.count("empty list") == 2


def test_a_bad_message_does_not_stop_the_ones_behind_it() -> None:
    with TopologyTestDriver(slow({}), partitions=1) as driver:
        driver.kill()
        for value in (b"bad", message("A"), b"bad again", message("B", time="2025-11-14 10:00:01")):
            driver.send(value)
        driver.restart()
        assert [output.value["stations"][0]["station_id"] for output in driver.outputs] == ["A", "B"]
        assert len(driver.dead_letters) == 2


def test_a_frame_that_is_none_of_ours_on_an_internal_topic_is_a_dead_letter(caplog: pytest.LogCaptureFixture) -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send(b"garbage", driver.settings.batch_events_topic)
        driver.send(b'{"v": 0, "groups": []}', driver.settings.station_events_topic)
        driver.send(message("A"))
        assert [letter.raw for letter in driver.dead_letters] == [b"garbage", b'{"v": 0, "groups": []}']
        assert len(driver.outputs) == 1
        assert driver.metrics.dead_letters == {"bad-message": 2}
    assert caplog.text.count("Dead letter (bad-message): ") == 2
