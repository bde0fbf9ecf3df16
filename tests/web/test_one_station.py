"""One station: what became of it in the newest batches, its latest record, its context."""

from __future__ import annotations

from urllib.parse import quote

import orjson
import pytest

from app.messages.message import InMessage
from app.web.routers import one_station
from tests.web.asking import ask, get
from tests.web.fake_worker import FakeWorker
from tests.web.live_cluster import Live, on_cluster

RESULT = ("r", "{}")
FAILED = ("f", "ValueError: no")
EMPTY = ("e", None)
SKIPPED = ("s", "too late")
MARKUP = '<img src=x onerror="alert(1)">'


def plant() -> FakeWorker:
    """Five batches that expected A, each with another outcome, one that did not, and an open one."""
    worker = FakeWorker()
    for number, outcome in enumerate([RESULT, EMPTY, FAILED, SKIPPED, None]):
        worker.open(f"b{number}", ["A", "B"], at=100.0 + number)
        outcomes = {"A": outcome, "B": RESULT} if outcome else {"B": RESULT}
        worker.arrive(f"b{number}", outcomes, at=101.0 + number)
        if f"b{number}" in worker.sets[0].open:
            worker.expire(f"b{number}", at=110.0 + number)
        worker.publish(f"b{number}")
    worker.add_closed("other", at=200.0)
    worker.open("other-2", ["B"], at=201.0)
    return worker


def test_a_station_is_told_with_its_outcomes_newest_first() -> None:
    worker = plant()
    worker.forget("other")
    worker.statistics.times.add("b1", ("A",), (0.0, 0.5), 101.9)
    answer = get(worker, "/stations/A")
    assert [(one["batch_id"], one["status"], one["error"], one["duration"]) for one in answer["outcomes"]] == [
        ("b4", "missing", None, None),
        ("b3", "skipped", None, None),
        ("b2", "failed", "ValueError: no", None),
        ("b1", "empty", None, 0.5),
        ("b0", "result", None, None),
    ]
    assert [one["closed_at"] for one in answer["outcomes"]] == [114.0, 113.0, 103.0, 102.0, 101.0]
    (row,) = [row for row in get(worker, "/stations")["stations"] if row["station_id"] == "A"]
    assert {key: answer[key] for key in row} == row
    assert (answer["incomplete"], answer["last_record"], answer["context"]) == ([], None, None)
    worker.restart()
    assert get(worker, "/stations/A")["outcomes"] == answer["outcomes"]


def test_so_many_outcomes_are_told_as_were_asked_for() -> None:
    worker = plant()
    ids = [one["batch_id"] for one in get(worker, "/stations/A?batches=2")["outcomes"]]
    assert ids == ["other", "b4"]
    assert len(get(worker, "/stations/A?batches=1000")["outcomes"]) == 6


@pytest.mark.parametrize("query", ["batches=0", "batches=1001", "batches=x", "local=maybe"])
def test_a_bad_question_is_refused(query: str) -> None:
    answer = ask(plant(), f"/stations/A?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad-request")


@pytest.mark.parametrize("station", ["C", "AB", "a", "timeout", "%00", "场", "x" * 3000, "A/B", "/", '"', "..%2FA"])
def test_a_station_of_no_remembered_batch_is_not_known(station: str) -> None:
    answer = ask(plant(), f"/stations/{quote(station, safe='%')}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown-station")


@pytest.mark.parametrize("station", [MARKUP, "场站/一", "a b", "?x=1&y#z", "100%", '"\\'])
def test_a_station_may_have_any_name(station: str) -> None:
    worker = FakeWorker()
    worker.open("b1", [station])
    worker.arrive("b1", {station: FAILED})
    answer = get(worker, f"/stations/{quote(station, safe='')}")
    assert (answer["station_id"], answer["outcomes"][0]["status"]) == (station, "failed")


@pytest.mark.parametrize("station", [".", "..", "a\nb", "\n", "场/一", MARKUP])
def test_a_station_whose_name_no_path_can_hold_is_named_behind_the_question_mark(station: str) -> None:
    worker = FakeWorker()
    worker.open("b1", [station, "A"])
    worker.arrive("b1", {station: FAILED, "A": RESULT})
    answer = get(worker, f"/stations/?batches=1&station={quote(station, safe='')}")
    assert (answer["station_id"], answer["outcomes"][0]["status"]) == (station, "failed")
    assert get(worker, f"/stations/A?station={quote(station, safe='')}")["station_id"] == "A"
    assert ask(worker, "/stations/").status_code == 404
    assert ask(worker, "/stations/?station=").status_code == 404


def test_a_station_of_an_open_batch_only_has_no_outcomes_yet() -> None:
    worker = FakeWorker()
    worker.open("b1", ["A"])
    answer = get(worker, "/stations/A")
    assert (answer["outcomes"], answer["arrivals"]) == ([], 0)


def test_the_latest_record_comes_from_the_newest_message_and_the_context_from_its_keeper() -> None:
    worker = plant()
    worker.context["B"] = {"WEATHER": {"sendTime": ["2025-11-04 09:00:00"], "temp": [12345678901234567890123]}}
    records = [
        {"stationId": "B", "sendTime": "2025-11-04 09:00:00", "n": 1},
        {"stationId": "B", "sendTime": "2025-11-04 10:00:00", "n": 12345678901234567890123},
        {"stationId": "B", "sendTime": "2025-11-04 08:00:00", "n": 3},
        {"stationId": "B", "sendTime": "2030-11-04 08:00:00", "n": 5},  # a clock that is wrong: no usable time
        {"stationId": "A", "sendTime": "2025-11-04 11:00:00", "n": 4},
    ]
    text = orjson.dumps({"other-2": [{**one, "n": 0} for one in records]}).replace(b'"n":0', b'"n":%d')
    value = text % tuple(int(str(one["n"])) for one in records)
    worker.topics.messages.append(InMessage("other-2", 0, 0, 1762225200.0, None, value))
    answer = get(worker, "/stations/B")
    assert answer["last_record"] == records[1]
    assert answer["context"] == worker.context["B"]


@pytest.mark.parametrize("station", ["B", "18815409278456545", MARKUP])
@pytest.mark.parametrize("as_number", [False, True])
def test_a_large_message_is_searched_for_the_last_record(station: str, as_number: bool) -> None:
    if as_number and not station.isdigit():
        return
    worker = FakeWorker()
    worker.open("b1", [station])
    own = int(station) if as_number else station
    records = [
        {"gunPower": {"gunNo": ["01"], "x": "{"}, "stationId": own, "n": number, "note": f'says "{station}" and {{'}
        if number % 50 == 7
        else {"gunPower": {"gunNo": ["01"], "x": "{"}, "stationId": f"S{number}", "n": number}
        for number in range(30_000)
    ]
    worker.topics.messages.append(InMessage("b1", 0, 0, 99.0, None, orjson.dumps({"b1": records})))
    assert len(worker.topics.messages[0].value or b"") > 2_000_000
    record = get(worker, f"/stations/{quote(station, safe='')}")["last_record"]
    assert record == records[29_957]


@pytest.mark.parametrize(
    "value", [None, b"not JSON", b'{"other-2":[{"stationId":"Z"}]}', b"[" + b" " * 5_000_000 + b"]"]
)
def test_a_message_that_has_no_record_of_it_any_more_tells_none(value: bytes | None) -> None:
    worker = plant()
    worker.topics.messages.append(InMessage("other-2", 0, 0, 99.0, None, value))
    assert get(worker, "/stations/B")["last_record"] is None
    worker.topics.is_away = True
    assert get(worker, "/stations/B")["last_record"] is None


def test_what_has_not_been_searched_in_time_is_not_said_to_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_station, "SEARCH_SECONDS", -1.0)  # time for one batch
    worker = plant()
    answer = get(worker, "/stations/A")
    assert ([one["batch_id"] for one in answer["outcomes"]], answer["incomplete"]) == (["other"], [worker.url])
    unknown = ask(worker, "/stations/C")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (504, "not-searched")


def test_all_workers_tell_what_they_know() -> None:
    first, second = FakeWorker(0), FakeWorker(1)
    for number in range(6):
        worker = (first, second)[number % 2]
        worker.add_closed(f"b{number}", at=100.0 + number, partition=number % 2)
    first.statistics.times.add("b5", ("A",), (0.0, 0.25), 105.9)
    second.context["A"] = {"WEATHER": {}}

    async def test(live: list[Live]) -> None:
        for one in live:
            answer = await one.get("/stations/A?batches=4")
            outcomes = [(one["batch_id"], one["duration"]) for one in answer["outcomes"]]
            assert outcomes == [("b5", 0.25), ("b4", None), ("b3", None), ("b2", None)]
            assert (answer["arrivals"], answer["context"], answer["incomplete"]) == (6, {"WEATHER": {}}, [])
            assert (await one.ask("/stations/B")).status_code == 404
            assert (await one.ask("/stations/A", token=None)).status_code == 401
        assert (await live[0].get("/stations/A?local=true"))["arrivals"] == 3

    on_cluster([first, second], test)
