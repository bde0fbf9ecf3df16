"""`GET /cluster`: how the workers stand, and where their clocks and settings differ."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

import pytest

from app.observability.peers import Peer
from app.settings import Settings
from app.settings.enums import Fill
from app.settings.fingerprint import fingerprint
from app.web.access import Access
from app.web.app import create_web
from app.web.routers import workers
from tests.web.asking import get
from tests.web.fake_worker import FakeWorker
from tests.web.live_cluster import TOKEN, Live, on_cluster, peer

FIELDS = {
    *("url", "version", "started_at", "ready", "partitions", "open_batches", "running", "waiting", "loop_lag"),
    *("resident", "clock_offset", "differs"),
}


def clocks(monkeypatch: pytest.MonkeyPatch, ahead: Mapping[str, float]) -> None:
    """Set the clocks that workers tell, by their URLs, ahead by these seconds."""
    own = workers.ClusterView._own

    async def told(self: Any) -> Any:
        share = await own(self)
        return share.model_copy(update={"now": time.time() + ahead.get(share.url, 0.0)})

    monkeypatch.setattr(workers.ClusterView, "_own", told)


def rows_of(answer: Any) -> dict[str, Any]:
    return {row["url"]: row for row in answer["workers"]}


def test_a_row_says_how_a_worker_stands() -> None:
    first, second = FakeWorker(0), FakeWorker(1, 2)
    second.open("T_1", ["A"], partition=1)
    second.statistics.lagged(0.25)
    second.statistics.started_at = 77.0
    began = time.monotonic()

    async def test(live: list[Live]) -> None:
        answer = await live[0].get("/cluster")
        assert (answer["incomplete"], answer["clocks_apart"]) == ([], [])
        assert all(row.keys() == FIELDS for row in answer["workers"])
        row = rows_of(answer)[second.url]
        assert row.pop("resident") > 2**20
        assert abs(row.pop("clock_offset")) <= time.monotonic() - began  # it is known to half a round trip
        assert row.pop("version")
        assert row == {
            "url": second.url,
            "started_at": 77.0,
            "ready": True,
            "partitions": [1, 2],
            "open_batches": 1,
            "running": 3,
            "waiting": 5,
            "loop_lag": 0.25,
            "differs": [],
        }
        (own,) = (await live[0].get("/cluster?local=true"))["workers"]
        assert (own["url"], own["clock_offset"]) == (first.url, 0.0)

    on_cluster([first, second], test)


def test_a_worker_of_an_older_version_is_shown_without_what_it_does_not_tell() -> None:
    worker = FakeWorker(0)

    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        url = next(iter(worker.others))
        body = json.dumps({"partitions": [1], "answer": {"url": url, "ready": True}}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    async def test(live: list[Live]) -> None:
        async with peer(old) as url:
            worker.others[url] = frozenset({1})
            answer = await live[0].get("/cluster")
            row = rows_of(answer)[url]
            assert (answer["incomplete"], row["ready"], row["partitions"], row["differs"]) == ([], True, [1], [])
            assert {row[name] for name in ("version", "open_batches", "resident", "clock_offset")} == {None}

    on_cluster([worker], test)


def test_a_worker_that_does_not_answer_is_there_with_what_the_group_tells_of_it() -> None:
    worker = FakeWorker(0)

    async def test(live: list[Live]) -> None:
        async with peer(closing) as url:
            worker.others[url] = frozenset({1})
            other = fingerprint(Settings(app_id=worker.settings.app_id, fill=Fill.LINEAR))
            worker.peers.joined([Peer(url, "host", other)])
            answer = await live[0].get("/cluster")
            assert answer["incomplete"] == [url]
            row = rows_of(answer)[url]
            assert (row["ready"], row["partitions"], row["version"], row["clock_offset"]) == (False, [1], None, None)
            assert row["differs"] == ["AGG_FILL"]

    on_cluster([worker], test)


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def test_the_keys_in_which_a_worker_differs_from_the_others_are_in_its_row() -> None:
    worker = FakeWorker(0)
    worker.others = {"http://b:1": frozenset(), "http://c:1": frozenset()}
    other = fingerprint(Settings(app_id=worker.settings.app_id, module="price"))
    worker.peers.joined([Peer("http://b:1", "b", worker.peers.own), Peer("http://c:1", "c", other)])
    rows = rows_of(get(worker, "/cluster"))
    assert {url: row["differs"] for url, row in rows.items()} == {
        worker.url: [],
        "http://b:1": [],
        "http://c:1": ["AGG_MODULE", "AGG_OUTPUT_TOPIC"],
    }


def test_clocks_that_differ_are_in_the_rows_and_told_in_the_logs_of_both(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = FakeWorker(0), FakeWorker(1)
    ahead: dict[str, float] = {}
    clocks(monkeypatch, ahead)

    async def test(live: list[Live]) -> None:
        ahead[second.url] = 30.0
        for _ in range(2):
            answer = await live[0].get("/cluster")
        assert rows_of(answer)[second.url]["clock_offset"] == pytest.approx(30.0, abs=1.0)
        assert rows_of(answer)[first.url]["clock_offset"] == 0.0
        assert answer["clocks_apart"] == [second.url]
        (warning,) = [record.getMessage() for record in caplog.records]
        assert f"{second.url} +" in warning
        ahead[second.url] = 0.0
        assert (await live[0].get("/cluster"))["clocks_apart"] == []

    with caplog.at_level(logging.WARNING):
        on_cluster([first, second], test)


def test_workers_ask_for_the_time_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, other = FakeWorker(0), FakeWorker(1)

    async def test(live: list[Live]) -> None:
        web = create_web(worker, Access(TOKEN))
        worker.others[other.url] = frozenset({1})
        beating = asyncio.create_task(web.state.heartbeat())
        while worker.peers.clock_offset(other.url) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        beating.cancel()
        await web.state.cluster.close()

    on_cluster([worker, other], test)
