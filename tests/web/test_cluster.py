"""Answers for the whole cluster, and what they say of workers that do not answer."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from app.web import cluster
from tests.web.fake_worker import FakeWorker
from tests.web.live_cluster import PATIENCE, TOKEN, Live, on_cluster, peer

RESULT = ("r", '{"station_id":"A","result":1}')


def ids(answer: Any) -> list[str]:
    return [row["batch_id"] for row in answer["batches"]]


def test_one_page_has_the_newest_of_all_workers() -> None:
    first, second, third = FakeWorker(0), FakeWorker(1), FakeWorker(2)
    for number in range(12):
        worker = (first, second, second, third)[number % 4]
        worker.open(f"T_{number}", ["A"], at=float(number), partition=next(iter(worker.records)))

    async def test(live: list[Live]) -> None:
        for one in live:
            whole = await one.get("/batches")
            assert ids(whole) == [f"T_{number}" for number in reversed(range(12))]
            assert (whole["next"], whole["incomplete"]) == (None, [])
            seen, cursor = [], ""
            while cursor is not None:
                page = await one.get(f"/batches?limit=5&status=open&cursor={cursor}")
                seen += ids(page)
                cursor = page["next"]
            assert seen == ids(whole)
        assert ids(await live[1].get("/batches?local=true")) == ["T_10", "T_9", "T_6", "T_5", "T_2", "T_1"]
        assert ids(await live[1].get("/batches?local=")) == ids(await live[0].get("/batches?local=false"))

    on_cluster([first, second, third], test)


def test_pages_of_all_workers_go_on_while_batches_come_and_go() -> None:
    first, second = FakeWorker(0), FakeWorker(1)
    for number in range(8):
        worker = (first, second)[number % 2]
        worker.add_closed(f"T_{number}", at=float(number), partition=number % 2)

    async def test(live: list[Live]) -> None:
        page = await live[0].get("/batches?limit=3")
        assert ids(page) == ["T_7", "T_6", "T_5"]
        second.forget("T_5", partition=1)
        first.forget("T_4")
        first.add_closed("T_8", at=8.0)
        page = await live[1].get(f"/batches?limit=3&cursor={page['next']}")
        assert ids(page) == ["T_3", "T_2", "T_1"]
        page = await live[1].get(f"/batches?limit=3&cursor={page['next']}")
        assert (ids(page), page["next"]) == (["T_0"], None)

    on_cluster([first, second], test)


def test_a_batch_that_two_workers_show_is_shown_once_as_it_is_furthest() -> None:
    first, second = FakeWorker(0), FakeWorker(0)
    for worker in (first, second):
        worker.open("T_1", ["A", "B"])
    second.arrive("T_1", {"A": RESULT})

    async def test(live: list[Live]) -> None:
        for one in live:
            (row,) = (await one.get("/batches"))["batches"]
            assert (row["arrived_count"], row["worker"]) == (1, second.url)

    on_cluster([first, second], test)


def test_the_owner_is_asked_for_one_batch() -> None:
    first, second = FakeWorker(0), FakeWorker(1)
    second.open("T_1:.场 ?%2F", ["A"], partition=1)
    first.home = 1

    async def test(live: list[Live]) -> None:
        assert (await live[0].get("/batches/T_1:.%E5%9C%BA%20%3F%252F"))["batch_id"] == "T_1:.场 ?%2F"
        second.open("T_2", ["A", "B"], partition=1)
        second.arrive("T_2", {"B": ("f", "no")}, partition=1)
        detail = await live[0].get("/batches/T_2")
        assert (detail["missing"], detail["partition"], detail["worker"]) == (["A"], 1, second.url)
        unknown = await live[0].ask("/batches/T_3")
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown-batch")
        assert (await live[0].ask("/batches/T_2?local=true")).status_code == 404
        second.sets.clear()
        moving = await live[0].ask("/batches/T_2")
        assert (moving.status_code, moving.json()["error"]["code"]) == (503, "being-recovered")

    on_cluster([first, second], test)


def test_a_batch_of_a_partition_that_nobody_has_is_not_unknown() -> None:
    worker = FakeWorker(0)
    worker.home = 5

    async def test(live: list[Live]) -> None:
        answer = await live[0].ask("/batches/T_1")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no-owner")

    on_cluster([worker], test)


def test_a_worker_that_is_not_sure_of_its_partitions_says_so() -> None:
    first, second = FakeWorker(0), FakeWorker(1)
    first.open("T_1", ["A"])

    async def test(live: list[Live]) -> None:
        first.is_ready = False
        for one in live:
            answer = await one.get("/batches")
            assert answer["incomplete"] == [first.url]
        rows = (await live[1].get("/cluster"))["workers"]
        assert [(row["url"], row["partitions"], row["ready"]) for row in rows] == sorted(
            [(first.url, [0], False), (second.url, [1], True)]
        )
        second.home = 0
        assert (await live[1].ask("/batches/T_2")).status_code == 503
        assert (await live[0].ask("/batches/T_1")).status_code == 503
        first.is_ready = True
        assert (await live[0].get("/batches"))["incomplete"] == []

    on_cluster([first, second], test)


# -- workers that do not answer as they should -------------------------------------------------------------------------


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def has_seconds(monkeypatch: pytest.MonkeyPatch, place: str, seconds: float) -> None:
    """Let whoever is at that place have so many seconds for its share, and the others all that they need."""
    ask = cluster.Cluster.ask

    async def impatient(self: Any, url: str, path: str, read: Any) -> Any:
        monkeypatch.setattr(cluster, "DEADLINE", seconds if url == place else PATIENCE)  # which is looked at at once
        return await ask(self, url, path, read)

    monkeypatch.setattr(cluster.Cluster, "ask", impatient)


def answering(answer: bytes) -> Any:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    return behave


@pytest.mark.parametrize(
    "behave",
    [
        silent,
        closing,
        answering(b"nonsense\r\n\r\n"),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\xff{}"),
        answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}"),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{"),
    ],
)
def test_a_worker_that_does_not_answer_is_named_and_the_rest_is_shown(
    behave: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, other = FakeWorker(0), FakeWorker(1)
    worker.open("T_1", ["A"])
    other.open("T_2", ["A"], partition=1)

    async def test(live: list[Live]) -> None:
        async with peer(behave) as url:
            worker.others[url] = frozenset({2})
            if behave is silent:
                has_seconds(monkeypatch, url, 0.3)
            answer = await live[0].get("/batches")
            assert (ids(answer), answer["incomplete"]) == (["T_1", "T_2"], [url])
            worker.home = 2
            away = await live[0].ask("/batches/T_3")
            assert (away.status_code, away.json()["error"]["code"]) == (504, "owner-away")

    on_cluster([worker, other], test)


def test_a_worker_that_is_gone_is_named() -> None:
    worker = FakeWorker(0)

    async def test(live: list[Live]) -> None:
        async with peer(closing) as url:
            pass
        worker.others[url] = frozenset({1})
        assert (await live[0].get("/batches"))["incomplete"] == [url]

    on_cluster([worker], test)


def test_the_token_does_not_follow_a_redirect() -> None:
    worker = FakeWorker(0)
    reached: list[bytes] = []

    async def thief(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async def test(live: list[Live]) -> None:
        async with peer(thief) as elsewhere:
            redirect = f"HTTP/1.1 307 No\r\nLocation: {elsewhere}/\r\nContent-Length: 0\r\n\r\n".encode()
            async with peer(answering(redirect)) as url:
                worker.others[url] = frozenset()
                assert (await live[0].get("/batches"))["incomplete"] == [url]

    on_cluster([worker], test)
    assert reached == []


def test_a_worker_with_another_token_is_named_here_and_once_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    first, second = FakeWorker(0), FakeWorker(1)

    async def test(live: list[Live]) -> None:
        for _ in range(3):
            assert (await live[0].get("/batches"))["incomplete"] == [second.url]

    with caplog.at_level(logging.WARNING):
        on_cluster([first, second], test, tokens=[TOKEN, "other"])
    warnings = [record.getMessage() for record in caplog.records]
    expected = (
        f"The worker at {second.url} refuses our token: AGG_WEB_TOKEN and AGG_WEB_READ_TOKEN must be the same for all "
        "workers"
    )
    assert warnings == [expected]


def test_workers_that_are_asked_ask_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    ask = cluster.Cluster.ask

    async def counted(self: Any, url: str, path: str, read: Any) -> Any:
        asked.append(url)
        return await ask(self, url, path, read)

    monkeypatch.setattr(cluster.Cluster, "ask", counted)
    workers = [FakeWorker(number) for number in range(3)]

    async def test(live: list[Live]) -> None:
        await live[0].get("/batches")
        assert sorted(asked) == sorted(worker.url for worker in workers[1:])
        asked.clear()
        await live[0].get("/batches?local=true")
        assert asked == []

    on_cluster(workers, test)
