"""Restarts while a backlog is worked off and tables recover: the case in which Faust's own consumer loses work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.stock import OURS, SLOW_SEEK, STOCK_APP
from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, stations_of
from tests.integration.support.model import DELAY
from tests.integration.support.waiting import wait_for
from tests.integration.support.worker import Program, WorkerProcess
from tests.shared_brokers import SharedBroker

pytestmark = pytest.mark.kafka

BACKLOG = 1_000  # messages
VALUES = [b"%d" % number for number in range(2 * BACKLOG)]
# Faust takes no web_enabled=False from the application: its web page would want 0.0.0.0:6066, which others may have.
STOCK = Program(SLOW_SEEK, STOCK_APP, ("--without-web",))


@pytest.mark.chaos
def test_twenty_thousand_stations_survive_restart_after_restart(cluster: Cluster) -> None:
    def start() -> None:
        cluster.start(environment={DELAY: "0.08"}, program=Program(SLOW_SEEK)).wait_ready()

    cluster.send(*(cluster.batch(number, stations_of(FINE, range(100))) for number in range(200)))
    for end in ("kill", "terminate", "kill"):
        start()
        cluster.wait_out_count(len(cluster.out()) + 15)
        assert len(cluster.out()) < 200, "work was unfinished"
        getattr(cluster.workers[-1], end)()
    start()

    report = cluster.finish()
    assert str(report) == "200 complete, 0 partial, 0 copies, 0 late"


def lost_messages(cluster: Cluster, environment: dict[str, str], is_done: Callable[[], bool]) -> set[int]:
    """Restart the small application of `stock` within a backlog, to which more is added: what never comes out?"""

    def start() -> WorkerProcess:
        return cluster.start(environment=environment, program=STOCK)

    for topic in (cluster.output, cluster.late, cluster.dead_letters):
        cluster.create_topic(topic)
    cluster.send_raw(cluster.source, *VALUES[:BACKLOG])
    worker = start()
    wait_for(lambda: len(cluster.outputs()) > BACKLOG // 10, lambda: f"some are out\n{worker.tail()}")
    worker.terminate()
    worker = start()
    wait_for(lambda: "Worker ready" in worker.log, lambda: f"recovered\n{worker.tail()}")
    cluster.send_raw(cluster.source, *VALUES[BACKLOG:])
    wait_for(is_done, lambda: f"all done\n{worker.tail()}")
    worker.terminate()
    cluster.read_to_end()
    out = {message.value for message in cluster.outputs()}
    return {int(value) for value in VALUES if value not in out}


@pytest.mark.chaos
def test_fausts_own_consumer_passes_over_messages_of_a_backlog(kafka_broker: SharedBroker, tmp_path: Path) -> None:
    """Without this the next test could not fail.

    It acknowledges them, too. Once, on a busy machine, it had not acknowledged all for 240 s: what it passes over may
    also lie behind what is acknowledged, which then ends there.
    """
    with Cluster(kafka_broker, tmp_path, source_partitions=1) as cluster:

        def is_done() -> bool:
            out = {message.value for message in cluster.outputs()}
            if VALUES[-1] not in out:
                return False
            first_lost = next((int(value) for value in VALUES if value not in out), None)
            return cluster.committed(cluster.source).get(0) in {first_lost, len(VALUES)}

        assert len(lost_messages(cluster, {}, is_done)) > BACKLOG // 10


@pytest.mark.chaos
def test_our_consumer_acknowledges_none_of_them_before_it_is_done(kafka_broker: SharedBroker, tmp_path: Path) -> None:
    with Cluster(kafka_broker, tmp_path, source_partitions=1) as cluster:
        assert lost_messages(cluster, {OURS: "yes"}, lambda: not cluster.behind([cluster.source])) == set()
