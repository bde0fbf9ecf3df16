"""A station that was never run in a batch that lives on: its letter is made of the source message, on a real Kafka."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, GATED, SentBatch, stations_of
from tests.integration.support.model import GATE
from tests.integration.support.waiting import wait_for
from tests.integration.support.worker import WorkerProcess

pytestmark = pytest.mark.kafka


SHORT = 10.0  # seconds of a message whose batch gets more from another one, which comes meanwhile


def row_of(worker: WorkerProcess, batch: SentBatch) -> dict[str, Any]:
    """A batch as the worker shows it, empty when it does not yet."""
    rows = worker.ask("/batches")["batches"]
    return next((row for row in rows if row["batch_id"] == batch.batch_id), {})


@pytest.mark.chaos
def test_a_skipped_station_of_a_batch_that_a_supplement_has_extended_has_a_letter_with_its_records(
    cluster: Cluster,
) -> None:
    gate = cluster.folder / "gate"
    worker = cluster.start(None, {GATE: str(gate)}).wait_ready()
    gated = stations_of(GATED, range(2))
    cluster.send(cluster.batch(0, gated))
    wait_for(lambda: worker.ask("/batches?status=open")["batches"], worker.tail)
    waiting = cluster.batch(1, gated, headers={"batch-timeout": str(SHORT)}, window=3)
    cluster.send(waiting)
    cluster.send_raw(cluster.source, cluster.batch(1, stations_of(FINE, range(7, 8))).value)
    wait_for(lambda: row_of(worker, waiting).get("expected_count") == 3, worker.tail)
    # Its stations wait for their calls of before until this message's time is up, which is not its batch's any more.
    wait_for(lambda: time.time() > row_of(worker, waiting)["opened_at"] + SHORT + 0.1, worker.tail)
    gate.touch()
    cluster.wait_out()
    cluster.wait_settled()
    cluster.read_to_end()

    (output,) = [one for one in cluster.outputs() if one.name == waiting.batch_id]
    assert [station["station_id"] for station in output.json["stations"]] == ["R-7"]
    assert [failed["station_id"] for failed in output.json["meta"]["failed"]] == gated
    letters = {one.header("station-id"): one for one in cluster.letters()}
    assert set(letters) == set(gated)
    for station, letter in letters.items():
        records = [one for one in orjson.loads(waiting.value)[cluster.source] if one["stationId"] == station]
        assert len(records) == 3
        assert letter.json == {cluster.source: records}
        assert letter.header("reason") == "station-failed"
        assert letter.header("batch-id") == waiting.batch_id
        assert letter.header("error") == "the deadline had passed before the callback started"
    cluster.assert_clean_logs()
