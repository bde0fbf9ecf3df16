"""Where callbacks run, on a real Kafka: what hangs or dies delays no other station, no rebalance and no shutdown."""

from __future__ import annotations

import signal

import psutil
import pytest

from tests.further import further
from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FAILS, FINE, HANGS, stations_of
from tests.integration.support.waiting import PATIENCE, wait_for
from tests.integration.support.worker import REPOSITORY

pytestmark = pytest.mark.kafka

MODEL = f"""
import asyncio
import os
import time

DIES = os.environ["AGG_EXECUTOR"] == "process"


async def waiting(station_id, module_input):
    if station_id[0] == "{HANGS}":
        await asyncio.Event().wait()
    return failing(station_id)


def blocking(station_id, module_input):
    while station_id[0] == "{HANGS}":
        time.sleep(0.01)
    return failing(station_id)


def many(inputs):
    return {{station_id: blocking(station_id, module_input) for station_id, module_input in inputs.items()}}


def failing(station_id):
    if station_id[0] == "{FAILS}":
        if DIES:
            os._exit(7)
        raise ValueError("exit code 7")
    return {{"power": 1}}
"""

FORKING_MODEL = """
import multiprocessing
import time


def callback(station_id, module_input):
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    process.terminate()
    process.join()
    return {"code": process.exitcode}
"""


@pytest.mark.parametrize(
    ("executor", "function"),
    [
        ("auto", "waiting"),
        *further(("thread", "waiting"), ("process", "blocking"), ("process", "many")),
    ],
)
def test_callbacks_that_hang_or_fail_delay_nothing_else(cluster: Cluster, executor: str, function: str) -> None:
    (cluster.folder / "hanging.py").write_text(MODEL)
    key = "batch_callback" if function == "many" else "callback"
    settings = {"callback": ""} | {
        key: f"hanging:{function}",
        "batch_callback_size": "2",
        "executor": executor,
        "executor_workers": "2",
        "concurrency": "2",
    }
    here = {"PYTHONPATH": f"{cluster.folder}:{REPOSITORY}"}
    worker = cluster.start(settings, here).wait_ready()
    hung, fine, failing = stations_of(HANGS, range(4)), stations_of(FINE, range(6)), stations_of(FAILS, range(2))

    # A station that is called together with one that hangs hangs with it, and its next call waits for that one.
    hanging = hung if function == "many" else [*hung, *fine]
    cluster.send(cluster.batch(0, hanging, headers={"batch-timeout": "6"}))
    cluster.wait_out()
    cluster.send(cluster.batch(1, [*fine, *failing]))  # the hung ones have more than all places, and give them up
    cluster.wait_out()
    by_id = {output.name: output.json["meta"] for output in cluster.outputs()}
    first, second = (by_id[cluster.batch(number, []).batch_id] for number in range(2))
    assert set(hung) <= set(first["missing"])
    assert second["missing"] == []
    failed = {one["station_id"]: one["error"] for one in second["failed"]}
    assert set(failing) <= set(failed) <= ({*failing, *fine} if function == "many" else {*failing})
    assert all("exit code 7" in error for error in failed.values())

    other = cluster.start(settings, here).wait_ready()  # a rebalance with callbacks that hang
    wait_for(lambda: worker.ready, lambda: f"both are ready\n{cluster.logs()}")
    cluster.send(*(cluster.batch(number, fine) for number in range(2, 6)))
    cluster.wait_out()

    children = psutil.Process(worker.process.pid).children(recursive=True)
    assert bool(children) == (executor == "process")
    worker.terminate()
    assert psutil.wait_procs(children, timeout=PATIENCE)[1] == []
    other.terminate()
    cluster.assert_clean_logs()


def test_processes_end_with_a_worker_that_is_killed(cluster: Cluster) -> None:
    (cluster.folder / "hanging.py").write_text(MODEL)
    settings = {"callback": "hanging:blocking", "executor": "process", "executor_workers": "2"}
    worker = cluster.start(settings, {"PYTHONPATH": f"{cluster.folder}:{REPOSITORY}"}).wait_ready()
    cluster.send(cluster.batch(0, [*stations_of(HANGS, range(1)), *stations_of(FINE, range(1))]))
    wait_for(
        lambda: [row["arrived_count"] for row in worker.ask("/batches?local=true")["batches"]] == [1],
        lambda: f"one hangs\n{worker.tail()}",
    )
    children = psutil.Process(worker.process.pid).children(recursive=True)
    assert len(children) == 2
    worker.process.send_signal(signal.SIGKILL)
    assert psutil.wait_procs(children, timeout=PATIENCE)[1] == []


@pytest.mark.parametrize("executor", [*further("thread"), "process"])
def test_a_pool_of_a_callback_ends_its_processes_and_not_the_worker(cluster: Cluster, executor: str) -> None:
    (cluster.folder / "forking.py").write_text(FORKING_MODEL)
    settings = {"callback": "forking:callback", "executor": executor, "executor_workers": "2"}
    worker = cluster.start(settings, {"PYTHONPATH": f"{cluster.folder}:{REPOSITORY}"}).wait_ready()
    cluster.send(*(cluster.batch(number, stations_of(FINE, range(3))) for number in range(3)))
    cluster.wait_out()
    assert [output.json["meta"]["status"] for output in cluster.outputs()] == ["complete"] * 3
    assert worker.process.poll() is None
    worker.terminate()


def test_a_callback_that_a_process_can_not_import_ends_the_worker_with_exit_code_2(cluster: Cluster) -> None:
    source = 'import sys\nif sys.flags.safe_path: raise RuntimeError("no weights here")\ndef callback(*_): ...\n'
    (cluster.folder / "needy.py").write_text(source)
    settings = {"callback": "needy:callback", "executor": "process"}
    worker = cluster.start(settings, {"PYTHONPATH": f"{cluster.folder}:{REPOSITORY}"})
    assert worker.wait_exit() == 2
    assert "AGG_CALLBACK=needy:callback: importing needy failed with RuntimeError: no weights here" in worker.log
