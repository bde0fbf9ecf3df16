"""Workers of this version and of a next one share a group, and go on with what the other one has stored.

The next one is this one with a field more in each frame and each record (tests/integration/support/next_version.py):
shown is that the readers pass over what they do not know and that nothing on the way drops or mixes it up, not that a
version which is still to be written keeps to that. What released versions have written stands in tests/recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from app.kafka.topics import changelog_topic, ensure_topics
from tables.storage.records import Table
from tests.further import further
from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, GATED, SentBatch, stations_of
from tests.integration.support.letters import settings_of
from tests.integration.support.model import GATE
from tests.integration.support.next_version import ADDED
from tests.integration.support.waiting import PATIENCE, wait_for
from tests.integration.support.worker import Program, WorkerProcess

pytestmark = pytest.mark.kafka

NEXT = Program("tests.integration.support.next_version")
STATIONS = [*stations_of(FINE, range(20)), *stations_of(GATED, range(2))]
NEWER = "it has format version 2, and this program reads 1: a newer version of the application wrote it; start that one"


def hold(cluster: Cluster, batches: Sequence[SentBatch], *workers: WorkerProcess) -> None:
    """Send batches, and wait until all that can come of them has: two stations of each are missing."""

    def arrived() -> int:
        rows = [
            row for worker in workers for row in worker.ask("/batches?status=open&limit=1000&local=true")["batches"]
        ]
        ids = {batch.batch_id for batch in batches}
        return sum(row["arrived_count"] for row in rows if row["batch_id"] in ids)

    cluster.send(*batches)
    due = len(batches) * (len(STATIONS) - 2)
    wait_for(lambda: arrived() == due, lambda: f"{arrived()} of {due} have arrived\n{cluster.logs()}")


@pytest.mark.chaos
def test_workers_of_two_versions_replace_each_other_with_batches_open(cluster: Cluster) -> None:
    gate = cluster.folder / "gate"
    environment = {GATE: str(gate)}
    batches = [cluster.batch(number, STATIONS) for number in range(30)]

    before = cluster.start(environment=environment).wait_ready()
    hold(cluster, batches[:10], before)
    newer = cluster.start(environment=environment, program=NEXT).wait_ready()
    wait_for(lambda: before.ready and newer.ready, cluster.logs)
    hold(cluster, batches[10:20], before, newer)
    before.kill()
    wait_for(lambda: newer.ready, newer.tail)
    hold(cluster, batches[20:], newer)
    newer.kill()
    cluster.start(environment=environment).wait_ready()  # back to the version of before
    gate.touch()

    assert str(cluster.finish()) == "30 complete, 0 partial, 0 copies, 0 late"
    topics = [f"{cluster.app_id}-{name}" for name in ("station-events", "batch-events")]
    for topic in (*topics, changelog_topic(cluster.app_id, Table.BATCHES)):
        found = values_of(cluster, topic)
        assert any(ADDED in value for value in found), f"{topic}: the next version has written"
        assert any(ADDED not in value for value in found), f"{topic}: this version has written"


def values_of(cluster: Cluster, topic: str) -> list[bytes]:
    """All values of a topic."""
    return [one.value for one in cluster.read_topic(topic) if one.value is not None]


@pytest.mark.parametrize("topic", ["batch-events", *further("station-events"), "batches-changelog"])
def test_what_a_newer_version_has_written_is_named_and_ends_the_worker(cluster: Cluster, topic: str) -> None:
    asyncio.run(ensure_topics(settings_of(cluster), patience=PATIENCE))
    cluster.send_raw(f"{cluster.app_id}-{topic}", b'{"v":2,"events":[]}', key=b"b")
    worker = cluster.start()
    assert worker.wait_exit() == 1, worker.tail()
    (line,) = [line for line in worker.log.splitlines() if "CRITICAL" in line]
    assert NEWER in line
    assert ("table batches, partition" if "changelog" in topic else f"{cluster.app_id}-{topic}[") in line
    assert "Traceback" not in worker.log
    assert not any(cluster.committed(f"{cluster.app_id}-{topic}").values())
    assert cluster.letters() == []
