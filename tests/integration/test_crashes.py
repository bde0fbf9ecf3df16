"""Workers that are killed, stopped and started while there is work to do: nothing is lost, nothing comes out twice."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.kafka.members import worker_urls
from tests.integration.support.cluster import Cluster
from tests.integration.support.data import EMPTY, FINE, GATED, SentBatch, stations_of
from tests.integration.support.letters import settings_of
from tests.integration.support.model import DELAY, GATE
from tests.integration.support.waiting import PATIENCE, wait_for
from tests.integration.support.worker import CLOCK_AHEAD, FAUST_APP, LATER, WorkerProcess

pytestmark = pytest.mark.kafka

SHORT, AHEAD = 500.0, 1000.0  # seconds of a batch that is to be overdue, and to the clock by which it is


def open_batches(worker: WorkerProcess) -> dict[str, int]:
    """Batches that a worker holds open, with the count of stations that have arrived."""
    rows = worker.ask("/batches?status=open&limit=1000&local=true")["batches"]
    return {row["batch_id"]: row["arrived_count"] for row in rows}


def test_open_batches_of_a_killed_worker_come_out_after_its_restart_overdue_ones_at_once(cluster: Cluster) -> None:
    gate = cluster.folder / "gate"
    stations = [*stations_of(FINE, range(8)), *stations_of(EMPTY, range(2)), *stations_of(GATED, range(3))]
    short = [cluster.batch(number, stations, headers={"batch-timeout": str(SHORT)}) for number in range(10)]
    patient = [cluster.batch(number, stations, headers={"batch-timeout": "3000"}) for number in range(10, 20)]
    settings, environment = {"max_batch_age": "3600"}, {GATE: str(gate)}
    worker = cluster.start(settings, environment).wait_ready()
    cluster.send(*short, *patient)
    due = {batch.batch_id: 10 for batch in (*short, *patient)}
    wait_for(lambda: open_batches(worker) == due, lambda: f"all are open\n{worker.tail()}")
    worker.kill()
    overdue_at = time.time() + SHORT
    cluster.read_to_end()
    assert cluster.out() == set()

    cluster.start(settings, environment | {CLOCK_AHEAD: str(AHEAD)}, LATER).wait_ready()
    cluster.wait_out(short)
    cluster.read_to_end()
    assert cluster.out() == {batch.batch_id for batch in short}
    gate.touch()

    report = cluster.finish()
    assert str(report).startswith("10 complete, 10 partial, 0 copies, ")
    assert_closed_at_once(cluster, short, overdue_at)


def assert_closed_at_once(cluster: Cluster, batches: list[SentBatch], overdue_at: float) -> None:
    """Their deadlines, which are kept, are what was to be; they are closed when they could be."""
    ids = {batch.batch_id for batch in batches}
    metas = [message.json["meta"] for message in cluster.outputs() if message.name in ids]
    assert all(meta["deadline"] - meta["opened_at"] == pytest.approx(SHORT) for meta in metas)
    assert all(meta["closed_at"] > overdue_at > meta["deadline"] for meta in metas)


@pytest.mark.chaos
def test_a_rebalance_under_load_neither_loses_nor_repeats_a_batch(cluster: Cluster) -> None:
    slowly = {DELAY: "0.02"}
    stations = [*stations_of(FINE, range(60)), *stations_of(EMPTY, range(2))]
    first = cluster.start(environment=slowly).wait_ready()
    load = cluster.send_steadily([cluster.batch(number, stations) for number in range(600)], pause=0.05)
    cluster.wait_out_count(50)
    second = cluster.start(environment=slowly).wait_ready()
    cluster.wait_out_count(len(cluster.out()) + 60)
    assert not load.done()
    first.terminate()
    cluster.start(environment=slowly).wait_ready()
    cluster.wait_out_count(len(cluster.out()) + 60)
    assert not load.done()
    second.kill()
    load.result(PATIENCE)

    report = cluster.finish()
    assert str(report) == "600 complete, 0 partial, 0 copies, 0 late"


@pytest.mark.chaos
def test_a_worker_that_was_stopped_and_comes_back_neither_loses_nor_changes_what_its_successor_did(
    cluster: Cluster,
) -> None:
    slowly = {DELAY: "0.05"}
    stations = stations_of(FINE, range(50))
    zombie = cluster.start(environment=slowly).wait_ready()
    load = cluster.send_steadily([cluster.batch(number, stations) for number in range(100)], pause=0.05)
    cluster.wait_out_count(20)
    zombie.pause()
    assert not load.done()
    cluster.start(environment=slowly).wait_ready()
    load.result(PATIENCE)
    cluster.wait_out()  # its successor has all partitions
    zombie.resume()
    cluster.send(*(cluster.batch(number, stations) for number in range(100, 150)))
    cluster.wait_out()
    zombie.wait_ready()

    report = cluster.finish(copies_allowed=True, clean_logs=False)
    print(report)  # noqa: T201 - the count of copies
    assert (report.complete, report.partial, report.late) == (150, 0, 0)


@pytest.mark.chaos
def test_what_a_forgotten_worker_had_in_memory_alone_is_stored_before_it_is_acknowledged(cluster: Cluster) -> None:
    """It gets its partitions straight back, for there is no other, reads the same again, and is killed."""
    gate = cluster.folder / "gate"
    gated = {GATE: str(gate)}
    stations = [*stations_of(FINE, range(10)), *stations_of(GATED, range(1))]
    sole = cluster.start(environment=gated, program=FAUST_APP).wait_ready()  # the session as users have it
    batches = [cluster.batch(number, stations) for number in range(300)]
    load = cluster.send_steadily(batches, pause=0.02)
    wait_for(
        lambda: len(sole.ask("/batches?status=open&limit=1000")["batches"]) > 100,
        lambda: f"a hundred batches are open\n{sole.tail()}",
    )
    sole.pause()
    assert not load.done()
    wait_for(lambda: asyncio.run(worker_urls(settings_of(cluster))) == [], "the group has forgotten the worker")
    sole.resume()
    load.result(PATIENCE)
    applied = [cluster.source, f"{cluster.app_id}-batch-events"]
    wait_for(lambda: not cluster.behind(applied), lambda: f"still behind: {cluster.behind(applied)}\n{sole.tail()}")
    sole.kill()
    gate.touch()
    cluster.start(environment=gated)

    report = cluster.finish(copies_allowed=True, clean_logs=False)
    assert (report.complete, report.partial, report.late) == (300, 0, 0)
