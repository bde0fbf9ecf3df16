"""Workers with a name (AGG_INSTANCE_ID): back at once after kill -9; of two with one name the older one ends."""

from __future__ import annotations

import signal

import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, stations_of
from tests.integration.support.waiting import PATIENCE, wait_for
from tests.integration.support.worker import PATIENT, WorkerProcess

pytestmark = pytest.mark.kafka

STATIONS = stations_of(FINE, range(8))


def start(cluster: Cluster, name: str, port: int | None = None) -> WorkerProcess:
    own = {"instance_id": name} | ({} if port is None else {"web_port": str(port)})
    return cluster.start(own, program=PATIENT)


def two(cluster: Cluster) -> tuple[WorkerProcess, WorkerProcess]:
    """Two that have two partitions each, and are ready with them."""
    first, second = start(cluster, "one"), start(cluster, "two")
    for worker in (first, second):
        worker.wait_ready()

    def shares() -> list[int]:
        return [len(one["partitions"]) for one in second.ask("/cluster")["workers"] if one["ready"]]

    wait_for(lambda: shares() == [2, 2], lambda: f"both are ready\n{cluster.logs()}")
    return first, second


def test_a_killed_worker_that_comes_back_under_its_name_goes_on_without_a_rebalance(cluster: Cluster) -> None:
    first, second = two(cluster)
    cluster.send(*(cluster.batch(number, STATIONS) for number in range(10)))
    cluster.wait_out()
    joined = first.log.count("Worker ready")
    second.kill()
    start(cluster, "two", int(second.url.rpartition(":")[2])).wait_ready()
    cluster.send(*(cluster.batch(number, STATIONS) for number in range(10, 20)))
    cluster.wait_out()
    assert first.log.count("Worker ready") == joined, "the others have noticed nothing"
    assert str(cluster.finish()) == "20 complete, 0 partial, 0 copies, 0 late"


@pytest.mark.chaos
@pytest.mark.parametrize("paused", [False, True])
def test_of_two_with_one_name_the_older_one_ends_and_says_why(cluster: Cluster, paused: bool) -> None:
    first = start(cluster, "one").wait_ready()
    # It commits all the time: a commit must not take the name back before a heartbeat tells that it has gone.
    load = cluster.send_steadily([cluster.batch(number, STATIONS) for number in range(100, 250)], pause=0.1)
    cluster.wait_out_count(5)
    if paused:
        first.pause()
    second = start(cluster, "one").wait_ready()
    if paused:
        first.resume()
    assert first.wait_exit() == 1
    assert "another worker has joined the group under the name one, so this one ends" in first.log
    load.result(PATIENCE)
    report = cluster.finish(copies_allowed=True)
    assert str(report).startswith("150 complete, 0 partial, ")
    assert second.process.returncode == 0


@pytest.mark.chaos
def test_a_named_worker_that_stops_leaves_its_partitions_at_once(cluster: Cluster) -> None:
    first, second = two(cluster)
    second.process.send_signal(signal.SIGTERM)
    second.wait_exit()
    wait_for(lambda: len(first.log.split("Worker ready, partitions: ")[-1].split("]")[0].split(",")) == 4, first.tail)
    cluster.send(*(cluster.batch(number, STATIONS) for number in range(10)))
    cluster.wait_out()
    assert str(cluster.finish()) == "10 complete, 0 partial, 0 copies, 0 late"
