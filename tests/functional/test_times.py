"""Times as plants write them, times that can't be read, and times of a clock that is ahead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.inputs.timestamps import format_time
from app.testing import TopologyTestDriver
from tests.functional.plant import BATCH, DIRECT, START, TIME, TOPIC, ModuleInput, record, slow, steps

DAY = 86_400
FAR = "2099-01-01 00:00:00"
WEATHER = "WEATHER"


class Seen:
    """A model that remembers what it got, by station."""

    def __init__(self) -> None:
        self.inputs: list[tuple[str, ModuleInput]] = []

    async def model(self, station_id: str, module_input: ModuleInput) -> dict[str, Any]:
        self.inputs.append((station_id, module_input))
        return {"ok": True}

    def times(self, topic: str = TOPIC) -> dict[str, list[Any]]:
        return {station: module_input[topic]["sendTime"] for station, module_input in self.inputs}


def later(seconds: float, zone: Any) -> str:
    return format_time(int(START + seconds), zone)


@pytest.mark.parametrize(
    "time",
    [
        *("2025/11/14 10:00:00", "2025-11-14t02:00:00z", "2025-11-14 10:00:00 +08:00", "2025-11-14 09:59:60"),
        *("2025.11.14 10:00:00", "2025-11-14 02:00:00 UTC", "2025-11-14 02:00:00 GMT", "2025-11-14T10:00:00+8:00"),
        *(
            "20251114100000",
            20251114100000,
            202511141000,
            1763085600000000,
            "1763085600000000000",
            " 2025/11/14 10:00 ",
        ),
    ],
)
def test_every_form_names_the_batch_and_is_text_of_one_form_in_the_input(time: object) -> None:
    seen = Seen()
    with TopologyTestDriver(seen.model) as driver:
        driver.send([record("A", time)])
        assert [output.key for output in driver.outputs] == [BATCH]
        assert seen.times() == {"A": [TIME]}


def test_a_time_that_cant_be_read_is_told_with_its_topic_at_most_once_in_ten_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen = Seen()
    with TopologyTestDriver(seen.model, partitions=1) as driver:
        for _ in range(3):
            driver.send([record("A", "14/11/2025 10:00"), record("B", None)])
        (line,) = [one for one in caplog.records if "can't be read" in one.getMessage()]
        assert line.levelname == "WARNING"
        assert f'{TOPIC}[0]@0: a time can\'t be read: sendTime "14/11/2025 10:00"' in line.getMessage()
        assert seen.times() == {"A": [None], "B": [None]}
        driver.advance(10.0)
        driver.send([record("A", True)])
        assert "sendTime true" in caplog.text
        assert caplog.text.count("can't be read") == 2


def test_in_chinese_too(caplog: pytest.LogCaptureFixture) -> None:
    with TopologyTestDriver(slow({}), log_language="zh") as driver:
        driver.send([record("A", "?"), record("B", FAR)])
        assert '无法识别的时间: sendTime "?"' in caplog.text
        assert f'晚于消息超过 86400 秒的时间不可用 (AGG_MAX_AHEAD): station B: sendTime "{FAR}"' in caplog.text


def test_records_without_any_time_and_readable_ones_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send([{"stationId": "A"}, record("B", None), record("C"), record("D", "?", timestamp=TIME)])
        assert driver.outputs[0].key == BATCH
        assert "can't be read" not in caplog.text


def test_a_clock_that_is_ahead_does_not_name_the_batch_and_is_told_with_station_and_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen = Seen()
    with TopologyTestDriver(seen.model) as driver:
        driver.send([record("A"), record("B", FAR, load=1), record("C")])
        (output,) = driver.outputs
        assert output.key == BATCH
        assert output.value["station_count"] == 3
        assert seen.times() == {"A": [TIME], "B": [None], "C": [TIME]}
        assert driver.dead_letters == []
        (line,) = [one for one in caplog.records if "AGG_MAX_AHEAD" in one.getMessage()]
        assert line.levelname == "WARNING"
        assert f'station B: sendTime "{FAR}"' in line.getMessage()


def test_a_record_that_is_ahead_beside_others_is_a_dead_letter_and_its_replay_is_again() -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send([record("A"), record("A", FAR, load=1)])
        assert driver.outputs[0].key == BATCH
        (letter,) = driver.dead_letters
        assert letter.value == record("A", FAR, load=1)
        assert steps([letter]) == [("bad-record", "A")]
        assert "AGG_MAX_AHEAD" in letter.headers["error"]
        driver.send(letter.raw, headers={"batch-id": letter.headers["batch-id"], "replayed": "0@0"})
        assert [late.headers["batch-id"] for late in driver.late] == [BATCH]


def test_the_limit_is_exact_and_counts_from_the_messages_timestamp() -> None:
    with TopologyTestDriver(slow({}), partitions=1) as driver:
        zone = driver.settings.timezone
        driver.send([record("A", later(DAY, zone))], timestamp=START)
        driver.send([record("A", later(DAY + 1, zone))], timestamp=START)
        driver.advance(2.0)
        driver.send([record("A", later(DAY + 1, zone))])
        keys = [output.key for output in driver.outputs]
        assert keys == [f"{TOPIC}_{int(START) + DAY}", "A", f"{TOPIC}_{int(START) + DAY + 1}"]


def test_a_message_without_a_timestamp_is_measured_by_the_clock() -> None:
    with TopologyTestDriver(slow({})) as driver:
        zone = driver.settings.timezone
        driver.send([record("A", later(DAY, zone)), record("B", later(2 * DAY, zone))], timestamp=0)
        assert [output.key for output in driver.outputs] == [f"{TOPIC}_{int(START) + DAY}"]


@pytest.mark.parametrize(("max_ahead", "key"), [(0, f"{TOPIC}_4070880000"), (60, "A"), (3e7, "A")])
def test_the_limit_is_a_setting_and_zero_is_none(max_ahead: float, key: str, caplog: pytest.LogCaptureFixture) -> None:
    with TopologyTestDriver(slow({}), max_ahead=max_ahead) as driver:
        driver.send([record("A", FAR)])
        assert [output.key for output in driver.outputs] == [key]
        assert ("AGG_MAX_AHEAD" in caplog.text) == (max_ahead > 0)


def test_the_next_key_of_a_time_counts_where_the_first_is_ahead(caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen()
    with TopologyTestDriver(seen.model) as driver:
        driver.send([record("A", FAR, timestamp=TIME), record("A", "2025-11-14 09:00:00")])
        assert driver.outputs[0].key == BATCH
        assert seen.times() == {"A": ["2025-11-14 09:00:00", TIME]}
        assert f'station A: sendTime "{FAR}"' in caplog.text


def test_many_stations_that_are_ahead_make_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with TopologyTestDriver(slow({})) as driver:
        driver.send([record(f"S{number}", FAR) for number in range(25)])
        (line,) = [one.getMessage() for one in caplog.records if "AGG_MAX_AHEAD" in one.getMessage()]
        assert 'station S9: sendTime "2099' in line
        assert line.endswith(", … +15")


def test_on_a_passthrough_topic_a_time_that_is_ahead_is_none(caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen()
    with TopologyTestDriver(seen.model, passthrough_topics=(DIRECT,)) as driver:
        driver.send([record("A", FAR), record("B")], DIRECT)
        assert seen.times(DIRECT) == {"A": [None], "B": [TIME]}
        assert f'station A: sendTime "{FAR}"' in caplog.text


def test_a_context_record_that_is_ahead_shuts_the_door_for_no_other(caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen()
    with TopologyTestDriver(seen.model, context_topics=(WEATHER,)) as driver:
        driver.send(record("A", FAR, temp=1), WEATHER, key="A")
        driver.send([record("A")])
        assert seen.inputs[-1][1][WEATHER] == {"sendTime": [None], "temp": [1]}
        driver.send(record("A", temp=2), WEATHER, key="A")
        driver.send([record("A")])
        assert seen.inputs[-1][1][WEATHER] == {"sendTime": [TIME], "temp": [2]}
        assert f'station A: sendTime "{FAR}"' in caplog.text
        driver.send([record("A", FAR, temp=3), record("A", "2025-11-14 10:00:01", temp=4)], WEATHER, key="A")
        driver.send([record("A")])
        assert seen.inputs[-1][1][WEATHER] == {"sendTime": ["2025-11-14 10:00:01"], "temp": [4]}
        assert [json.loads(letter.raw or b"") for letter in driver.dead_letters] == [record("A", FAR, temp=3)]


def test_a_modules_output_that_is_ahead_gives_its_results_no_time() -> None:
    seen = Seen()
    with TopologyTestDriver(seen.model, context_topics=(WEATHER,)) as driver:
        driver.send({"timestamp": 4e9, "stations": [{"station_id": "A", "temp": 1}]}, WEATHER)
        driver.send([record("A")])
        assert seen.inputs[-1][1][WEATHER] == {"sendTime": [None], "temp": [1]}
