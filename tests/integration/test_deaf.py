"""A worker that its group does not answer any more, though the broker does."""

from __future__ import annotations

import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, stations_of
from tests.integration.support.waiting import wait_for
from tests.integration.support.worker import WorkerProcess

pytestmark = pytest.mark.kafka

BUG = 70


def live(worker: WorkerProcess) -> bool:
    return worker.answers("/healthz")


@pytest.mark.chaos
def test_it_is_not_ready_then_not_live_then_it_ends_and_a_new_one_does_the_work(cluster: Cluster) -> None:
    deaf = cluster.folder / "deaf"
    worker = cluster.start(
        {"callback": "tests.integration.support.deaf:callback"}, {"MODEL_DEAF": str(deaf)}
    ).wait_ready()
    assert live(worker)
    deaf.touch()
    wait_for(lambda: not worker.ready, "the group has not heard of it for a session")
    wait_for(lambda: not live(worker), f"it says that it is in trouble\n{worker.tail()}")
    cluster.send(*(cluster.batch(number, stations_of(FINE, range(5))) for number in range(5)))
    assert worker.wait_exit() == BUG
    assert "the group has not answered this worker's heartbeats" in worker.log

    cluster.start().wait_ready()
    cluster.wait_out()
