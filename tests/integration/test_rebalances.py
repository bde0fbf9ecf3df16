"""Planned rebalances under load: that a worker leaves does not look like a fault to the one that stays."""

from __future__ import annotations

import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, stations_of
from tests.integration.support.waiting import wait_for

pytestmark = pytest.mark.kafka

STATIONS = stations_of(FINE, range(32))
ROUNDS = 3
BATCHES = 100  # a round


@pytest.mark.chaos
def test_workers_leave_under_load_and_nothing_is_suspected_of_having_ended_them(cluster: Cluster) -> None:
    settings = {"batch_timeout": "250"}
    stays = cluster.start(settings).wait_ready()
    for number in range(ROUNDS):
        leaves = cluster.start(settings).wait_ready()
        wait_for(lambda: stays.ready, stays.tail)
        batches = [cluster.batch(number * BATCHES + count, STATIONS) for count in range(BATCHES)]
        load = cluster.send_steadily(batches, pause=0.02)
        cluster.wait_out(batches[:10])
        leaves.terminate()
        load.result()
        group, web = (leaves.log.index(f"{part}]: Stopping") for part in ("ConsumerThread", "WebServer"))
        assert group < web, "the others wait for nothing but the group"
        cluster.wait_out()
    assert "ended where they began" not in stays.log
    assert str(cluster.finish()) == f"{ROUNDS * BATCHES} complete, 0 partial, 0 copies, 0 late"
