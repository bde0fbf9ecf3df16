"""A broker that is killed and comes back while workers have work to do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from app.devbroker import DevBroker
from tests.integration.stock import SLOW_SEEK
from tests.integration.support.cluster import Cluster
from tests.integration.support.data import EMPTY, FAILS, FINE, stations_of
from tests.integration.support.waiting import PATIENCE, wait_for
from tests.integration.support.worker import Program
from tests.topic_creation import CREATES_TOPICS

pytestmark = pytest.mark.kafka

STEP = 30.0  # seconds that Faust gives a step of a recovery: `broker_request_timeout` of the application


@pytest.mark.chaos
def test_a_broker_killed_under_load_costs_neither_a_batch_nor_a_copy(tmp_path: Path) -> None:
    with DevBroker(tmp_path / "kafka", overrides=CREATES_TOPICS) as broker, Cluster(broker, tmp_path) as cluster:
        worker = cluster.start().wait_ready()
        stations = [*stations_of(FINE, range(60)), *stations_of(EMPTY, range(2)), *stations_of(FAILS, range(2))]
        load = cluster.send_steadily([cluster.batch(number, stations) for number in range(400)], pause=0.03)
        for _ in range(2):
            cluster.wait_out_count(len(cluster.out()) + 60)
            assert not load.done()
            broker.kill()
            broker.start()
        load.result(PATIENCE)
        cluster.wait_out()
        assert worker.running, f"it waits for the broker\n{worker.tail()}"

        report = cluster.finish(clean_logs=False)
        assert str(report) == "400 complete, 0 partial, 0 copies, 0 late"


def test_a_worker_that_is_stopped_after_its_broker_ends_without_a_traceback(tmp_path: Path) -> None:
    with DevBroker(tmp_path / "kafka") as broker, Cluster(broker, tmp_path) as cluster:
        worker = cluster.start().wait_ready()
        broker.stop()
        worker.terminate()
        assert "Traceback" not in worker.log, worker.tail()


@pytest.mark.chaos
def test_a_broker_that_is_away_for_long_while_a_worker_seeks_ends_no_recovery(tmp_path: Path) -> None:
    with DevBroker(tmp_path / "kafka", overrides=CREATES_TOPICS) as broker, Cluster(broker, tmp_path) as cluster:
        worker = cluster.start(program=Program(SLOW_SEEK))
        wait_for(lambda: "Worker ready" in worker.log, lambda: f"it seeks\n{worker.tail()}")
        broker.kill()
        time.sleep(STEP + 4.0)  # the outage is the test
        broker.start()
        cluster.send(cluster.batch(0, stations_of(FINE, range(4))))
        cluster.wait_out(within=60.0)
        assert str(cluster.finish(clean_logs=False)) == "1 complete, 0 partial, 0 copies, 0 late"
