"""Agents, timers, tables, commands and pages of the user's own beside the pipeline, on a real Kafka."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.commands import command_of
from tests.integration.support.data import FINE, stations_of
from tests.integration.support.waiting import PATIENCE, wait_for
from tests.integration.support.worker import REPOSITORY, Program, WorkerProcess, clean_environment, fetch
from tests.shared_brokers import SharedBroker

pytestmark = pytest.mark.kafka

STATIONS = stations_of(FINE, range(3))
MINE = Program(app="mymodule")
MODULE = """
import asyncio
from pathlib import Path

import faust
from faust.types import TP

from app import create_app

app = create_app()
HERE = Path(__file__).parent


class Order(faust.Record):
    number: int


orders = app.topic({mine!r}, value_type=Order)
counts = app.Table("counts", default=int, partitions=2)


def note(name, text):
    with (HERE / name).open("a") as file:
        file.write(f"{{text}}\\n")

"""


def write_module(cluster: Cluster, mine: str, code: str) -> None:
    (cluster.folder / "mymodule.py").write_text(MODULE.format(mine=mine) + code)


def order(number: int) -> bytes:
    return json.dumps({"number": number}).encode()


def noted(cluster: Cluster, name: str) -> list[str]:
    path = cluster.folder / name
    return path.read_text().splitlines() if path.exists() else []


def wait_for_notes(cluster: Cluster, name: str, wanted: set[str]) -> None:
    wait_for(
        lambda: wanted <= set(noted(cluster, name)),
        lambda: f"{name}: {sorted(wanted - set(noted(cluster, name)))[:20]} are missing\n{cluster.logs()}",
    )


def topic_of(cluster: Cluster, name: str, partitions: int = 2) -> str:
    topic = f"{name}-{cluster.app_id}"
    cluster.create_topic(topic, partitions)
    return topic


def behind(cluster: Cluster, topic: str) -> object:
    return cluster.behind([topic])


def test_an_agent_gets_each_message_and_goes_on_where_it_was(cluster: Cluster) -> None:
    mine = topic_of(cluster, "orders")
    write_module(
        cluster,
        mine,
        """
@app.agent(orders)
async def take(stream):
    async for order in stream:
        counts["all"] += 1
        note("orders", f"{order.number}")

@app.timer(0.1)
async def tick():
    note("ticks", "tick")

@app.timer(0.1, on_leader=True)
async def lead():
    note("leads", "tick")

@app.task
async def begin():
    note("begins", "begun")

@app.page("/orders/{name}")
async def show(self, request, name):
    return self.json({"name": name, "asked": request.query.get("asked"), "count": counts["all"]})

@app.command()
async def place():
    await orders.send(value=Order(number=77))
""",
    )
    worker = cluster.start(program=MINE).wait_ready()
    cluster.send_raw(mine, *map(order, range(50)))
    cluster.send(*(cluster.batch(number, STATIONS) for number in range(5)))
    wait_for_notes(cluster, "orders", {str(number) for number in range(50)})
    wait_for_notes(cluster, "ticks", {"tick"})
    wait_for_notes(cluster, "leads", {"tick"})
    assert noted(cluster, "begins") == ["begun"]
    assert worker.ask("/orders/all?asked=yes") | {"count": 0} == {"name": "all", "asked": "yes", "count": 0}
    assert status_of(worker, "/table/", None) == HTTPStatus.NOT_FOUND
    place_order(cluster)
    wait_for_notes(cluster, "orders", {"77"})
    wait_for(lambda: not behind(cluster, mine), lambda: f"{behind(cluster, mine)}\n{cluster.logs()}")
    worker.terminate()
    assert sorted(map(int, noted(cluster, "orders"))) == [*range(50), 77], "each once"
    cluster.send_raw(mine, *map(order, range(100, 120)))
    cluster.start(program=MINE).wait_ready()
    wait_for_notes(cluster, "orders", {str(number) for number in range(100, 120)})
    assert len(noted(cluster, "orders")) == 71, "what was acknowledged is not read again"
    cluster.finish()


def place_order(cluster: Cluster) -> None:
    """`faust -A mymodule place`, as a user runs it."""
    done = command_of(cluster, "place", "mymodule")()
    assert done.returncode == 0, done.stderr


@pytest.mark.chaos
def test_an_agent_that_raises_or_hangs_holds_nothing_of_the_pipeline_up(cluster: Cluster) -> None:
    mine, other = topic_of(cluster, "orders"), topic_of(cluster, "hanging")
    write_module(
        cluster,
        mine,
        f"""
@app.agent(orders)
async def fail(stream):
    async for order in stream:
        note("orders", f"{{order.number}}")
        raise RuntimeError("an agent of the user's")

@app.agent(app.topic({other!r}, value_type=Order))
async def hang(stream):
    async for order in stream:
        note("hanging", f"{{order.number}}")
        await asyncio.sleep(1e6)
""",
    )
    cluster.send_raw(other, *map(order, range(5_000)))
    cluster.send_raw(mine, *map(order, range(150)))
    cluster.send_raw(mine, b"this is no JSON")
    worker = cluster.start(program=MINE).wait_ready()
    wait_for(lambda: noted(cluster, "hanging"), lambda: f"the agent has not begun\n{cluster.logs()}")
    cluster.send(*(cluster.batch(number, STATIONS) for number in range(20)))
    cluster.wait_out()
    wait_for_notes(cluster, "orders", {str(number) for number in range(150)})
    assert worker.running
    second = cluster.start(program=MINE).wait_ready()
    cluster.send(*(cluster.batch(number, STATIONS) for number in range(20, 30)))
    cluster.wait_out()
    cluster.wait_settled()
    assert all(done == 0 for done in cluster.committed(other).values()), "nothing of it has been done"
    for one in (worker, second):
        one.terminate()
    cluster.finish(clean_logs=False)


@pytest.mark.chaos
def test_a_timer_that_raises_ends_the_worker_and_loses_nothing(cluster: Cluster) -> None:
    write_module(
        cluster,
        topic_of(cluster, "orders"),
        """
@app.timer(1.0)
async def fail():
    if not (HERE / "mended").exists():
        raise RuntimeError("a timer of the user's")
""",
    )
    cluster.send(*(cluster.batch(number, STATIONS) for number in range(20)))
    worker = cluster.start(program=MINE)
    assert worker.wait_exit() == 1
    assert "a timer of the user's" in worker.log
    (cluster.folder / "mended").touch()
    cluster.start(program=MINE).wait_ready()
    cluster.finish(clean_logs=False, copies_allowed=True)


@pytest.mark.chaos
def test_an_agent_may_rewind_its_topic(cluster: Cluster) -> None:
    mine = topic_of(cluster, "orders", 1)
    write_module(
        cluster,
        mine,
        f"""
rewound = []

@app.agent(orders)
async def take(stream):
    async for order in stream:
        note("orders", f"{{order.number}}")
        if order.number == 9 and not rewound:
            rewound.append(True)
            await app.consumer.seek(TP({mine!r}, 0), 0)
""",
    )
    worker = cluster.start(program=MINE).wait_ready()
    cluster.send_raw(mine, *map(order, range(10)))
    wait_for(lambda: len(noted(cluster, "orders")) >= 20, lambda: f"{noted(cluster, 'orders')}\n{cluster.logs()}")
    cluster.send(*(cluster.batch(number, STATIONS) for number in range(5)))
    cluster.send_raw(mine, order(10))
    wait_for_notes(cluster, "orders", {"10"})
    wait_for(lambda: not behind(cluster, mine), lambda: f"{behind(cluster, mine)}\n{cluster.logs()}")
    worker.terminate()
    assert noted(cluster, "orders") == [*map(str, range(10)), *map(str, range(10)), "10"]
    cluster.start(program=MINE).wait_ready()
    cluster.finish()


def test_pages_need_the_token_and_do_not_stand_in_for_ours(cluster: Cluster) -> None:
    mine = topic_of(cluster, "orders")
    write_module(
        cluster,
        mine,
        """
@app.page("/mine")
async def show(self, request):
    return self.text("mine")
""",
    )
    worker = cluster.start({"web_token": "secret"}, program=MINE).wait_ready()
    assert status_of(worker, "/mine", None) == 401
    assert status_of(worker, "/mine", "secret") == 200
    worker.terminate()
    write_module(cluster, mine, "@app.page('/batches/{name}')\nasync def show(self, request, name): ...\n")
    refused = cluster.start(program=MINE)
    assert refused.wait_exit() == 2
    assert "@app.page('/batches/{name}'): this application serves a page there" in refused.log


def status_of(worker: WorkerProcess, path: str, token: str | None) -> int:
    request = urllib.request.Request(  # noqa: S310 - our own worker
        f"{worker.url}{path}", headers={"Authorization": f"Bearer {token}"} if token else {}
    )
    return fetch(request)[0]


@pytest.mark.chaos
@pytest.mark.chaos
def test_the_example_runs(cluster: Cluster) -> None:
    """`examples/own_agent.py`, as docs/python.md says."""
    for name in ("own_agent.py", "load_model.py"):
        shutil.copy(REPOSITORY / "examples" / name, cluster.folder / name)
    model = (cluster.folder / "load_model.py").read_text()
    (cluster.folder / "load_model.py").write_text(model.replace("SCHEDULE-STATION-REALTIME-DATA", cluster.source))
    worker = cluster.start({"callback": ""}, program=Program(app="own_agent"))
    worker.wait_ready()
    wait_for(lambda: "42" in read_after_sending(cluster, worker), cluster.logs)
    worker.terminate()


def read_after_sending(cluster: Cluster, worker: WorkerProcess) -> str:
    done = command_of(cluster, "send-price", "own_agent")(callback="")
    assert done.returncode == 0, done.stderr
    return worker.read("/prices/A")


@pytest.mark.chaos
def test_a_command_that_sends_to_a_topic_that_is_not_there_says_so_in_a_line(
    strict_broker: SharedBroker, tmp_path: Path
) -> None:
    code = """
@app.command()
async def send_one():
    await orders.send(value=Order(number=1))
"""
    with Cluster(strict_broker, tmp_path) as cluster:
        write_module(cluster, "NOWHERE", code)
    done = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "mymodule", "send-one"],
        cwd=cluster.folder,
        env=clean_environment(broker=strict_broker.url, app_id=cluster.app_id, callback="x:y"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1, done
    assert done.stderr == "there is no topic NOWHERE, and the broker does not create it: create it, or name another\n"
