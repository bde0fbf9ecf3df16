"""`GET /settings` and `GET /partitions`: what the workers run with, and how far they are."""

from __future__ import annotations

import asyncio
import json

from app.settings import Settings
from app.web.routers.settings import differences
from app.web.state import Standing
from tests.web.asking import get
from tests.web.fake_worker import FakeWorker
from tests.web.live_cluster import Live, on_cluster, peer


def test_the_settings_are_told_without_secrets() -> None:
    worker = FakeWorker()
    worker.settings = Settings(web_token="geheim", batch_timeout=7.0)  # noqa: S106
    answer = get(worker, "/settings")
    assert (answer["settings"]["AGG_WEB_TOKEN"], answer["settings"]["AGG_BATCH_TIMEOUT"]) == ("***", 7.0)
    assert (answer["differences"], answer["incomplete"]) == ({}, [])
    assert "geheim" not in json.dumps(answer)


def test_settings_that_differ_are_told_with_each_worker_s_value_whoever_is_asked() -> None:
    first, second, third = FakeWorker(0), FakeWorker(1), FakeWorker(2)
    second.settings = Settings(batch_timeout=7.0, web_port=7000, web_token="other")  # noqa: S106

    async def test(live: list[Live]) -> None:
        for one in live:
            answer = await one.get("/settings")
            assert answer["differences"] == {
                "AGG_BATCH_TIMEOUT": {first.url: 5.0, second.url: 7.0, third.url: 5.0},
                "AGG_WEB_TOKEN": {first.url: None, second.url: "***", third.url: None},
            }
        assert (await live[1].get("/settings"))["settings"]["AGG_BATCH_TIMEOUT"] == 7.0
        assert (await live[1].get("/settings?local=true"))["differences"] == {}

    on_cluster([first, second, third], test)


def test_a_key_that_another_version_does_not_know_is_no_difference() -> None:
    assert differences({"a": {"AGG_X": 1, "AGG_Y": 1}, "b": {"AGG_X": 1}, "c": {"AGG_X": 2, "AGG_Z": None}}) == {
        "AGG_X": {"a": 1, "b": 1, "c": 2}
    }
    assert differences({}) == {}


def test_partitions_are_told_by_topic_with_their_worker_and_lag() -> None:
    first, second = FakeWorker(0), FakeWorker(1)
    first.owned = [Standing("T", 1, 5, 9, 4, 77.0), Standing("app-batch-events", 0, 3, 3, 0, None)]
    second.owned = [Standing("T", 0, None, None, None, None)]

    async def test(live: list[Live]) -> None:
        second.is_ready = False
        for one in live:
            answer = await one.get("/partitions")
            assert answer["incomplete"] == [second.url]
            rows = answer["partitions"]
            assert [(row["topic"], row["partition"], row["worker"]) for row in rows] == [
                ("T", 0, second.url),
                ("T", 1, first.url),
                ("app-batch-events", 0, first.url),
            ]
            assert rows[1] == {
                "topic": "T",
                "partition": 1,
                "worker": first.url,
                "committed": 5,
                "end": 9,
                "lag": 4,
                "oldest_unacknowledged_at": 77.0,
                "recovering": False,
            }
            assert (rows[0]["recovering"], rows[0]["lag"]) == (True, None)
        assert len((await live[0].get("/partitions?local=true"))["partitions"]) == 2

    on_cluster([first, second], test)


def test_a_partition_that_two_claim_while_it_moves_is_the_ready_one_s() -> None:
    first, second = FakeWorker(0), FakeWorker(0)
    first.owned, second.owned = [Standing("T", 0, 1, 2, 1, None)], [Standing("T", 0, None, None, None, None)]

    async def test(live: list[Live]) -> None:
        second.is_ready = False
        for one in live:
            (row,) = (await one.get("/partitions"))["partitions"]
            assert (row["worker"], row["lag"]) == (first.url, 1)

    on_cluster([first, second], test)


def test_a_worker_that_does_not_answer_is_named() -> None:
    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def test(live: list[Live]) -> None:
        async with peer(closing) as url:
            live[0].worker.others[url] = frozenset({1})
            for path in ("/settings", "/partitions"):
                assert (await live[0].get(path))["incomplete"] == [url]

    on_cluster([FakeWorker(0)], test)
