"""A callback that ends its worker's process, on a real Kafka: in the end it is failed, and the notes leave no trace."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, GATED, stations_of
from tests.integration.support.model import GATE
from tests.integration.support.reading import admin_client
from tests.integration.support.waiting import wait_for
from tests.integration.support.worker import REPOSITORY

pytestmark = pytest.mark.kafka

MOST_DEATHS = 6
MODEL = """
import os


async def callback(station_id, module_input):
    if station_id == "DEADLY-7":
        os._exit(9)
    return {"power": 1}
"""


def notes(cluster: Cluster) -> dict[int, str]:
    """What stands beside the committed offsets of the station events, by partition."""

    async def read() -> dict[int, str]:
        async with admin_client(cluster.broker.bootstrap) as admin:
            found = await admin.list_consumer_group_offsets(cluster.app_id)
        topic = f"{cluster.app_id}-station-events"
        return {tp.partition: meta.metadata for tp, meta in found.items() if tp.topic == topic and meta.metadata}

    return asyncio.run(read())


@pytest.mark.chaos
def test_a_callback_that_ends_its_worker_at_each_start_is_failed_after_some_and_the_rest_comes_out(
    cluster: Cluster,
) -> None:
    (cluster.folder / "deadly.py").write_text(MODEL)
    settings = {"callback": "deadly:callback"}
    batch = cluster.batch(0, [*stations_of(FINE, range(20)), "DEADLY-7"])
    cluster.send(batch)
    for _ in range(MOST_DEATHS):
        worker = cluster.start(settings, {"PYTHONPATH": f"{cluster.folder}:{REPOSITORY}"})
        wait_for(lambda: not worker.running or bool(cluster.out()), lambda: f"dead or done\n{cluster.logs()}")  # noqa: B023
        if cluster.out():
            break
        assert worker.process.returncode == 9
    (output,) = cluster.outputs()
    assert output.json["meta"]["status"] == "complete"
    assert [one["station_id"] for one in output.json["meta"]["failed"]] == ["DEADLY-7"]
    assert output.json["station_count"] == 20
    assert "have ended where they began" in worker.log
    cluster.wait_settled()
    worker.terminate()
    assert notes(cluster) == {}


@pytest.mark.chaos
def test_a_worker_that_stops_by_itself_takes_its_note_back(cluster: Cluster) -> None:
    gate = cluster.folder / "gate"
    environment = {GATE: str(gate)}
    worker = cluster.start(environment=environment).wait_ready()
    cluster.send(cluster.batch(0, stations_of(GATED, range(8))))
    wait_for(lambda: worker.ask("/batches?status=open")["batches"], lambda: f"it is open\n{worker.tail()}")
    worker.kill()
    worker = cluster.start(environment=environment).wait_ready()
    wait_for(lambda: bool(notes(cluster)), lambda: f"the start is noted\n{worker.tail()}")
    worker.terminate()
    assert notes(cluster) == {}
    gate.touch()
    cluster.start(environment=environment).wait_ready()
    report = cluster.finish()
    assert str(report) == "1 complete, 0 partial, 0 copies, 0 late"
    assert "have ended where they began" not in cluster.logs()
