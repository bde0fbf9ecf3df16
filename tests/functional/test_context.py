"""Context topics: the newest record of each station is handed to its callback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from app.inputs.guns import AlignmentError
from app.messages.partitioner import partition_of
from app.settings import Settings
from app.testing import TopologyTestDriver
from tests.functional.plant import START, TIME, TOPIC, ModuleInput, message, record, steps

WEATHER = "WEATHER"
CALENDAR = "CALENDAR"
OUTPUT = "MODULE-OUTPUT-LOAD_PREDICTION"
EARLIER = "2025-11-14 09:00:00"


class Seen:
    """A model that remembers the context with which it was last called for each station."""

    def __init__(self) -> None:
        self.context: dict[str, dict[str, Any]] = {}

    async def __call__(self, station_id: str, module_input: ModuleInput) -> Any:
        source = module_input.pop(TOPIC, module_input.pop("DIRECT", None))
        assert source is not None
        assert source["sendTime"] is not None
        self.context[station_id] = module_input
        return {"n": len(self.context)}

    def of(self, driver: TopologyTestDriver, *stations: str) -> list[dict[str, Any]]:
        """What stations get that are called now."""
        driver.advance(1.0)
        driver.send([record(station, driver.now) for station in stations])
        return [self.context[station] for station in stations]


def driving(model: Callable[..., Any], *topics: str, **settings: Any) -> TopologyTestDriver:
    """A driver that reads these context topics."""
    return TopologyTestDriver(model, context_topics=topics or (WEATHER,), partitions=3, **settings)


def weather(station_id: str, time: object = TIME, **fields: Any) -> dict[str, Any]:
    """A context record of one station."""
    return {"stationId": station_id, "sendTime": time, **fields}


def test_the_newest_record_of_a_station_is_an_entry_of_its_module_input() -> None:
    seen = Seen()
    with driving(seen) as driver:
        driver.send([weather("A", temp=20), weather("B", temp=30)], WEATHER)
        driver.send([weather("A", EARLIER, temp=10)], WEATHER)
        driver.send(message("A", "B", "C"))
        assert seen.context == {
            "A": {WEATHER: {"sendTime": [TIME], "temp": [20]}},
            "B": {WEATHER: {"sendTime": [TIME], "temp": [30]}},
            "C": {WEATHER: {}},
        }
        driver.send(weather("A", "2025-11-14 10:00:01", temp=21), WEATHER)
        assert seen.of(driver, "A") == [{WEATHER: {"sendTime": ["2025-11-14 10:00:01"], "temp": [21]}}]
        assert driver.dead_letters == driver.late == []
        assert driver.metrics.context_messages == 3


def test_context_opens_no_batch_and_makes_no_output() -> None:
    with driving(Seen()) as driver:
        driver.send(message("A"), WEATHER, headers={"batch-id": "X"})
        driver.advance(60.0)
        assert driver.outputs == driver.dead_letters == []
        assert driver.open_batches == driver.closed_batches == []


def test_hosts_of_one_time_are_merged_as_those_of_a_source_message_are() -> None:
    def of_host(host: str, gun: str, power: float) -> dict[str, Any]:
        return weather("A", hostCode=host, gunPower={"gunNo": [gun], "outputPowerPerGunAvg": [power]}, n=power)

    seen = Seen()
    with driving(seen) as driver:
        driver.send([of_host("h1", "01", 1.0)], WEATHER)
        driver.send([of_host("h2", "01", 2.0)], WEATHER)
        columns = {
            "sendTime": [TIME],
            "gunNo": ["01", "01"],
            "hostCode": ["h1", "h2"],
            "outputPowerPerGunAvg": [[1.0, 2.0]],
            "n": [2.0],
        }
        assert seen.of(driver, "A") == [{WEATHER: columns}]
        driver.send([of_host("h1", "01", 3.0)], WEATHER)
        (changed,) = seen.of(driver, "A")
        assert changed[WEATHER]["outputPowerPerGunAvg"] == [[2.0, 3.0]]


def test_gaps_are_filled_and_no_window_is_put_before_the_newest_point() -> None:
    seen = Seen()
    with driving(seen, window_step=3600, window_size=168, fill="zero") as driver:
        driver.send([weather("A", EARLIER, temp=1), weather("A", temp=None, text="warm")], WEATHER)
        assert seen.of(driver, "A") == [{WEATHER: {"sendTime": [TIME], "temp": [0.0], "text": ["warm"]}}]


def test_what_names_no_station_is_everyones_who_has_nothing_of_its_own() -> None:
    seen = Seen()
    stations = [f"S{number}" for number in range(9)]
    assert {partition_of(station.encode(), 3) for station in stations} == {0, 1, 2}
    with driving(seen, CALENDAR) as driver:
        driver.send({"holiday": True}, CALENDAR, key="today")
        driver.send({"stationId": "S0", "holiday": False}, CALENDAR)
        own, *others = seen.of(driver, *stations)
        assert own == {CALENDAR: {"sendTime": [None], "holiday": [False]}}
        assert others == [{CALENDAR: {"sendTime": [None], "holiday": [True]}}] * 8

        driver.send(None, CALENDAR, key="S0")
        assert seen.of(driver, "S0", "S1") == others[:2]
        driver.send(None, CALENDAR, key="another")
        assert seen.of(driver, "S0", "S1") == others[:2]
        driver.send(None, CALENDAR, key="today")
        assert seen.of(driver, *stations) == [{CALENDAR: {}}] * 9
        assert driver.dead_letters == []


def test_a_tombstone_deletes_the_entry_of_its_station_only() -> None:
    seen = Seen()
    with driving(seen) as driver:
        driver.send([weather("A", temp=1), weather("B", temp=2)], WEATHER)
        driver.send(None, WEATHER, key="A")
        assert seen.of(driver, "A", "B") == [{WEATHER: {}}, {WEATHER: {"sendTime": [TIME], "temp": [2]}}]
        driver.send([weather("A", EARLIER, temp=3)], WEATHER)
        assert seen.of(driver, "A") == [{WEATHER: {"sendTime": [EARLIER], "temp": [3]}}]


def test_the_output_of_another_module_is_split_by_station() -> None:
    seen = Seen()
    topic = "MODULE-OUTPUT-WEATHER"
    with driving(seen, topic) as driver:
        output = {"batch_id": "x", "module": "weather", "timestamp": START, "station_count": 2}
        driver.send({**output, "stations": [{"station_id": "A", "temp": 1}], "meta": {"part": 1}}, topic, key="x")
        driver.send({**output, "stations": [{"station_id": "B", "temp": 2}], "meta": {"part": 2}}, topic, key="x")
        driver.send({**output, "timestamp": START - 1, "stations": [{"station_id": "B", "temp": 0}]}, topic, key="w")
        driver.send({**output, "timestamp": START + 1, "stations": []}, topic, key="y")
        assert seen.of(driver, "A", "B") == [
            {topic: {"sendTime": [TIME], "temp": [1]}},
            {topic: {"sendTime": [TIME], "temp": [2]}},
        ]
        assert driver.dead_letters == []


def test_a_modules_own_output_can_be_its_context() -> None:
    async def counting(station_id: str, module_input: ModuleInput) -> dict[str, int]:
        return {"n": module_input[OUTPUT].get("n", [0])[0] + 1}

    with driving(counting, OUTPUT) as driver:
        for _ in range(3):
            driver.send([record("A", driver.now)])
            driver.advance(1.0)
        assert [output.value["stations"][0]["n"] for output in driver.outputs] == [1, 2, 3]


def test_pass_through_stations_and_their_handler_get_context() -> None:
    given: list[ModuleInput] = []

    def handler(station_id: str, module_input: ModuleInput, result: Any) -> None:
        given.append(module_input)

    async def model(station_id: str, module_input: ModuleInput) -> int:
        return len(module_input)

    with driving(model, passthrough_topics=("DIRECT",), station_result_handler=handler) as driver:
        driver.send(weather("A", temp=1), WEATHER)
        driver.send(record("A"), "DIRECT")
        assert given == [{"DIRECT": {"sendTime": [TIME]}, WEATHER: {"sendTime": [TIME], "temp": [1]}}]


def test_a_batch_callback_gets_the_context_of_each_of_its_stations() -> None:
    given: dict[str, ModuleInput] = {}

    def models(inputs: dict[str, ModuleInput]) -> dict[str, int]:
        given.update(inputs)
        return dict.fromkeys(inputs, 1)

    with TopologyTestDriver(batch_callback=models, context_topics=(WEATHER,)) as driver:
        driver.send([weather("A", temp=1), weather("B", temp="?", outputPowerX="?")], WEATHER)
        driver.send(message("A", "B", "C"))
        assert {station: one[WEATHER] for station, one in given.items()} == {
            "A": {"sendTime": [TIME], "temp": [1]},
            "C": {},
        }
        assert [failed["station_id"] for failed in driver.outputs[0].value["meta"]["failed"]] == ["B"]


def weather_of(station_id: str, module_input: ModuleInput) -> dict[str, Any]:
    """A model that answers with its context, and can be found by a process."""
    return {"weather": module_input[WEATHER]}


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_callbacks_in_threads_and_processes_get_context(executor: str) -> None:
    with driving(weather_of, executor=executor, executor_workers=1) as driver:
        driver.send(weather("A", temp=1), WEATHER)
        driver.send(message("A"))
        assert driver.outputs[0].value["stations"] == [
            {"station_id": "A", "weather": {"sendTime": [TIME], "temp": [1]}}
        ]


def test_a_callback_gets_the_context_that_there_is_when_it_starts() -> None:
    async def model(station_id: str, module_input: ModuleInput) -> dict[str, Any]:
        await asyncio.sleep(0.5)
        return {"temp": module_input[WEATHER].get("temp")}

    with driving(model) as driver:
        driver.send(weather("A", temp=1), WEATHER)
        driver.send(message("A"))
        driver.send(message("A", time="2025-11-14 10:00:01"))
        driver.send(weather("A", "2025-11-14 11:00:00", temp=2), WEATHER)
        driver.advance(2.0)
        assert [output.value["stations"][0]["temp"] for output in driver.outputs] == [[1], [2]]


def test_context_never_waits_for_batches() -> None:
    async def model(station_id: str, module_input: ModuleInput) -> dict[str, Any]:
        await asyncio.sleep(1.0)
        return {"temp": module_input[WEATHER].get("temp")}

    with driving(model, max_open_batches=1, concurrency=1) as driver:
        for number in range(3):
            driver.send(message("A", time=START + number))
        driver.send(weather("A", temp=1), WEATHER)
        assert len(driver.open_batches) == 1
        driver.advance(4.0)
        assert [output.value["stations"][0]["temp"] for output in driver.outputs] == [None, [1], [1]]


def test_context_that_cannot_be_aligned_fails_the_station_and_names_its_topic() -> None:
    with driving(Seen()) as driver:
        driver.send(weather("A", outputPowerPerStationAvg="much"), WEATHER)
        driver.send(message("A", "B"))
        (output,) = driver.outputs
        assert output.value["meta"]["failed"] == [
            {
                "station_id": "A",
                "error": "AlignmentError: context topic WEATHER: outputPowerPerStationAvg at 2025-11-14 10:00:00 is "
                "'much', not a number",
            }
        ]
        assert output.value["meta"]["expected_count"] == output.value["meta"]["arrived_count"] == 2
        (letter,) = driver.dead_letters
        assert letter.value == {TOPIC: [record("A")]}
        with pytest.raises(AlignmentError, match="context topic WEATHER"):
            driver.window("A", WEATHER)


def test_of_one_topic_that_cannot_be_aligned_the_others_are_shown() -> None:
    with driving(Seen(), WEATHER, CALENDAR) as driver:
        driver.send(weather("A", outputPowerPerStationAvg="much"), WEATHER)
        driver.send(weather("A", holiday=1), CALENDAR)
        assert driver.window("A", CALENDAR)["holiday"] == [1]
        bad = driver._alive().pipeline.stations.context_of("A")[WEATHER]
        assert isinstance(bad, AlignmentError)


def test_bad_context_goes_to_the_dead_letter_topic_and_the_rest_goes_on() -> None:
    seen = Seen()
    with driving(seen) as driver:
        driver.send(b"{", WEATHER, key="k")
        driver.send(None, WEATHER)
        driver.send([weather(""), weather("A", temp=1)], WEATHER, key="k")
        driver.send([], WEATHER)
        assert steps(driver.dead_letters) == [("bad-message", None), ("bad-message", None), ("bad-record", None)]
        assert [letter.raw for letter in driver.dead_letters] == [
            b"{",
            None,
            b'{"stationId":"","sendTime":"%b"}' % TIME.encode(),
        ]
        assert {letter.headers["source-topic"] for letter in driver.dead_letters} == {WEATHER}
        assert "no key that says what it deletes" in driver.dead_letters[1].headers["error"]
        assert driver.metrics.empty_messages == 1
        assert seen.of(driver, "A") == [{WEATHER: {"sendTime": [TIME], "temp": [1]}}]


def test_context_that_is_too_large_is_a_dead_letter_and_what_was_there_stays() -> None:
    seen = Seen()
    with driving(seen) as driver:
        most = Settings().context_max_bytes
        half = "x" * (most // 2)
        driver.send(weather("A", text=2 * half), WEATHER)
        driver.send(weather("A", hostCode="h1", text=half), WEATHER)
        driver.send(weather("A", hostCode="h2", text=half), WEATHER)
        assert steps(driver.dead_letters) == [("too-large", "A"), ("too-large", "A")]
        error = driver.dead_letters[0].headers["error"]
        assert "the context of station A on WEATHER would have" in error
        assert f"more than the {most} that are kept; raise AGG_CONTEXT_MAX_BYTES" in error
        (context,) = seen.of(driver, "A")
        assert context[WEATHER]["hostCode"] == ["h1"]


@pytest.mark.parametrize("lose_commits", [False, True])
def test_context_survives_the_worker(lose_commits: bool) -> None:
    seen = Seen()
    with driving(seen, WEATHER, CALENDAR) as driver:
        driver.send([weather("A", temp=1), weather("B", temp=2)], WEATHER)
        driver.send({"holiday": True}, CALENDAR)
        driver.send(None, WEATHER, key="B")
        before = seen.of(driver, "A", "B")
        driver.restart(lose_commits=lose_commits)
        assert seen.of(driver, "A", "B") == before
        assert before[0] == {
            WEATHER: {"sendTime": [TIME], "temp": [1]},
            CALENDAR: {"sendTime": [None], "holiday": [True]},
        }


def test_one_record_of_a_station_and_topic_is_kept_however_many_come() -> None:
    with driving(Seen()) as driver:
        for number in range(50):
            driver.send([weather("A", START + number // 2, n=number), weather("B", None, n=number)], WEATHER)
        changelog = driver.messages(f"{driver.settings.app_id}-context-changelog")
        kept = {change.raw_key: change.raw for change in changelog}
        assert kept.keys() == {b"WEATHER#A", b"WEATHER#B"}
        assert all(len(value or b"") < 200 for value in kept.values())


def test_without_context_topics_there_is_nothing_of_it() -> None:
    async def model(station_id: str, module_input: ModuleInput) -> list[str]:
        return list(module_input)

    with TopologyTestDriver(model) as driver:
        driver.send(message("A"))
        assert driver.outputs[0].value["stations"] == [{"station_id": "A", "result": [TOPIC]}]
        assert driver.messages(f"{driver.settings.app_id}-context-changelog") == []
