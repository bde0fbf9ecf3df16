"""A broker that is killed and comes back while workers have work to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.devbroker import DevBroker
from tests.integration.support.cluster import Cluster
from tests.integration.support.data import EMPTY, FAILS, FINE, stations_of
from tests.integration.support.waiting import PATIENCE
from tests.topic_creation import CREATES_TOPICS

pytestmark = pytest.mark.kafka


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
