"""Windows of context: a callback gets the last points of a topic, or those of a duration before its batch's time."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.kafka.topics import changelog_topic
from app.messages.message import OutMessage
from app.testing import TopologyTestDriver
from tables.storage.records import Table, UnreadableRecordError
from tests.functional.documents import code_of, load
from tests.functional.plant import START, TIME, TOPIC, ModuleInput, message, record, steps
from tests.functional.test_context import CALENDAR, OUTPUT, WEATHER, Seen, driving, weather
from tests.functional.test_crashes import HOW, Crashes

METER = "METER"


def at(seconds: float) -> str:
    """The text of a time so many seconds after START."""
    return datetime.fromtimestamp(START + seconds, ZoneInfo("Asia/Shanghai")).strftime("%Y-%m-%d %H:%M:%S")


def meter(station: str, seconds: float, kwh: Any, **fields: Any) -> dict[str, Any]:
    """A meter's record so many seconds after START."""
    return {"stationId": station, "sendTime": at(seconds), "kwh": kwh, **fields}


def columns(*points: tuple[float, Any]) -> dict[str, Any]:
    return {"sendTime": [at(seconds) for seconds, _ in points], "kwh": [kwh for _, kwh in points]}


def test_the_last_points_of_a_station_are_an_entry_of_its_module_input() -> None:
    seen = Seen()
    with driving(seen, "METER:3", WEATHER) as driver:
        driver.context(METER, [meter("A", 0, 1.5), meter("A", 300, 2.5), meter("B", 0, 9)])
        driver.context(METER, meter("A", 900, 4.5))
        driver.context(METER, meter("A", 600, 3.5))
        driver.context(WEATHER, weather("A", temp=20))
        driver.send(message("A", "B", "C"))
        assert seen.context == {
            "A": {METER: columns((300, 2.5), (600, 3.5), (900, 4.5)), WEATHER: {"sendTime": [TIME], "temp": [20]}},
            "B": {METER: columns((0, 9)), WEATHER: {}},
            "C": {METER: {}, WEATHER: {}},
        }
        driver.context(METER, meter("A", 10, 0))
        assert driver.metrics.context_too_old == {METER: 1}
        assert driver.dead_letters == driver.late == []


def test_a_duration_ends_with_the_batchs_own_time() -> None:
    seen = Seen()
    with driving(seen, "METER:10m", max_ahead=0) as driver:
        driver.context(METER, [meter("A", seconds, seconds) for seconds in range(-1500, 1500, 300)])
        for seconds, expected in (
            (0, [-300, 0]),
            (-299, [-600, -300]),
            (301, [0, 300]),
            (5000, []),
            (-450, [-900, -600]),
        ):
            driver.send([record("A", START + seconds)])
            assert seen.context["A"][METER].get("kwh", []) == expected, seconds


def test_without_a_time_in_its_id_a_batch_has_its_stations_latest() -> None:
    seen = Seen()
    with driving(seen, "METER:10m", max_ahead=0) as driver:
        driver.context(METER, [meter("A", seconds, seconds) for seconds in range(-1500, 1500, 300)])
        driver.send([record("A", START - 100), record("A", START - 300)], headers={"batch-id": "own"})
        assert seen.context["A"][METER]["kwh"] == [-600, -300]


@pytest.mark.parametrize("number", ["0", "17", "20251114100000", "1763085600000", "9" * 30])
def test_a_number_in_an_id_of_a_header_that_is_no_time_empties_no_window(number: str) -> None:
    seen = Seen()
    with driving(seen, "METER:10m") as driver:
        driver.context(METER, [meter("A", seconds, seconds) for seconds in range(-1500, 1500, 300)])
        driver.send([record("A", START - 100), record("B")], headers={"batch-id": f"{TOPIC}_{number}"})
        assert seen.context["A"][METER]["kwh"] == [-600, -300]
        driver.send([{"stationId": "A"}], headers={"batch-id": f"{TOPIC}_{number}"})
        assert seen.context["A"][METER]["kwh"] == [-300, 0]


def test_the_gaps_of_a_window_are_filled_and_points_inserted_by_its_step() -> None:
    def of(fill: str, *topics: str, **settings: Any) -> dict[str, Any]:
        with driving(Seen(), *topics, fill=fill, **settings) as driver:
            driver.context(METER, [meter("A", 0, 1.0), meter("A", 90, None), meter("A", 120, 5.0, text="x")])
            driver.advance(150.0)
            return driver.window("A", METER)

    assert of("zero", "METER:9")["kwh"] == [1.0, 0.0, 5.0]
    linear = of("linear", "METER:9", context_step=30)
    assert linear["sendTime"] == [at(seconds) for seconds in range(-120, 150, 30)]
    assert linear["kwh"] == [1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert linear["text"] == [None] * 8 + ["x"]
    assert of("missing", "METER:2", context_step="METER:30")["kwh"] == [None, 5.0]
    assert of("missing", "METER:1h", context_step="METER:30")["kwh"] == [1.0, None, None, None, 5.0]
    assert of("missing", "METER:9", "X:1", context_step="X:30")["kwh"] == [1.0, None, 5.0]


def test_guns_and_hosts_are_aligned_as_those_of_a_source_message() -> None:
    def gun(host: str, seconds: int, gun_no: str, power: float) -> dict[str, Any]:
        return record(
            "A", START + seconds, hostCode=host, gunPower={"gunNo": [gun_no], "outputPowerPerGunAvg": [power]}
        )

    def model(station_id: str, module_input: ModuleInput) -> dict[str, bool]:
        source, window = module_input[TOPIC], module_input[METER]
        assert window == source
        return {"same": window == source}

    for records in (
        [gun("h1", 60 * point, "01", point) for point in range(30)],
        [gun(host, 60 * point, "01", point) for point in range(30) for host in ("h1", "h2")],
        [gun("h1", 60 * point, f"{point % 2}", point) for point in range(30)],
        [{**gun("h1", 60 * point, "01", point), **({"x": [point]} if point % 3 else {})} for point in range(30)],
        [record("A", START + 60 * point, outputPowerX=point, y=2**70 + point, z={"a": [1]}) for point in range(30)],
    ):
        with driving(model, "METER:100") as driver:
            for one in records:
                driver.context(METER, one)
            driver.send(records)
            assert driver.dead_letters == []
            assert driver.outputs[0].value["stations"] == [{"station_id": "A", "same": True}]


def test_what_a_callback_edits_changes_no_other_call() -> None:
    given: list[Any] = []

    def model(station_id: str, module_input: ModuleInput) -> None:
        given.append(repr(module_input[METER]))
        for column in module_input[METER].values():
            if isinstance(column[0], list):
                column[0].append("edited")
            column[0] = "edited"

    with driving(model, "METER:3", retries=1) as driver:
        driver.context(METER, [meter("A", 300 * point, point, nested=["x"]) for point in range(3)])
        driver.send(message("A"))
        driver.send(message("A", time=START + 10))
        assert len(given) == 2
        assert given[0] == given[1]


def test_a_pass_through_handler_gets_a_window_of_its_own_again() -> None:
    given: list[Any] = []

    def handler(station_id: str, module_input: ModuleInput, result: Any) -> None:
        given.append(module_input[METER])

    def model(station_id: str, module_input: ModuleInput) -> int:
        module_input[METER]["nested"][0].append("edited")
        return 1

    with driving(model, "METER:3", passthrough_topics=("DIRECT",), station_result_handler=handler) as driver:
        driver.context(METER, [meter("A", 0, 1, nested=["x"]), meter("A", 10, 2, nested=["y"])])
        driver.send(record("A"), "DIRECT")
        assert given == [{**columns((0, 1), (10, 2)), "nested": [["x"], ["y"]]}]


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_windows_reach_threads_and_processes(executor: str) -> None:
    with driving(meter_of, "METER:3", executor=executor, executor_workers=1) as driver:
        driver.context(METER, [meter("A", 0, 1), meter("A", 10, 2)])
        driver.send(message("A"))
        assert driver.outputs[0].value["stations"] == [{"station_id": "A", "kwh": [1, 2]}]


def meter_of(station_id: str, module_input: ModuleInput) -> dict[str, Any]:
    """A model that answers with its window, and can be found by a process."""
    return {"kwh": module_input[METER]["kwh"]}


def test_the_outputs_of_another_module_make_a_window() -> None:
    seen = Seen()
    with driving(seen, f"{OUTPUT}X:3") as driver:
        for number in range(5):
            output = {"timestamp": START + 60 * number, "stations": [{"station_id": "A", "kwh": number}]}
            driver.context(f"{OUTPUT}X", output, "x")
        assert seen.of(driver, "A")[0][f"{OUTPUT}X"] == columns((120, 2), (180, 3), (240, 4))


def test_a_modules_own_outputs_can_be_its_window() -> None:
    async def counting(station_id: str, module_input: ModuleInput) -> dict[str, int]:
        return {"n": sum(module_input[OUTPUT].get("n", [1]))}

    with driving(counting, f"{OUTPUT}:2") as driver:
        for _ in range(6):
            driver.send([record("A", driver.now)])
            driver.advance(1.0)
        assert [output.value["stations"][0]["n"] for output in driver.outputs] == [1, 1, 2, 3, 5, 8]


def test_what_names_no_station_is_everyones_window_who_has_none_of_its_own() -> None:
    stations = [f"S{number}" for number in range(9)]
    with driving(Seen(), "CALENDAR:2") as driver:
        driver.context(CALENDAR, [{"sendTime": at(10 * day), "kwh": day} for day in range(3)], "days")
        driver.context(CALENDAR, meter("S0", 5, 7))
        assert driver.window("S0", CALENDAR) == columns((5, 7))
        assert [driver.window(one, CALENDAR) for one in stations[1:]] == [columns((10, 1), (20, 2))] * 8
        driver.context(CALENDAR, None, "S0")
        assert driver.window("S0", CALENDAR) == columns((10, 1), (20, 2))
        driver.context(CALENDAR, None, "days")
        assert [driver.window(one, CALENDAR) for one in stations] == [{}] * 9


def test_a_record_without_a_time_stands_at_its_messages() -> None:
    with driving(Seen(), "METER:3") as driver:
        driver.context(METER, {"stationId": "A", "kwh": 1})
        driver.advance(60.0)
        driver.context(METER, {"stationId": "A", "kwh": 2})
        assert driver.window("A", METER) == columns((0, 1), (60, 2))
        driver.send({"stationId": "A", "kwh": 3}, METER, timestamp=0)
        assert steps(driver.dead_letters) == [("bad-record", "A")]
        assert "no usable time" in driver.dead_letters[0].headers["error"]


def test_what_would_make_a_window_too_large_is_a_dead_letter_that_names_station_and_topic() -> None:
    with driving(Seen(), "METER:100", context_max_bytes=2000) as driver:
        driver.context(METER, [meter("A", second, f"{second:0100}") for second in range(10)])
        driver.context(METER, [meter("A", second, f"{second:0100}") for second in range(10, 30)])
        assert steps(driver.dead_letters) == [("too-large", "A")]
        error = driver.dead_letters[0].headers["error"]
        assert error.startswith("ValueError: the context of station A on METER would have ")
        assert "more than the 2000 that are kept; raise AGG_CONTEXT_MAX_BYTES" in error
        assert len(driver.window("A", METER)["kwh"]) == 10


def test_a_window_that_cannot_be_aligned_fails_the_station_and_names_its_topic() -> None:
    with driving(Seen(), "METER:3") as driver:
        driver.context(METER, [meter("A", 0, 1, outputPowerX=1), meter("A", 1, 1, outputPowerX="much")])
        driver.send(message("A", "B"))
        (failed,) = driver.outputs[0].value["meta"]["failed"]
        assert failed["error"].startswith("AlignmentError: context topic METER: outputPowerX at")
        assert driver.open_batches == []


# -- it lasts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lose_commits", [False, True])
def test_windows_survive_the_worker_and_a_rewind(lose_commits: bool) -> None:
    with driving(Seen(), "METER:50", "CALENDAR:1h") as driver:
        for point in range(80):
            driver.context(METER, [meter(f"S{one}", 300 * point, point + one) for one in range(5)])
        driver.context(METER, meter("S1", 300 * 79, 1000))
        driver.context(METER, meter("S2", 300 * 60 + 1, 1001))
        driver.context(METER, None, "S3")
        driver.context(CALENDAR, {"kwh": 1})
        before = [driver.window(f"S{one}", topic) for one in range(5) for topic in (METER, CALENDAR)]
        driver.restart(lose_commits=lose_commits)
        assert [driver.window(f"S{one}", topic) for one in range(5) for topic in (METER, CALENDAR)] == before
        assert len(before[0]["kwh"]) == 50
        assert before[2]["kwh"][-1] == 1000
        assert before[4]["kwh"][-20:-18] == [1001, 63]
        assert before[6] == {}
        assert driver.metrics.context_too_old == {}
        assert driver.dead_letters == []


def test_a_topic_that_gets_a_window_begins_with_the_record_that_was_kept() -> None:
    with driving(Seen(), METER) as driver:
        driver.context(METER, [meter("A", 0, 1, hostCode="h1"), meter("A", 0, 2, hostCode="h2"), meter("B", 0, 3)])
        driver.context(METER, {"sendTime": at(0), "kwh": 4}, "all")
        driver.kill()
        driver.settings = driver.settings.model_copy(update={"context_topics": ("METER:3",)})
        driver.restart()
        assert driver.window("A", METER)["hostCode"] == ["h2"]
        assert driver.window("C", METER) == columns((0, 4))
        driver.context(METER, meter("A", 300, 5, hostCode="h2"))
        driver.context(METER, {"sendTime": at(10), "kwh": 6}, "all")
        assert driver.window("A", METER)["kwh"] == [2, 5]
        assert driver.window("C", METER) == columns((0, 4), (10, 6))
        driver.context(METER, None, "B")
        assert driver.window("B", METER) == columns((0, 4), (10, 6))
        before = [driver.window(one, METER) for one in "ABC"]
        driver.restart(lose_commits=True)
        assert [driver.window(one, METER) for one in "ABC"] == before
        changelog = driver.messages(changelog_topic(driver.settings.app_id, Table.CONTEXT))
        assert not [one for one in {one.raw_key: one for one in changelog}.values() if one.key == "METER#A" and one.raw]


def test_a_topic_that_has_a_window_no_more_goes_on_with_its_newest_point() -> None:
    with driving(Seen(), "METER:3") as driver:
        driver.context(METER, [meter("A", 0, 1), meter("A", 300, 2)])
        driver.kill()
        driver.settings = driver.settings.model_copy(update={"context_topics": (METER,)})
        driver.restart()
        assert driver.window("A", METER) == columns((300, 2))
        driver.context(METER, meter("A", 10, 3))
        assert driver.window("A", METER) == columns((300, 2))
        driver.context(METER, meter("A", 400, 4))
        driver.restart()
        assert driver.window("A", METER) == columns((400, 4))


def test_a_segment_of_a_newer_version_ends_the_worker_that_needs_it() -> None:
    with driving(Seen(), "METER:3") as driver:
        driver.kill()
        changelog = changelog_topic(driver.settings.app_id, Table.CONTEXT)
        for partition in range(driver.settings.partitions):
            driver._broker.append(OutMessage(changelog, b'{"v":2}', b":1.1", partition=partition))
        driver.restart()
        with pytest.raises(UnreadableRecordError, match="format version 2"):
            driver.send(message("A"))
        assert driver.crashed
        assert driver.outputs == driver.dead_letters == []


# -- and is not shaken by crashes --------------------------------------------------------------------------------------


CONTEXT: list[tuple[str | None, Any]] = [
    ("A", [meter("A", 0, 1), meter("A", 300, 2), meter("B", 0, 5)]),
    ("A", meter("A", 150, 3)),
    ("all", [{"sendTime": at(0), "kwh": 7}, {"sendTime": at(10), "kwh": 8}]),
    ("A", meter("A", 300, 4)),
    ("B", None),
    ("B", [meter("B", -10, 6), {"stationId": None}]),
    ("A", [meter("A", 600, 9), meter("A", 0, 1)]),
    ("C", meter("C", 0, 1)),
    ("C", None),
]
EXPECTED = {
    "A": columns((150, 3), (300, 4), (600, 9)),
    "B": columns((-10, 6)),
    "C": columns((0, 7), (10, 8)),
    "D": columns((0, 7), (10, 8)),
}


def play(crashes: Crashes, *, lose_commits: bool = False, unordered: bool = False) -> TopologyTestDriver:
    """Send context, with a worker that has died followed by another."""
    driver = driving(Seen(), "METER:3")

    def stand_up() -> None:
        while driver.crashed:
            driver.crash_before(crashes, unordered=unordered)
            driver.restart(lose_commits=lose_commits)

    driver.crash_before(crashes, unordered=unordered)
    for key, value in CONTEXT:
        driver.send(value, METER, key=key)
        stand_up()
    driver.crash_before(None)
    driver.restart(lose_commits=lose_commits)
    return driver


def sends() -> int:
    """How many messages the worker sends in the whole play."""
    crashes = Crashes()
    play(crashes).close()
    return crashes.sends


@HOW
@pytest.mark.parametrize("number", range(sends()))
def test_windows_are_what_they_would_have_been_without_the_crash(
    number: int, lose_commits: bool, unordered: bool
) -> None:
    crashes = Crashes(number, number + 3)
    with play(crashes, lose_commits=lose_commits, unordered=unordered) as driver:
        assert crashes.crashed > 0
        assert {station: driver.window(station, METER) for station in EXPECTED} == EXPECTED
        assert set(steps(driver.dead_letters)) == {("bad-record", None)}


# -- and what is told of it --------------------------------------------------------------------------------------------


def test_a_silent_context_topic_is_told_of_again_and_again_until_something_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def told() -> list[str]:
        lines = [one.getMessage() for one in caplog.records if "AGG_CONTEXT_STALE" in one.getMessage()]
        caplog.clear()
        return lines

    with driving(Seen(), "METER:3", WEATHER, context_stale=100) as driver:
        driver.advance(50.0)
        driver.context(WEATHER, weather("A", temp=1))
        driver.advance(49.0)
        assert told() == []
        driver.advance(3.0)
        (line,) = told()
        assert line.startswith("Context topic METER: nothing has come to this worker for 10")
        driver.advance(50.0)
        assert [line.split(":")[0] for line in told()] == ["Context topic WEATHER"]
        driver.context(METER, meter("A", 0, 1))
        driver.advance(99.0)
        assert [line.split(":")[0] for line in told()] == ["Context topic WEATHER"]
    with driving(Seen(), "METER:3") as driver:
        driver.advance(500.0)
        assert told() == []


def test_what_is_known_of_each_topic_is_counted() -> None:
    with driving(Seen(), "METER:3", WEATHER, CALENDAR) as driver:
        driver.context(METER, [meter(station, seconds, 1) for station in "AB" for seconds in (0, 60)])
        driver.context(WEATHER, [weather("A", temp=1), weather("B", None, temp=1)])
        stations = driver._alive().pipeline.stations
        sizes = stations.context_sizes(range(3))
        assert {topic: (size.records, size.newest) for topic, size in sizes.items()} == {
            METER: (4, START + 60),
            WEATHER: (2, START),
            CALENDAR: (0, None),
        }
        assert 10 < sizes[METER].bytes < 400
        assert 100 < sizes[WEATHER].bytes < 400


@pytest.mark.parametrize("document", ["docs/inputs.md", "docs/inputs.zh-CN.md"])
def test_the_price_module_of_the_document_waits_for_seven_days_of_meters(document: str, tmp_path: Path) -> None:
    price = load(tmp_path, document, "price_model.py")
    meters, load_outputs = price.METER, price.LOAD
    with driving(price.callback, f"{meters}:2016", f"{load_outputs}:12", module="price") as driver:
        for number in range(20):
            driver.context(load_outputs, {"timestamp": START + number, "stations": [{"station_id": "A", "kw": 9.0}]})
        driver.context(meters, [meter("A", -300 * point, 0.5) for point in range(2015)])
        driver.send(message("A"))
        driver.context(meters, meter("A", -300 * 2015, 0.5))
        driver.send(message("A", time=START + 1))
        assert [output.value["stations"] for output in driver.outputs] == [
            [],
            [{"station_id": "A", "price": 0.9, "load_predictions": 12}],
        ]


def test_both_languages_have_the_same_example() -> None:
    assert code_of("docs/inputs.md") == code_of("docs/inputs.zh-CN.md")
