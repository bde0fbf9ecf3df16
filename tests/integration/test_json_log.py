"""What a worker writes that is told to log JSON: one object a line and nothing else, whoever speaks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FAILS, FINE, GATED, SentBatch, stations_of
from tests.integration.support.model import GATE
from tests.integration.support.waiting import wait_for
from tests.integration.support.worker import WorkerProcess

pytestmark = pytest.mark.kafka


def lines(worker: WorkerProcess) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in worker.log.splitlines()]
    assert all(isinstance(entry, dict) for entry in entries)
    return entries


def told_of(worker: WorkerProcess, batch: SentBatch) -> dict[str, dict[str, Any]]:
    """The last line of each event of a batch."""
    return {entry["event"]: entry for entry in lines(worker) if entry.get("batch_id") == batch.batch_id}


def test_every_line_is_an_object_and_says_which_batch_station_and_place(cluster: Cluster) -> None:
    gate = cluster.folder / "gate"
    settings = {"log_format": "json", "log_language": "zh"}
    worker = cluster.start(settings, {GATE: str(gate)}).wait_ready()
    batch = cluster.batch(0, stations_of(FINE, range(2)) + stations_of(FAILS, range(1)) + stations_of(GATED, range(1)))
    late = cluster.batch(1, stations_of(GATED, range(1)), headers={"batch-timeout": "1"})
    cluster.send(batch, late)
    cluster.send_raw(cluster.source, b"nonsense", b"[]")
    cluster.wait_out([late])
    wait_for(lambda: '"event":"batch-progress"' in worker.log.replace(" ", ""), worker.tail)
    gate.touch()
    cluster.wait_out()
    cluster.wait_settled()
    cluster.start(settings).wait_ready().terminate()  # a rebalance, and what Faust and aiokafka say of it
    worker.terminate()

    told = told_of(worker, batch)
    assert set(told) >= {"batch-opened", "batch-progress", "batch-published"}
    told_late = told_of(worker, late)
    assert set(told_late) >= {"batch-opened", "batch-timed-out", "batch-published", "late-result"}
    for entries in (told, told_late):
        log = {(entry["topic"], entry["partition"]) for event, entry in entries.items() if event != "dead-letter"}
        assert [topic for topic, _ in log] == [f"{cluster.app_id}-batch-events"]
    assert told_late["late-result"]["station_id"] == "W-0"
    assert told["batch-opened"]["message"].startswith(f"初始化批次 {batch.batch_id}")

    letters = {entry["reason"]: entry for entry in lines(worker) if entry.get("event") == "dead-letter"}
    assert letters["bad-message"]["topic"] == letters["station-failed"]["topic"] == cluster.source
    assert letters["station-failed"]["station_id"] == "F-0"
    assert {"partition", "offset"} <= letters["bad-message"].keys()
    (empty,) = [entry for entry in lines(worker) if entry.get("event") == "empty-message"]
    assert (empty["topic"], empty["level"]) == (cluster.source, "WARNING")
    assert {"worker-ready", "web", "topics-created"} <= {entry.get("event") for entry in lines(worker)}
    assert [lines(other) for other in cluster.workers]


def test_a_bug_is_told_with_its_traceback_as_a_field(cluster: Cluster) -> None:
    worker = cluster.start({"log_format": "json", "callback": "tests.integration.support.broken:callback"}).wait_ready()
    cluster.send(cluster.batch(0, stations_of(FINE, range(1))))
    assert worker.wait_exit() == 70
    last = lines(worker)[-1]
    assert last["level"] == "CRITICAL"
    assert "this is a bug" in last["message"]
    assert last["exception"].startswith("Traceback (most recent call last):\n")
