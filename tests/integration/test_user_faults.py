"""What users' functions do wrong, on a real Kafka: a worker goes on, and all of it comes to a letter."""

from __future__ import annotations

import json

import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.waiting import wait_for
from tests.integration.support.worker import REPOSITORY

pytestmark = pytest.mark.kafka

MODEL = """
import asyncio
import sys


async def callback(station_id, module_input):
    kind = station_id[0]
    columns = next(iter(module_input.values()))
    if kind == "P":
        print("load of", station_id, 1.5)
    if kind == "X":
        columns["meters"][0]["kwh"] = {1}
        raise KeyError("soc")
    if kind == "T":
        await asyncio.gather(leave(), asyncio.sleep(0.1))
    if kind == "C":
        asyncio.current_task().cancel()
        await asyncio.sleep(1)
    return {"load": 1.5}


async def leave():
    sys.exit(0)


async def rows():
    for row in []:
        yield row


async def handler(batch_id, batch_results_list):
    return {"row": await anext(rows())}
"""
TIME = "2025-11-14 10:00:00"


def test_a_worker_outlives_its_functions_and_every_station_comes_to_something(cluster: Cluster) -> None:
    (cluster.folder / "faulty.py").write_text(MODEL)
    settings = {"callback": "faulty:callback", "result_handler": "faulty:handler", "handler_retries": "1"}
    worker = cluster.start(settings, {"PYTHONPATH": f"{cluster.folder}:{REPOSITORY}"}).wait_ready()
    records = [{"stationId": f"{kind}-1", "sendTime": TIME, "meters": {"kwh": "3.5"}} for kind in "PXTC"]
    cluster.send_raw(cluster.source, json.dumps(records).encode())
    cluster.wait_settled()
    wait_for(lambda: len(cluster.letters()) >= 4, worker.tail)  # the handler runs outside the partition's loop
    letters = {letter.header("station-id"): letter for letter in cluster.letters()}
    assert set(letters) == {"X-1", "T-1", "C-1", ""}
    assert letters["X-1"].json == {cluster.source: [records[1]]}
    assert "SystemExit" in letters["T-1"].header("error")
    assert "CancelledError" in letters["C-1"].header("error")
    assert letters[""].header("reason") == "handler-failed"
    assert "StopAsyncIteration" in letters[""].header("error")
    assert worker.process.poll() is None
    (line,) = [line for line in worker.log.splitlines() if "load of" in line]
    assert "faulty:callback (station P-1) prints: load of P-1 1.5" in line
    worker.terminate()
