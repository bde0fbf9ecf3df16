"""A worker on a real Kafka, without any fault: what goes in, and what comes out."""

from __future__ import annotations

import time
from pathlib import Path

import orjson
import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import EMPTY, FAILS, FINE, GATED, stations_of
from tests.integration.support.model import GATE
from tests.integration.support.waiting import wait_for

pytestmark = pytest.mark.kafka

MODEL = """
import asyncio

async def callback(station_id, module_input):
    return {"A": {"result": 123}, "B": None, "C": {"result": 789}}[station_id]
"""


def test_the_contracts_example_comes_out_as_the_contract_shows_it(cluster: Cluster) -> None:
    (cluster.folder / "mymodel.py").write_text(MODEL)
    here = f"{cluster.folder}:{Path(__file__).parents[2]}"
    worker = cluster.start({"callback": "mymodel:callback"}, {"PYTHONPATH": here}).wait_ready()
    records = [
        {"stationId": name, "sendTime": "2025-11-14 10:00:00", "outputPowerPerStationAvg": 1.5} for name in "ABC"
    ]

    before = time.time()
    cluster.send_raw(cluster.source, orjson.dumps({cluster.source: records}), key=b"plant")
    wait_for(cluster.outputs, lambda: f"an output\n{worker.tail()}")
    after = time.time()

    batch_id = f"{cluster.source}_1763085600"
    (output,) = cluster.outputs()
    payload = output.json
    meta = payload["meta"]
    assert output.key == batch_id.encode()
    assert output.headers == (("completed-by", b"all"), ("revision", b"1"), ("part", b"1"), ("parts", b"1"))
    assert before <= meta["opened_at"] <= meta["closed_at"] <= after
    assert meta["deadline"] - meta["opened_at"] == pytest.approx(1000.0)
    assert payload == {
        "batch_id": batch_id,
        "module": "load_prediction",
        "timestamp": meta["closed_at"],
        "stations": [{"station_id": "A", "result": 123}, {"station_id": "C", "result": 789}],
        "station_count": 2,
        "meta": {
            "status": "complete",
            "completed_by": "all",
            "revision": 1,
            "expected_count": 3,
            "arrived_count": 3,
            "missing": [],
            "failed": [],
            "empty": ["B"],
            "opened_at": meta["opened_at"],
            "deadline": meta["deadline"],
            "closed_at": meta["closed_at"],
            "part": 1,
            "parts": 1,
        },
    }
    worker.terminate()
    cluster.read_to_end()
    assert cluster.letters() == cluster.late_records() == []
    cluster.assert_clean_logs()


def test_many_batches_come_out_once_with_results_empties_and_failures(cluster: Cluster) -> None:
    cluster.start().wait_ready()
    stations = [*stations_of(FINE, range(40)), *stations_of(EMPTY, range(3)), *stations_of(FAILS, range(2))]
    cluster.send(*(cluster.batch(number, stations) for number in range(100)))

    report = cluster.finish()

    assert str(report) == "100 complete, 0 partial, 0 copies, 0 late"


def test_a_batch_is_out_at_its_deadline_although_no_message_comes_any_more(cluster: Cluster) -> None:
    gate = cluster.folder / "gate"
    cluster.start(environment={GATE: str(gate)}).wait_ready()
    batch = cluster.batch(0, stations_of(GATED, range(1)), headers={"batch-timeout": "5"})
    cluster.send(batch)

    cluster.wait_out()
    (output,) = cluster.outputs()
    meta = output.json["meta"]
    assert meta["missing"] == ["W-0"]
    assert meta["deadline"] - meta["opened_at"] == pytest.approx(5.0)
    assert meta["closed_at"] >= meta["deadline"]

    gate.touch()
    wait_for(cluster.late_records, "the late result")
    (late,) = cluster.late_records()
    assert (late.name, late.header("station-id"), late.json["status"]) == (batch.batch_id, "W-0", "result")
    assert str(cluster.finish()) == "0 complete, 1 partial, 0 copies, 1 late"
