"""Statistics and what the dashboard shows of them: /stats, /stations, /history and /heatmap."""

from __future__ import annotations

import time

import pytest

from app.observability.counters import Metrics, Statistics
from app.web import figures
from tables.model.enums import LatePolicy
from tables.model.events import Revise
from tables.model.policies import Rules
from tables.working_set import WorkingSet
from tests.web.asking import Ask, ask, ask_all, get
from tests.web.fake_worker import FakeWorker

RESULT = ("r", "{}")
FAILED = ("f", "ValueError: no")
EMPTY = ("e", None)


def busy_worker() -> FakeWorker:
    """A complete batch, one that missed B, and an open one."""
    worker = FakeWorker(0, 1)
    worker.open("b1", ["A", "B", "C"], at=100.0)
    worker.arrive("b1", {"A": RESULT, "B": FAILED, "C": EMPTY}, at=102.0)
    worker.publish("b1")
    worker.open("b2", ["A", "B", "D"], at=110.0, partition=1)
    worker.arrive("b2", {"A": RESULT, "D": RESULT}, at=111.0, partition=1)
    worker.expire("b2", at=115.0, partition=1)
    worker.publish("b2", partition=1)
    worker.open("b3", ["A"], at=120.0)
    return worker


def test_stats_have_the_fields_of_the_contract() -> None:
    stats = get(busy_worker(), "/stats?since=0")
    assert set(stats) == {
        "open_batches", "oldest_open_age", "completed_by", "discarded", "late", "dead_letters", "throughput",
        "duration", "timeout", "incomplete",
    }  # fmt: skip
    assert stats["open_batches"] == 1
    assert stats["completed_by"] == {"all": 1, "timeout": 1, "ratio": 0, "operator": 0}
    assert stats["duration"]["p50"] == pytest.approx(2.0, rel=0.05)
    assert stats["duration"]["p99"] == pytest.approx(5.0, rel=0.05)
    assert (stats["late"], stats["dead_letters"]) == (0, 0)
    assert (stats["timeout"], stats["incomplete"]) == (5.0, [])


def test_stats_are_of_what_closed_in_a_range() -> None:
    worker = busy_worker()  # closed at 102 and 115
    for query, by_all, by_timeout, throughput in (
        ("since=102&until=115", 1, 0, 3 / 13),
        ("since=102.1&until=116", 0, 1, 2 / 13.9),
        ("since=0&until=116", 1, 1, 5 / 60),
        ("since=0&until=170", 1, 1, 2 / 60),  # in the last minute of it
        ("since=200&until=100", 0, 0, 0.0),
        ("until=50", 0, 0, 0.0),
        ("", 0, 0, 0.0),
        ("since=15m", 0, 0, 0.0),
    ):
        stats = get(worker, f"/stats?{query}")
        assert (stats["completed_by"]["all"], stats["completed_by"]["timeout"]) == (by_all, by_timeout), query
        assert stats["throughput"] == pytest.approx(throughput), query
        assert stats["open_batches"] == 1
    assert get(worker, "/stats?since=15m")["duration"] == {"p50": None, "p99": None}


def test_a_closing_counts_before_its_output_is_out_and_a_revision_changes_nothing() -> None:
    worker = FakeWorker()
    rules = Rules(max_age=60.0, late=LatePolicy.REVISE)
    worker.sets = {0: WorkingSet(worker.records[0], rules)}
    worker.open("b1", ["A", "B"], at=100.0)
    worker.arrive("b1", {"A": RESULT}, at=101.0)
    worker.expire("b1", at=105.0)
    first = get(worker, "/stats?since=0")
    assert (first["completed_by"]["timeout"], first["late"]) == (1, 0)
    worker.publish("b1")
    worker.arrive("b1", {"B": RESULT}, at=106.0)
    worker.apply(Revise("b1", 2, 107.0))
    assert get(worker, "/batches/b1")["completed_by"] == "revision"
    for stats in (get(worker, "/stats?since=0"), get(worker, "/stats?since=105&until=106.5")):
        assert stats["completed_by"] == {"all": 0, "timeout": 1, "ratio": 0, "operator": 0}
        assert stats["duration"] == first["duration"]
        assert stats["late"] == 1  # the late topic does not get it
    assert get(worker, "/stats?since=106.5")["late"] == 0


def test_another_owner_of_the_same_records_tells_the_same() -> None:
    worker = busy_worker()
    worker.topics.written = {worker.settings.late_topic: [103.0, 104.0], worker.settings.dead_letter_topic: [110.0]}
    before = get(worker, "/stats?since=0&until=1000")
    assert (before["late"], before["dead_letters"]) == (2, 1)
    worker.restart()
    worker.statistics = Statistics(Metrics(), lambda: 0.0)
    after = get(worker, "/stats?since=0&until=1000")
    assert {**after, "oldest_open_age": 0} == {**before, "oldest_open_age": 0}


def test_late_results_and_dead_letters_are_counted_by_the_times_of_their_topics() -> None:
    worker = busy_worker()
    now = time.time()
    worker.topics.written = {
        worker.settings.late_topic: [now - 4000, now - 3000, now - 10],
        worker.settings.dead_letter_topic: [now - 4000, now - 10],
    }
    for query, late, letters in (("", 2, 1), ("since=15m", 1, 1), ("since=2h", 3, 2), ("since=2h&until=1h", 1, 1)):
        stats = get(worker, f"/stats?{query}")
        assert (stats["late"], stats["dead_letters"]) == (late, letters), query


def test_what_kafka_does_not_tell_is_null_and_the_rest_is_there() -> None:
    worker = busy_worker()
    worker.topics.is_away = True
    stats = get(worker, "/stats?since=0")
    assert (stats["late"], stats["dead_letters"], stats["completed_by"]["all"]) == (None, None, 1)


def test_kafka_is_not_asked_again_within_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "ASK_AGAIN", 1e9)
    worker = busy_worker()
    answers = ask_all(worker, [Ask("/stats?since=1h")] * 5 + [Ask("/stats?since=2h")] * 5)
    assert [answer.status_code for answer in answers] == [200] * 10
    assert worker.topics.read == ["counts", "counts"]


@pytest.mark.parametrize("query", ["since=x", "until=-1", "since=1x", "local=maybe"])
def test_a_bad_range_is_refused(query: str) -> None:
    answer = ask(busy_worker(), f"/stats?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad-request")


def test_stations_are_ranked_by_misses_then_failures() -> None:
    answer = get(busy_worker(), "/stations")
    rows = answer["stations"]
    assert [row["station_id"] for row in rows] == ["B", "A", "C", "D"]
    durations = {"p50": None, "p99": None}
    assert rows[0] == {"station_id": "B", "arrivals": 1, "misses": 1, "failures": 1, "empties": 0, **durations}
    assert rows[2] == {"station_id": "C", "arrivals": 1, "misses": 0, "failures": 0, "empties": 1, **durations}
    assert answer["next"] is None


@pytest.mark.parametrize(
    ("order", "expected"), [("", "BDAC"), ("order=&", "BDAC"), ("order=misses&", "BDAC"), ("order=slowness&", "DABC")]
)
def test_stations_come_in_pages_of_either_order(order: str, expected: str) -> None:
    worker = busy_worker()
    for station, seconds in (("A", 0.5), ("D", 2.0)):
        worker.statistics.callback(station, seconds)
    for limit in (1, 3, 4):
        query = start = f"/stations?{order}limit={limit}"
        seen = ""
        while query:
            answer = get(worker, query)
            seen += "".join(row["station_id"] for row in answer["stations"])
            query = f"{start}&cursor={answer['next']}" if answer["next"] else ""
        assert seen == expected


def test_a_cursor_is_of_its_order() -> None:
    worker = busy_worker()
    cursor = get(worker, "/stations?limit=1")["next"]
    answer = ask(worker, f"/stations?order=slowness&cursor={cursor}")
    message = "cursor: is of the order misses, not slowness"
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, message)


@pytest.mark.parametrize("query", ["order=x", "limit=0", "limit=x", "cursor=x", "cursor=%00", "local=maybe"])
def test_a_bad_question_about_stations_is_told(query: str) -> None:
    answer = ask(busy_worker(), f"/stations?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad-request")


def test_the_history_has_a_sample_for_each_slot() -> None:
    worker = busy_worker()
    worker.history.take(1000.5, open_batches=3, lag=7)
    worker.history.take(1003.0, open_batches=9, lag=9)
    worker.history.take(1010.0, open_batches=1, lag=0)
    samples = get(worker, "/history")["samples"]
    assert [(one["at"], one["open_batches"], one["lag"]) for one in samples] == [(1000, 3, 7), (1010, 1, 0)]
    assert samples[0]["duration_p99"] == pytest.approx(5.0, rel=0.05)
    assert samples[0]["throughput"] == pytest.approx(0.5)  # five stations in the ten seconds of a slot
    assert (samples[1]["duration_p50"], samples[1]["throughput"]) == (None, 0.0)


def test_the_history_is_an_hour_long() -> None:
    worker = busy_worker()
    for slot in range(500):
        worker.history.take(slot * 10.0, open_batches=slot, lag=0)
    samples = get(worker, "/history")["samples"]
    assert (len(samples), samples[0]["at"], samples[-1]["at"]) == (360, 1400, 4990)


def test_the_heatmap_has_the_worst_stations_first_and_the_oldest_batch() -> None:
    answer = get(busy_worker(), "/heatmap")
    assert [(one["batch_id"], one["completed_by"]) for one in answer["batches"]] == [("b1", "all"), ("b2", "timeout")]
    cells = {row["station_id"]: row["cells"] for row in answer["stations"]}
    assert cells == {"B": "fm", "A": "rr", "C": "e-", "D": "-r"}
    assert answer["stations"][0]["station_id"] == "B"


def test_the_heatmap_is_bounded() -> None:
    answer = get(busy_worker(), "/heatmap?batches=1&stations=2")
    assert [one["batch_id"] for one in answer["batches"]] == ["b2"]
    assert [row["cells"] for row in answer["stations"]] == ["m", "r"]
    assert ask(busy_worker(), "/heatmap?batches=0").status_code == 400
