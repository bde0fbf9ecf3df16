"""A result handler of the user's that sends by itself, over crashes between its steps."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import EMPTY, FINE, SentBatch, stations_of
from tests.integration.support.model import HANDLER_CALLS, HANDLER_GATE, SIDE_TOPIC
from tests.integration.support.reconcile import distinct
from tests.integration.support.waiting import PATIENCE, wait_for
from tests.integration.support.worker import WorkerProcess

pytestmark = pytest.mark.kafka

BATCHES = 60


@pytest.mark.chaos
def test_a_handlers_payload_comes_out_once_for_each_batch_whenever_the_worker_is_killed(cluster: Cluster) -> None:
    side, gate, calls = f"side-{cluster.app_id}", cluster.folder / "gate", cluster.folder / "calls"
    cluster.create_topic(side, 2)
    calls.touch()

    def start() -> WorkerProcess:
        settings = {
            "result_handler": "tests.integration.support.model:sending_handler",
            "handler_timeout": "1000",
        }
        environment = {SIDE_TOPIC: side, HANDLER_GATE: str(gate), HANDLER_CALLS: str(calls)}
        return cluster.start(settings, environment).wait_ready()

    worker = start()
    cluster.send(*(batch for batch in batches(cluster, range(10))))
    wait_for(lambda: called(calls) == dict.fromkeys(cluster.sent, 1), lambda: f"all were called\n{worker.tail()}")
    worker.kill()  # all of them have sent, and none has returned
    assert cluster.out() == set()

    gate.touch()
    worker = start()
    load = cluster.send_steadily(batches(cluster, range(10, BATCHES)), pause=0.02)
    cluster.wait_out_count(25)
    worker.kill()  # anywhere
    start()
    load.result(PATIENCE)

    cluster.wait_out()
    cluster.wait_settled()
    cluster.workers[-1].terminate()
    cluster.read_to_end()
    outputs = distinct(cluster.outputs(), ("revision", "part"))
    assert len(outputs) == len(cluster.outputs()), "no crash makes a second copy unavoidable"
    assert {output.name: output.json for output in outputs} == {
        name: {"batch": name, "count": 8, "status": "complete"} for name in cluster.sent
    }
    assert set(called(calls)) == set(cluster.sent)
    assert all(called(calls)[batch.batch_id] >= 2 for batch in batches(cluster, range(10)))
    cluster.assert_clean_logs()


def batches(cluster: Cluster, numbers: range) -> list[SentBatch]:
    stations = [*stations_of(FINE, range(8)), *stations_of(EMPTY, range(2))]
    return [cluster.batch(number, stations) for number in numbers]


def called(calls: Path) -> Counter[str]:
    return Counter(calls.read_text().split())
