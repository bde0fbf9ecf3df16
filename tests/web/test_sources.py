"""The source topics: their lag, kept by all workers alike, and since when nothing has come."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.settings import Settings
from app.web.cluster import Cluster
from app.web.routers import sources
from app.web.routers.lags import Lag, Lags
from app.web.state import Standing
from app.web.topics import Arrivals
from tests.web.asking import Ask, ask_all, get
from tests.web.fake_worker import FakeWorker
from tests.web.live_cluster import Live, on_cluster

SOURCE, CONTEXT = "IN", "CONTEXT"
EVENTS = Settings().batch_events_topic


def worker_of(*standings: Standing) -> FakeWorker:
    worker = FakeWorker()
    worker.settings = Settings(source_topics=(SOURCE,), context_topics=(CONTEXT,))
    worker.owned = list(standings)
    return worker


def standing(topic: str, partition: int, lag: int | None) -> Standing:
    return Standing(topic, partition, 0, lag, lag, None)


def test_the_lag_is_that_of_the_source_topics_and_the_applications_own_is_apart() -> None:
    rows = [standing(SOURCE, 0, 3), standing(SOURCE, 1, 4), standing(CONTEXT, 0, 50), standing(EVENTS, 0, 7)]
    answer = get(worker_of(*rows), "/sources")
    assert [(row["topic"], row["lag"]) for row in answer["sources"]] == [(SOURCE, 7)]
    assert (answer["internal_lag"], answer["incomplete"]) == (7, [])


def test_a_lag_that_is_not_known_of_each_partition_is_null() -> None:
    answer = get(worker_of(standing(SOURCE, 0, 3), standing(SOURCE, 1, None)), "/sources")
    assert ([row["lag"] for row in answer["sources"]], answer["internal_lag"]) == ([None], None)


@pytest.mark.parametrize(
    ("ago", "gap", "overdue"),
    [(100.0, 30.0, True), (80.0, 30.0, False), (100.0, None, False), (9.0, 0.1, False), (11.0, 0.1, True)],
)
def test_a_topic_is_overdue_after_three_usual_gaps(
    ago: float, gap: float | None, overdue: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 5000.0)
    worker = worker_of()
    worker.topics.coming = {SOURCE: Arrivals(5000.0 - ago, gap)}
    (row,) = get(worker, "/sources")["sources"]
    assert row == {
        "topic": SOURCE, "lag": None, "last_message_at": 5000.0 - ago, "usual_gap": gap, "overdue": overdue,
    }  # fmt: skip


def test_what_kafka_does_not_tell_is_null_and_it_is_not_asked_again_within_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = worker_of(standing(SOURCE, 0, 3))
    worker.topics.is_away = True
    (row,) = get(worker, "/sources")["sources"]
    assert (row["lag"], row["last_message_at"], row["usual_gap"], row["overdue"]) == (3, None, None, False)
    monkeypatch.setattr(sources, "_ASK_AGAIN", 1e9)
    worker.topics.is_away = False
    worker.topics.read.clear()
    ask_all(worker, [Ask("/sources")] * 5)
    assert worker.topics.read == ["arrivals"]


def test_all_workers_have_the_samples_of_the_first_and_keep_them_when_it_has_gone() -> None:
    workers = [FakeWorker(number) for number in range(3)]
    for number, worker in enumerate(workers):
        topics = worker.settings.source_topics[0], worker.settings.batch_events_topic
        worker.owned = [standing(topic, number, 10**number) for topic in topics]

    async def test(live: list[Live]) -> None:
        ranked = sorted(live, key=lambda one: one.worker.url)
        kept: list[Lags] = [one.web.state.lags for one in ranked]
        for at in (1000.0, 1010.0, 1020.0):
            for lags in kept:
                await lags.take(at)
        due = [Lag(at=at, sources=111, internal=111) for at in (1000, 1010, 1020)]
        assert [lags.samples() for lags in kept] == [due] * 3
        for one in ranked[1:]:
            del one.worker.others[ranked[0].worker.url]
        await kept[1].take(1030.0)
        await kept[2].take(1030.0)
        owned = sum(10 ** next(iter(one.worker.records)) for one in ranked[1:])
        assert [lags.samples() for lags in kept[1:]] == [[*due, Lag(at=1030, sources=owned, internal=owned)]] * 2
        fresh = Lags(ranked[1].worker, ranked[1].web.state.cluster)  # it has started again, and is the first now
        await fresh.take(1040.0)
        assert fresh.samples()[:-1] == kept[2].samples()

    on_cluster(workers, test)


def test_an_hour_of_lags_is_kept_and_what_is_not_known_is_null() -> None:
    worker = worker_of(standing(SOURCE, 0, 3), standing(EVENTS, 0, 2))
    lags = Lags(worker, Cluster(worker))
    asyncio.run(lags.take(1000.0))
    worker.owned = []
    asyncio.run(lags.take(1010.0))
    assert [(lag.at, lag.sources, lag.internal) for lag in lags.samples()] == [(1000, 3, 2), (1010, None, None)]
    for number in range(400):
        asyncio.run(lags.take(1020.0 + 10 * number))
    assert len(lags.samples()) == 360
