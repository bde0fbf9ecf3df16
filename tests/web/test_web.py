"""What a worker answers about its batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from app.web.paging import Shown, list_batches
from app.web.turns import Pace
from tests.web.asking import ask, get
from tests.web.fake_worker import FakeWorker

RESULT = ("r", '{"station_id":"A","result":1}')
EMPTY = ("e", None)


def ids(answer: Any) -> list[str]:
    return [row["batch_id"] for row in answer["batches"]]


def pages(worker: FakeWorker, query: str) -> list[str]:
    """All batch ids, page after page."""
    seen: list[str] = []
    cursor = ""
    while True:
        answer = get(worker, f"/batches?{query}&cursor={cursor}")
        seen += ids(answer)
        cursor = answer["next"]
        if cursor is None:
            return seen


# -- batches -----------------------------------------------------------------------------------------------------------


def test_an_open_batch_shows_what_has_arrived_so_far() -> None:
    worker = FakeWorker(3)
    worker.open("T_1", ["A", "B", "C", "D"], at=100.0, partition=3)
    worker.arrive("T_1", {"B": EMPTY, "A": RESULT, "C": ("f", "ValueError: no")}, partition=3)
    row = {
        "batch_id": "T_1",
        "status": "open",
        "completed_by": None,
        "expected_count": 4,
        "arrived_count": 3,
        "failed_count": 1,
        "empty_count": 1,
        "opened_at": 100.0,
        "deadline": 105.0,
        "closed_at": None,
        "revision": 0,
        "partition": 3,
        "worker": "http://127.0.0.1:6066",
    }
    assert get(worker, "/batches") == {"batches": [row], "next": None, "incomplete": []}
    assert get(worker, "/batches/T_1") == {
        **row,
        "expected": ["A", "B", "C", "D"],
        "arrived": ["A", "B", "C"],
        "missing": ["D"],
        "failed": [{"station_id": "C", "error": "ValueError: no"}],
        "empty": ["B"],
    }


def test_a_batch_that_timed_out_says_the_same_while_it_is_published_afterwards_and_after_a_restart() -> None:
    worker = FakeWorker()
    worker.open("T_1", ["A", "B", "C", "D"], at=100.0)
    worker.arrive("T_1", {"C": RESULT, "B": EMPTY, "A": ("f", "ValueError: no")})
    worker.expire("T_1", at=105.25)
    row = {
        "batch_id": "T_1",
        "status": "partial",
        "completed_by": "timeout",
        "expected_count": 4,
        "arrived_count": 3,
        "failed_count": 1,
        "empty_count": 1,
        "opened_at": 100.0,
        "deadline": 105.0,
        "closed_at": 105.25,
        "revision": 1,
        "partition": 0,
        "worker": "http://127.0.0.1:6066",
    }
    detail = {
        **row,
        "expected": ["A", "B", "C", "D"],
        "arrived": ["A", "B", "C"],
        "missing": ["D"],
        "failed": [{"station_id": "A", "error": "ValueError: no"}],
        "empty": ["B"],
    }
    assert list(worker.sets[0].closing) == ["T_1"]
    steps: list[Callable[[], None]] = [lambda: None, worker.restart, lambda: worker.publish("T_1"), worker.restart]
    for step in steps:
        step()
        assert get(worker, "/batches?status=closed")["batches"] == [row]
        assert get(worker, "/batches?status=open")["batches"] == []
        assert get(worker, "/batches/T_1") == detail
    assert list(worker.sets[0].closed) == ["T_1"]


def test_a_batch_with_all_its_stations_is_complete_even_when_some_failed() -> None:
    worker = FakeWorker()
    worker.open("T_1", ["A", "B"])
    worker.arrive("T_1", {"A": RESULT, "B": ("f", "ValueError: no")}, at=101.5)
    detail = get(worker, "/batches/T_1")
    assert (detail["status"], detail["completed_by"], detail["closed_at"]) == ("complete", "all", 101.5)
    assert (detail["arrived"], detail["missing"]) == (["A", "B"], [])


def test_a_station_that_was_skipped_has_not_arrived() -> None:
    worker = FakeWorker()
    worker.open("T_1", ["A", "B"])
    worker.arrive("T_1", {"A": ("s", "out of time"), "B": RESULT})
    detail = get(worker, "/batches/T_1")
    assert (detail["arrived"], detail["missing"], detail["failed"]) == (["B"], ["A"], [])
    assert (detail["arrived_count"], detail["failed_count"]) == (1, 0)


def test_a_station_that_a_later_message_names_again_is_awaited_again() -> None:
    worker = FakeWorker()
    worker.open("T_1", ["A", "B"])
    worker.arrive("T_1", {"A": EMPTY})
    worker.open("T_1", ["A", "C"], at=102.0, message="second")
    detail = get(worker, "/batches/T_1")
    assert detail["expected"] == detail["missing"] == ["A", "B", "C"]
    assert (detail["arrived_count"], detail["empty_count"], detail["empty"]) == (0, 0, [])
    assert (detail["opened_at"], detail["deadline"]) == (100.0, 107.0)


def test_markup_in_ids_and_errors_stays_text() -> None:
    worker = FakeWorker()
    markup = "<script>alert('1')</script>&amp;\u2028场站"
    worker.open("T_1", [markup, "B"])
    worker.arrive("T_1", {markup: ("f", markup)})
    answer = ask(worker, "/batches/T_1")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["failed"] == [{"station_id": markup, "error": markup}]


def test_only_the_partitions_that_the_worker_has_recovered_are_seen() -> None:
    worker = FakeWorker(0, 5)
    worker.open("mine", ["A"], partition=0)
    worker.open("gone", ["A"], partition=5)
    assert sorted(ids(get(worker, "/batches"))) == ["gone", "mine"]
    del worker.sets[5]
    assert ids(get(worker, "/batches?local=true")) == ["mine"]
    assert ask(worker, "/batches/gone").status_code == 404
    worker.sets.clear()
    assert get(worker, "/batches") == {"batches": [], "next": None, "incomplete": []}


# -- order and pages ---------------------------------------------------------------------------------------------------


def test_the_newest_comes_first_and_ties_go_by_batch_id_whatever_the_partition_or_state() -> None:
    worker = FakeWorker(0, 1)
    worker.add_closed("b", at=200.0, partition=0)
    worker.add_closed("c", at=200.0, partition=1)
    worker.open("a", ["A"], at=200.0, partition=1)
    worker.open("old", ["A"], at=100.0, partition=0)
    worker.add_closed("new", at=300.5, partition=1)
    worker.add_closed("d", at=200.0, partition=0)
    assert ids(get(worker, "/batches")) == pages(worker, "limit=1") == ["new", "a", "b", "c", "d", "old"]
    assert ids(get(worker, "/batches?status=closed")) == ["new", "b", "c", "d"]
    assert ids(get(worker, "/batches?status=open")) == ["a", "old"]


def test_pages_go_on_where_the_last_one_ended_while_batches_come_and_go() -> None:
    worker = FakeWorker()
    for at in range(1, 7):
        worker.add_closed(f"T_{at}", at=float(at))
    first = get(worker, "/batches?limit=2")
    assert ids(first) == ["T_6", "T_5"]
    worker.add_closed("T_9", at=9.0)  # newer: was not there when the first page was made
    worker.forget("T_5")  # the very row that the cursor names
    worker.forget("T_3")
    second = get(worker, f"/batches?limit=2&cursor={first['next']}")
    assert ids(second) == ["T_4", "T_2"]
    third = get(worker, f"/batches?limit=2&cursor={second['next']}")
    assert (ids(third), third["next"]) == (["T_1"], None)


def test_a_last_page_that_is_full_has_no_next() -> None:
    worker = FakeWorker()
    for at in range(4):
        worker.open(f"T_{at}", ["A"], at=float(at))
    assert get(worker, "/batches?limit=4")["next"] is None
    assert pages(worker, "limit=2") == ["T_3", "T_2", "T_1", "T_0"]


def test_many_batches_with_equal_times_are_each_listed_once_and_in_order() -> None:
    worker = FakeWorker(0, 1)
    expected: list[tuple[float, str]] = []
    for number in range(12_000):
        opened_at = 1e9 + number * 7919 % 1000 / 8
        worker.add_closed(f"T_{number}", at=opened_at, partition=number // 3 % 2)
        expected.append((-opened_at, f"T_{number}"))
    assert pages(worker, "limit=997") == [batch_id for _, batch_id in sorted(expected)]


def test_a_page_has_a_hundred_rows_unless_asked_otherwise_and_a_thousand_at_most() -> None:
    worker = FakeWorker()
    for number in range(1001):
        worker.open(f"T_{number}", ["A"])
    for query, rows in (("", 100), ("?limit=&status=&cursor=", 100), ("?limit=1", 1), ("?limit=1000", 1000)):
        assert len(ids(get(worker, f"/batches{query}"))) == rows


def test_a_batch_that_closes_while_the_page_is_made_is_not_listed_as_open() -> None:
    worker = FakeWorker()
    worker.open("T_1", ["A"])
    worker.open("T_2", ["A"])

    async def listing() -> list[str]:
        making = asyncio.create_task(
            list_batches(worker.sets, shown=Shown.OPEN, after=None, limit=10, worker=worker.url, pace=Pace())
        )
        await asyncio.sleep(0)
        worker.arrive("T_2", {"A": RESULT})
        return [row.batch_id for row in (await making).batches]

    assert asyncio.run(listing()) == ["T_1"]
