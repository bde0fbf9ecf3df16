"""Batches that are looked for: by a part of the id, a time, a station, the rule that closed them, a range of time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web import paging
from app.web.filters import times_of
from tables.model.enums import Action
from tables.model.events import Command
from tests.web.asking import ask, get
from tests.web.fake_worker import FakeWorker
from tests.web.live_cluster import Live, on_cluster

SHANGHAI = ZoneInfo("Asia/Shanghai")
RESULT = ("r", "{}")
TEN = int(datetime(2025, 11, 4, 10, tzinfo=SHANGHAI).timestamp())
MARKUP = '<img src=x onerror="alert(1)">'


def found(worker: FakeWorker, query: str) -> list[str]:
    """The ids of all pages."""
    ids: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = get(worker, f"/batches?{query}&cursor={cursor}")
        ids += [row["batch_id"] for row in answer["batches"]]
        cursor = answer["next"]
    return ids


def plant(partitions: Sequence[int] = (0, 1)) -> FakeWorker:
    """Batches each second, ids of hours from TEN on; even ones complete, odd ones time out, without B; one open."""
    worker = FakeWorker(*partitions)
    for number in range(6):
        partition, batch_id, at = number % 2, f"Plant_{TEN + 3600 * number}", TEN + 100.0 + number
        stations = ["A", "B", f"C{number}"]
        worker.open(batch_id, stations, at=at, partition=partition)
        arrived = [station for station in stations if not (number % 2 and station == "B")]
        worker.arrive(batch_id, dict.fromkeys(arrived, RESULT), at=at + 0.5, partition=partition)
        if number % 2:
            worker.expire(batch_id, at=at + 5.0, partition=partition)
        worker.publish(batch_id, partition=partition)
    worker.open("by-hand", ["A", MARKUP], at=TEN + 200.0)
    return worker


def at_hour(*hours: int) -> list[str]:
    return [f"Plant_{TEN + 3600 * hour}" for hour in hours]


@pytest.mark.parametrize("text", ["by-", "BY-HAND", "hand"])
def test_a_part_of_the_id_is_enough_whatever_its_case(text: str) -> None:
    assert found(plant(), f"q={text}") == ["by-hand"]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("12:00", at_hour(2)),
        ("12:00:00", at_hour(2)),
        ("12:01", []),
        ("2025-11-04T13:00", at_hour(3)),
        ("2025-11-04%2013:00:00", at_hour(3)),
        ("2025-11-04T05:00Z", at_hour(3)),
        ("2025/11/04", ["by-hand", *at_hour(5, 4, 3, 2, 1, 0)]),
        ("2025-11-03", []),
        ("10:01:45", at_hour(5)),  # its opening
        ("10:03", ["by-hand"]),
        (str(TEN), at_hour(0)),
    ],
)
def test_a_time_finds_the_batches_of_it(text: str, ids: list[str]) -> None:
    assert found(plant(), f"q={text}") == ids


def test_a_station_finds_the_batches_that_expected_it_whether_it_came_or_not() -> None:
    worker = plant()
    assert found(worker, "station=C3") == at_hour(3)
    assert found(worker, "station=B") == at_hour(5, 4, 3, 2, 1, 0)
    assert found(worker, "station=A&status=open") == ["by-hand"]
    assert found(worker, "station=A&status=closed&limit=4") == at_hour(5, 4, 3, 2, 1, 0)
    assert found(worker, f"station={MARKUP}") == ["by-hand"]
    for nobody in ("C", "AB", "all", "complete", '"A"', "%00", "场站", "timeout"):
        assert found(worker, f"station={nobody}") == []
    worker.restart()
    assert found(worker, "station=B") == at_hour(5, 4, 3, 2, 1, 0)


def test_a_station_of_a_batch_whose_output_is_not_out_is_found() -> None:
    worker = FakeWorker()
    worker.open("T_1", ["A"])
    worker.arrive("T_1", {"A": RESULT})
    assert found(worker, "station=A") == ["T_1"]
    assert found(worker, "station=B") == []


def test_batches_are_found_by_the_rule_that_closed_them() -> None:
    worker = plant()
    assert found(worker, "completed_by=timeout") == at_hour(5, 3, 1)
    assert found(worker, "completed_by=all") == at_hour(4, 2, 0)
    worker.apply(Command("by-hand", Action.COMPLETE, TEN + 201.0, "zhang"))
    assert found(worker, "completed_by=operator&station=A&q=hand&since=0") == ["by-hand"]


def test_a_range_is_of_closings_and_of_the_openings_of_what_is_open() -> None:
    worker = plant()
    # Even ones close half a second after their opening, odd ones five seconds.
    assert found(worker, f"since={TEN + 102.5}&until={TEN + 106.0}") == at_hour(4, 2)
    assert found(worker, f"since={TEN + 106.0}&until={TEN + 106.001}") == at_hour(1)
    assert found(worker, f"since={TEN + 200}") == ["by-hand"]
    assert found(worker, f"until={TEN}") == []
    assert found(worker, f"since={TEN + 110}&until={TEN}") == []
    assert found(worker, "since=15m") == []
    assert len(found(worker, "until=1h30m")) == 7


@pytest.mark.parametrize(
    "query",
    [
        *("status=x", "completed_by=x", "completed_by=ALL", "limit=0", "cursor=x"),
        *(f"{key}={value}" for key in ("since", "until") for value in ("x", "-1", "m", "15x", "1e9", "nan", "15m-")),
        *("since=%2015m", "since=999999999999", "q=" + "x" * 301),
    ],
)
def test_a_bad_condition_is_refused(query: str) -> None:
    answer = ask(plant(), f"/batches?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad-request"), query


def test_no_value_is_no_condition() -> None:
    everything = found(plant(), "")
    assert len(everything) == 7
    assert found(plant(), "q=&station=&completed_by=&since=&until=&status=") == everything


def test_a_search_that_takes_long_goes_on_with_the_next_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "SEARCH_SECONDS", -1.0)  # time for one batch
    worker = plant()
    page = get(worker, "/batches?station=C3")
    assert (page["batches"], page["next"] is None) == ([], False)
    assert found(worker, "station=C3") == at_hour(3)


def test_all_workers_are_searched() -> None:
    first, second = FakeWorker(0), FakeWorker(1)
    for number in range(8):
        worker = (first, second)[number % 2]
        worker.add_closed(f"T_{number}", at=float(number), partition=number % 2)

    async def test(live: list[Live]) -> None:
        def ids(answer: Any) -> list[str]:
            assert answer["incomplete"] == []
            return [row["batch_id"] for row in answer["batches"]]

        for one in live:
            assert ids(await one.get("/batches?station=A&limit=3")) == ["T_7", "T_6", "T_5"]
            assert ids(await one.get("/batches?q=t_&since=3.0&until=6.5")) == ["T_5", "T_4", "T_3", "T_2"]
            assert ids(await one.get("/batches?completed_by=timeout")) == []
        page = await live[0].get("/batches?station=A&limit=5")
        assert ids(await live[1].get(f"/batches?station=A&cursor={page['next']}")) == ["T_2", "T_1", "T_0"]

    on_cluster([first, second], test)


@given(st.text(max_size=40))
def test_any_text_is_searched_for(text: str) -> None:
    times = times_of(text, SHANGHAI)
    if times is not None:
        times.have(float(TEN))
