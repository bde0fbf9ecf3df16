"""Statistics and what the dashboard shows of them: /stats, /stations, /history and /heatmap."""

from __future__ import annotations

import asyncio
import time
from random import Random
from typing import Any

import pytest

from app.observability.counters import Metrics, Statistics
from app.web import figures, tallies
from app.web.access import Access
from tables.closed_batches import ClosedBatch, line_of_decision
from tables.model.enums import CompletedBy, LatePolicy
from tables.model.events import Revise
from tables.model.policies import Rules
from tables.working_set import WorkingSet
from tests.web.asking import Ask, ask, ask_all, forget_answers, get
from tests.web.fake_worker import FakeWorker

RULES = Rules(max_age=60.0, late=LatePolicy.REVISE)
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


@pytest.mark.parametrize("query", ["since=15m&until=5m&asked=", "since=15m", "since=1&until=1h30m&asked=x", ""])
def test_the_figures_of_a_worker_are_asked_for_by_any_moment(query: str) -> None:
    worker = FakeWorker()
    worker.add_closed("b1", at=time.time() - 600)
    share = get(worker, f"/internal/figures?{query}")
    assert share["answer"]["completed_by"]["all"] == (query != "since=1&until=1h30m&asked=x")


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


def at_slots(monkeypatch: pytest.MonkeyPatch, now: float) -> None:
    """Have the workers' clock stand."""
    monkeypatch.setattr(time, "time", lambda: now)


def test_the_history_has_a_sample_for_each_slot_since_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    at_slots(monkeypatch, 133.0)
    samples = get(busy_worker(), "/history")["samples"]  # opened at 100, 110 and 120; two closed at 102 and 115
    assert [(one["at"], one["open_batches"]) for one in samples] == [(110, 0), (120, 0), (130, 1)]
    assert [one["throughput"] for one in samples] == pytest.approx([0.3, 0.2, 0.0])
    assert [one["duration_p99"] for one in samples] == [pytest.approx(2, rel=0.05), pytest.approx(5, rel=0.05), None]
    assert {one["lag"] for one in samples} == {None}


def test_a_batch_is_open_at_the_ends_of_the_slots_between_its_opening_and_its_closing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_slots(monkeypatch, 159.0)
    worker = FakeWorker()
    worker.open("b1", ["A"], at=100.0)
    worker.open("b2", ["A"], at=111.0)
    worker.expire("b1", at=130.0)
    samples = get(worker, "/history")["samples"]
    before = [(one["at"], one["open_batches"]) for one in samples]
    assert before == [(110, 1), (120, 2), (130, 2), (140, 1), (150, 1)]
    worker.publish("b1")
    worker.expire("b2", at=141.0)
    worker.publish("b2")
    worker.restart()
    samples = get(worker, "/history")["samples"]
    assert [(one["at"], one["open_batches"]) for one in samples] == [*before[:-1], (150, 0)]


def test_no_sample_of_the_history_goes_because_a_slot_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lag is shown until there is a batch; from then on the first batch says where the history begins."""
    worker = FakeWorker()

    def shown(now: float) -> list[int]:
        at_slots(monkeypatch, now)
        return [one["at"] for one in get(worker, "/history")["samples"]]

    assert shown(1005.0) == []
    lags = worker.webs[Access()][1].state.lags
    for at in (1010.0, 1020.0, 1030.0):
        asyncio.run(lags.take(at))
    assert shown(1031.0) == [1010, 1020, 1030]
    worker.open("b1", ["A"], at=1031.0)
    assert [shown(now) for now in (1039.0, 1041.0, 1051.0)] == [[], [1040], [1040, 1050]]
    worker.restart()
    forget_answers(worker)  # and the lag with them
    assert shown(1051.0) == [1040, 1050]


def test_the_history_is_an_hour_long(monkeypatch: pytest.MonkeyPatch) -> None:
    at_slots(monkeypatch, 10_000.0)
    worker = FakeWorker()
    for number in range(500):
        worker.add_closed(f"b{number}", at=5000.5 + 10 * number)
    samples = get(worker, "/history")["samples"]
    assert (len(samples), samples[0]["at"], samples[-1]["at"]) == (360, 6410, 10_000)
    assert {one["throughput"] for one in samples} == {0.1}


def random_plant(random: Random) -> FakeWorker:
    """Batches of many kinds that closed between 5,000 and 5,100, some not published, some revised since."""
    worker = FakeWorker(0, 1)
    worker.sets = {number: WorkingSet(worker.records[number], RULES) for number in worker.sets}
    for number in range(300):
        batch_id, partition, at = f"b{number}", number % 2, 5000 + random.random() * 90
        stations = random.sample("ABCDEFGH", random.randint(1, 6))
        worker.open(batch_id, stations, at=at, partition=partition)
        came = {station: random.choice([RESULT, RESULT, FAILED, EMPTY]) for station in stations[: random.randint(0, 6)]}
        if came:
            worker.arrive(batch_id, came, at=at + random.random() * 5, partition=partition)
        if batch_id in worker.sets[partition].open:
            worker.expire(batch_id, at=at + 5.0 + random.random(), partition=partition)
        if random.random() < 0.9:
            worker.publish(batch_id, partition=partition)
            if random.random() < 0.2 and len(came) < len(stations):
                late = dict.fromkeys(stations[len(came) :], RESULT)
                worker.arrive(batch_id, late, at=at + 20, partition=partition)
                worker.apply(Revise(batch_id, 2, at + 21), partition)
    return worker


@pytest.mark.parametrize("seed", range(3))
def test_tile_chart_and_table_agree(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of ten seconds are those of the sample, and the sums of the batches' and of the stations' rows."""
    worker = random_plant(Random(seed))  # noqa: S311 - no secret
    at_slots(monkeypatch, 5105.0)
    for restarted in (False, True):
        if restarted:
            worker.restart()
        samples = get(worker, "/history")["samples"]
        assert samples[0]["at"] <= 5010
        assert samples[-1]["at"] == 5100
        ranges = [f"since={sample['at'] - 10}&until={sample['at']}" for sample in samples]
        tiles = get_all(worker, [f"/stats?{one}" for one in ranges])
        tables = get_all(worker, [f"/stations?{one}&limit=1000" for one in ranges])
        by_timeout = get_all(worker, [f"/batches?{one}&completed_by=timeout&limit=1000" for one in ranges])
        for sample, stats, table, listed in zip(samples, tiles, tables, by_timeout, strict=True):
            assert len(listed["batches"]) == stats["completed_by"]["timeout"]
            assert sample["throughput"] == pytest.approx(stats["throughput"])
            assert {"p50": sample["duration_p50"], "p99": sample["duration_p99"]} == stats["duration"]
            lines = [
                line
                for working_set in worker.sets.values()
                for line in (*working_set.closed.values(), *closing(working_set))
                if sample["at"] - 10 <= line.first_closed_at < sample["at"]
            ]
            rules = [line.first_completed_by for line in lines]
            assert stats["completed_by"] == {rule: rules.count(CompletedBy(rule)) for rule in stats["completed_by"]}
            assert stats["throughput"] == pytest.approx(sum(line.arrived_count for line in lines) / 10)
            counted = sum(row["arrivals"] + row["misses"] for row in table["stations"])
            assert counted == sum(line.expected_count for line in lines)


def get_all(worker: FakeWorker, paths: list[str]) -> list[Any]:
    """The answers of one web."""
    return [answer.json() for answer in ask_all(worker, map(Ask, paths))]


def closing(working_set: WorkingSet) -> list[ClosedBatch]:
    decisions = [batch.decision for batch in working_set.closing.values()]
    return [line_of_decision(decision, decision.closed_at) for decision in decisions if decision is not None]


@pytest.mark.parametrize("seed", range(3))
def test_stations_are_counted_as_their_batches_first_closed_by_any_owner(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - no secret
    worker = random_plant(random)
    ranges = [sorted((random.randint(4990, 5110), random.randint(4990, 5110))) for _ in range(6)]
    paths = [f"/stations?since={since}&until={until}&limit=1000" for since, until in ranges]
    before = get_all(worker, paths)
    for (since, until), answer in zip(ranges, before, strict=True):
        first = [decision for decision in worker.first_decisions if since <= decision.closed_at < until]
        for row in answer["stations"]:
            station = row["station_id"]
            assert row["arrivals"] + row["misses"] == sum(station in one.expected for one in first)
            assert row["misses"] == sum(station in one.missing for one in first)
            assert row["failures"] == sum(station in dict(one.failed) for one in first)
            assert row["empties"] == sum(station in one.empty for one in first)
        assert {row["station_id"] for row in answer["stations"]} == {name for one in first for name in one.expected}
    worker.restart()
    worker.statistics = Statistics(Metrics(), lambda: 0.0)
    assert get_all(worker, paths) == before


def test_the_counts_of_stations_follow_when_batches_close_and_are_forgotten() -> None:
    worker = FakeWorker()
    for number in range(700):
        worker.add_closed(f"b{number}", at=100.0 + number)
        if number % 100 == 50:
            forget_answers(worker)
            (row,) = get(worker, "/stations")["stations"]
            assert (row["arrivals"], row["misses"]) == (number + 1, 0)
    for number in (0, 1, 300, 301, 699):
        worker.forget(f"b{number}")
    forget_answers(worker)
    (row,) = get(worker, "/stations")["stations"]
    assert row["arrivals"] == 695
    assert get(worker, "/stats?since=0")["completed_by"]["all"] == 695


def test_a_worker_that_has_not_counted_all_in_time_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = FakeWorker()
    for number in range(1000):
        worker.add_closed(f"b{number}", at=100.0 + number)
    monkeypatch.setattr(tallies, "GIVE_UP", 0.0)
    assert get(worker, "/stations")["incomplete"] == [worker.url]
    monkeypatch.setattr(tallies, "GIVE_UP", 1e9)
    forget_answers(worker)
    answer = get(worker, "/stations")
    assert (answer["incomplete"], answer["stations"][0]["arrivals"]) == ([], 1000)


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
