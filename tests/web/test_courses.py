"""What one batch came to: its output as it was published, and its timeline."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.messages.message import InMessage
from app.messages.partitioner import partition_of
from app.web.models import OutcomeStatus
from app.web.routers.courses import OwnCourse, stations_in
from tables.model.enums import Action, LatePolicy
from tables.model.events import Command, Revise
from tables.model.policies import Rules
from tables.working_set import WorkingSet
from tests.record_batches import GBK
from tests.web.asking import ask, get
from tests.web.fake_worker import FakeWorker
from tests.web.letters_put import mark_replayed, put
from tests.web.live_cluster import Live, on_cluster

RESULT = ("r", '{"station_id":"A"}')
FAILED = ("f", "ValueError: no")
EMPTY = ("e", None)
SKIPPED = ("s", "too late")
MARKUP = "<img src=x onerror=alert(1)>"
IN_PARTITION_1 = next(one for one in map(str, range(100)) if partition_of(one.encode(), 8) == 1)  # of its letters


def closed_worker() -> FakeWorker:
    """A batch that missed D, and whose output is out."""
    worker = FakeWorker()
    worker.open("b1", ["A", "B", "C", "D", MARKUP], at=100.0)
    worker.arrive("b1", {"A": RESULT, "B": FAILED}, at=101.0)
    worker.arrive("b1", {"C": EMPTY, MARKUP: SKIPPED}, at=102.0)
    worker.expire("b1", at=105.0)
    worker.publish("b1")
    return worker


def events(worker: FakeWorker, batch_id: str = "b1") -> list[tuple[Any, ...]]:
    told = get(worker, f"/batches/{batch_id}/timeline")["events"]
    return [(one["at"], one["event"], one["station_id"], one["status"], one["started_at"], one["by"]) for one in told]


# -- the output --------------------------------------------------------------------------------------------------------


def test_the_output_is_told_as_it_was_published() -> None:
    worker = closed_worker()
    worker.topics.publish("b1", b'{"n": 123456789012345678901234567890, "t": "\xe5\x9c\xba"}', at=105.0)
    worker.topics.publish("b2", b"{}", at=105.0)
    (output,) = get(worker, "/batches/b1/output")["outputs"]
    assert output == {
        "topic": "OUT",
        "partition": 0,
        "offset": 0,
        "timestamp": 105.0,
        "revision": 1,
        "part": 1,
        "parts": 1,
        "headers": {"revision": "1", "part": "1", "parts": "1"},
        "value": {"n": 123456789012345678901234567890, "t": "场"},
    }


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"not JSON", "not JSON"),
        (b"\xff", "\ufffd"),
        (b"NaN", "NaN"),
        (b"[1, 2]", [1, 2]),
        (f'"{MARKUP}"'.encode(), MARKUP),
        (None, None),
        (b"", ""),
        (b'{"x":"' + b"y" * 3_000_000 + b'"}', {"x": "y" * 3_000_000}),
        (b'{"x":"\xff' + b"y" * 3_000_000 + b'"}', '{"x":"\ufffd' + "y" * 3_000_000 + '"}'),
    ],
)
def test_any_payload_is_told(value: bytes | None, told: object) -> None:
    worker = closed_worker()
    worker.topics.publish("b1", value, at=105.0)
    answer = ask(worker, "/batches/b1/output")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["outputs"][0]["value"] == told


def test_a_header_whose_name_was_no_utf8_is_told() -> None:
    worker = closed_worker()
    headers = [("revision", b"1"), ("part", b"1"), (GBK.decode(errors="replace"), GBK)]
    worker.topics.messages.append(InMessage("OUT", 0, 0, 105.0, b"b1", b"{}", headers))
    (output,) = get(worker, "/batches/b1/output")["outputs"]
    assert output["headers"] == {"revision": "1", "part": "1", "\ufffd\ufffdվ": "\ufffd\ufffdվ"}


def test_all_parts_are_told() -> None:
    worker = closed_worker()
    for part in (1, 2, 3):
        worker.topics.publish("b1", b"{}", at=105.0, part=part, parts=3)
    outputs = get(worker, "/batches/b1/output")["outputs"]
    assert [(one["part"], one["parts"]) for one in outputs] == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("number", [b"9" * 5000, b"9" * 25, b"0", b"x"])
@pytest.mark.parametrize("header", ["revision", "part", "parts"])
def test_a_foreign_message_whose_numbers_are_none_is_told_as_the_first(header: str, number: bytes) -> None:
    worker = closed_worker()
    headers = {"revision": b"1", "part": b"1", "parts": b"1"} | {header: number}
    worker.topics.messages.append(InMessage("OUT", 0, 0, 105.0, b"b1", b"{}", list(headers.items())))
    (output,) = get(worker, "/batches/b1/output")["outputs"]
    assert (output["revision"], output["part"], output["parts"]) == (1, 1, 1)
    assert output["headers"][header] == number.decode()
    (published,) = [one for one in get(worker, "/batches/b1/timeline")["events"] if one["event"] == "published"]
    assert published["revision"] == 1


def test_an_output_that_the_topic_has_let_go_of_is_told() -> None:
    worker = closed_worker()
    worker.topics.begins_at = 110.0
    answer = ask(worker, "/batches/b1/output")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no-longer-kept")
    assert "OUT" in answer.json()["error"]["message"]


def discarded_worker(batch_id: str) -> FakeWorker:
    worker = FakeWorker()
    worker.open(batch_id, ["A", "B"])
    worker.apply(Command(batch_id, Action.DISCARD, 101.0, "zhang"))
    worker.publish(batch_id)
    return worker


def test_there_is_no_output_of_what_is_open_or_discarded() -> None:
    worker = discarded_worker("gone")
    worker.open("open", ["A"])
    for batch_id in ("open", "gone"):
        assert get(worker, f"/batches/{batch_id}/output") == {"outputs": []}
    assert worker.topics.read == []


def test_the_output_of_a_discarded_batch_is_what_its_replay_published() -> None:
    batch_id = IN_PARTITION_1
    worker = discarded_worker(batch_id)
    letter = put(worker, partition=1, at=101.0, batch_id=batch_id, reason="discarded")
    for _ in range(300):  # others' letters behind it, more than one page of them
        put(worker, partition=1, at=102.0, batch_id="other", reason="discarded")
    assert get(worker, f"/batches/{batch_id}/output") == {"outputs": []}
    worker.topics.publish(batch_id, b'{"n": 1}', at=5000.0)
    mark_replayed(worker, letter, 5001.0)
    (output,) = get(worker, f"/batches/{batch_id}/output")["outputs"]
    assert (output["value"], output["timestamp"]) == ({"n": 1}, 5000.0)
    assert (5000.0, "published") in [event[:2] for event in events(worker, batch_id)]
    worker.topics.begins_at = 6000.0
    answer = ask(worker, f"/batches/{batch_id}/output")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no-longer-kept")
    assert "OUT" in answer.json()["error"]["message"]


def test_the_default_payload_is_told_that_was_replayed_where_the_handler_failed() -> None:
    batch_id = IN_PARTITION_1
    worker = FakeWorker()
    worker.settings = worker.settings.model_copy(update={"result_handler": "m:f"})
    worker.open(batch_id, ["A"], at=100.0)
    worker.arrive(batch_id, {"A": RESULT}, at=101.0)
    worker.publish(batch_id)
    mark_replayed(worker, put(worker, partition=1, at=101.0, batch_id=batch_id, reason="handler-failed"), 5001.0)
    assert get(worker, f"/batches/{batch_id}/output") == {"outputs": []}
    worker.topics.publish(batch_id, b"{}", at=5000.0)
    assert [one["timestamp"] for one in get(worker, f"/batches/{batch_id}/output")["outputs"]] == [5000.0]


def test_a_handler_may_have_published_by_itself() -> None:
    worker = closed_worker()
    worker.settings = worker.settings.model_copy(update={"result_handler": "m:f"})
    assert get(worker, "/batches/b1/output") == {"outputs": []}


@pytest.mark.parametrize("what", ["output", "timeline"])
def test_an_unknown_batch_has_neither(what: str) -> None:
    for batch_id in ("unknown", "%00", "%E5%9C%BA", "x" * 500, "..", MARKUP):
        answer = ask(closed_worker(), f"/batches/{batch_id}/{what}")
        if batch_id != "..":
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown-batch"), batch_id


def test_kafka_that_does_not_answer_is_told() -> None:
    worker = closed_worker()
    worker.topics.is_away = True
    answer = ask(worker, "/batches/b1/output")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "broker-away")


# -- the timeline ------------------------------------------------------------------------------------------------------


def test_a_timeline_is_told_in_the_order_of_time() -> None:
    worker = closed_worker()
    worker.topics.publish("b1", b"{}", at=105.0)
    worker.topics.messages.append(InMessage("b1", 0, 0, 99.5, None, None))
    worker.arrive("b1", {"D": RESULT}, at=107.0)
    worker.statistics.times.add("b1", ("A", "B"), (7.0, 7.25, 7.5), 100.9)
    worker.statistics.times.add("b1", ("D",), (0.0, 6.5), 107.0)
    timeline = get(worker, "/batches/b1/timeline")
    assert timeline["sources"] == [{"topic": "b1", "partition": 0, "offset": 0, "timestamp": 99.5}]
    assert timeline["incomplete"] == []
    assert events(worker) == [
        (100.0, "opened", None, None, None, None),
        (pytest.approx(100.65), "station", "A", "result", pytest.approx(100.4), None),
        (pytest.approx(100.9), "station", "B", "failed", pytest.approx(100.65), None),
        (102.0, "station", "C", "empty", None, None),
        (105.0, "station", MARKUP, "skipped", None, None),
        (105.0, "closed", None, "partial", None, "timeout"),
        (105.0, "published", None, None, None, None),
        (107.0, "late", "D", "result", 100.5, None),
    ]
    (published,) = [one for one in timeline["events"] if one["event"] == "published"]
    assert (published["topic"], published["partition"], published["offset"], published["revision"]) == ("OUT", 0, 0, 1)


def test_a_restart_loses_but_the_times_of_single_stations() -> None:
    worker = closed_worker()
    worker.topics.publish("b1", b"{}", at=105.0)
    before = events(worker)
    worker.restart()
    assert events(worker) == before
    assert [one[1] for one in before] == ["opened", *["station"] * 4, "closed", "published"]


def test_where_no_time_is_kept_what_came_stands_at_the_last_arrival_and_what_was_skipped_at_the_closing() -> None:
    arrivals = [("A", str(OutcomeStatus.RESULT), None), ("B", str(OutcomeStatus.SKIPPED), None)]
    course = OwnCourse(sources=[], arrivals=arrivals, arrived_at=101.0, others=[], places=[], closed_at=105.0)
    assert [(one.station_id, one.at) for one in stations_in(course, {})] == [("A", 101.0), ("B", 105.0)]


def test_what_operators_and_supplements_do_is_told() -> None:
    worker = FakeWorker()
    worker.open("b1", ["A"], at=100.0)
    worker.open("b1", ["B"], at=101.0, message="another")
    worker.apply(Command("b1", Action.EXTEND, 102.0, "zhang", 10.0))
    worker.arrive("b1", {"A": RESULT}, at=103.0)
    in_flight = events(worker)
    assert in_flight == [
        (100.0, "opened", None, None, None, None),
        (101.0, "supplemented", None, None, None, None),
        (102.0, "extended", None, None, None, "zhang"),
        (103.0, "station", "A", "result", None, None),
    ]
    worker.apply(Command("b1", Action.COMPLETE, 104.0, "李"))
    closed = (104.0, "closed", None, "partial", None, "李")
    assert events(worker) == [*in_flight, closed]
    worker.publish("b1")
    published = (104.0, "published", None, None, None, None)
    assert events(worker) == [*in_flight, closed, published]  # it is not read: that it is out is known
    worker.restart()
    assert events(worker) == [*in_flight, closed, published]
    sources = get(worker, "/batches/b1/timeline")["sources"]
    assert [(one["topic"], one["timestamp"]) for one in sources] == [("b1", None), ("another", None)]


def test_revisions_and_late_messages_are_told() -> None:
    worker = FakeWorker()
    worker.sets = {0: WorkingSet(worker.records[0], Rules(max_age=60.0, late=LatePolicy.REVISE))}
    worker.open("b1", ["A", "B"], at=100.0)
    worker.arrive("b1", {"A": RESULT}, at=101.0)
    worker.expire("b1", at=105.0)
    worker.publish("b1")
    worker.open("b1", ["C"], at=106.0, message="another")
    worker.arrive("b1", {"B": RESULT}, at=106.5)
    worker.apply(Revise("b1", 2, 107.0))
    told = events(worker)
    assert told[2:] == [
        (105.0, "closed", None, "partial", None, "timeout"),
        (105.0, "published", None, None, None, None),
        (106.0, "late", None, None, None, None),
        (106.5, "late", "B", "result", None, None),
        (107.0, "revised", None, "partial", None, None),
    ]


def test_a_timeline_is_there_without_kafka() -> None:
    worker = closed_worker()
    worker.topics.is_away = True
    timeline = get(worker, "/batches/b1/timeline")
    assert [one["timestamp"] for one in timeline["sources"]] == [None]
    (published,) = [one for one in timeline["events"] if one["event"] == "published"]
    assert (published["topic"], published["partition"], published["offset"]) == ("OUT", 0, None)


def test_ten_thousand_stations_have_a_timeline() -> None:
    worker = FakeWorker()
    stations = [str(number) for number in range(10_000)]
    worker.open("b1", stations, at=100.0)
    worker.arrive("b1", dict.fromkeys(stations, RESULT), at=101.0)
    told = orjson.loads(ask(worker, "/batches/b1/timeline").content)["events"]
    assert [one["event"] for one in told] == ["opened", *["station"] * 10_000, "closed"]


def test_either_worker_tells_and_the_one_that_ran_a_callback_knows_when() -> None:
    first, second = FakeWorker(0), FakeWorker(1)
    first.home = second.home = 1
    second.open("b1", ["A", "B"], at=100.0, partition=1)
    second.arrive("b1", {"A": RESULT, "B": EMPTY}, at=101.0, partition=1)
    second.publish("b1", partition=1)
    first.statistics.times.add("b1", ("A",), (0.0, 0.5), 100.75)
    second.statistics.times.add("b1", ("B",), (0.0, 0.25), 100.5)
    for worker in (first, second):
        worker.topics.publish("b1", b'{"x":1}', at=101.0)

    async def test(live: list[Live]) -> None:
        for one in live:
            timeline = await one.get("/batches/b1/timeline")
            starts = {event["station_id"]: event["started_at"] for event in timeline["events"]}
            assert (starts["A"], starts["B"], timeline["incomplete"]) == (100.25, 100.25, [])
            assert (await one.get("/batches/b1/output"))["outputs"][0]["value"] == {"x": 1}
            for what in ("output", "timeline"):
                assert (await one.ask(f"/batches/b2/{what}")).status_code == 404
                assert (await one.ask(f"/batches/b1/{what}", token=None)).status_code == 401
        assert (await live[0].ask("/batches/b1/timeline?local=true")).status_code == 404

    on_cluster([first, second], test)
