"""Two workers on a real Kafka, asked over HTTP: either answers for both."""

from __future__ import annotations

import time
from typing import Any

import httpx
import psutil
import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.commands import command_of
from tests.integration.support.data import FINE, GATED, stations_of
from tests.integration.support.model import GATE
from tests.integration.support.waiting import wait_for
from tests.integration.support.web import TOKEN, ask, two_workers
from tests.integration.support.worker import WorkerProcess

pytestmark = pytest.mark.kafka

# Seconds that workers have to answer each other where all of them do: their 1.4 are soon over on a busy machine.
SHARES = {"PATIENT_SHARES": "120"}


def gate_of(cluster: Cluster) -> dict[str, str]:
    return {GATE: str(cluster.folder / "gate")}


def open_batches(cluster: Cluster, count: int) -> list[str]:
    """So many batches that stay open."""
    stations = [*stations_of(FINE, range(2)), *stations_of(GATED, range(1))]
    batches = [cluster.batch(number, stations) for number in range(count)]
    cluster.send(*batches)
    return sorted(batch.batch_id for batch in batches)


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return sorted(row["batch_id"] for row in answer.json()["batches"])


Workers = tuple[WorkerProcess, WorkerProcess, list[str]]


@pytest.fixture(scope="module")
def workers(shared_cluster: Cluster) -> Workers:
    """Two workers, and the batches that are open there; who looks at all of them comes before who ends some."""
    first, second = two_workers(shared_cluster, gate_of(shared_cluster) | SHARES)
    due = open_batches(shared_cluster, 24)
    wait_for(
        lambda: [row["arrived_count"] for row in ask(first, "/batches?status=open").json()["batches"]] == [2] * 24,
        lambda: f"all are open, and what is not gated has arrived\n{shared_cluster.logs()}",
    )
    return first, second, due


def test_either_worker_shows_the_batches_of_both(workers: Workers) -> None:
    first, second, due = workers
    assert ids(ask(first, "/batches?status=open")) == due
    own = [ids(ask(worker, "/batches?local=true")) for worker in (first, second)]
    assert all(own)
    assert sorted(own[0] + own[1]) == due

    for worker in (first, second):
        answer = ask(worker, "/batches").json()
        assert {row["worker"] for row in answer["batches"]} == {first.url, second.url}
        assert (answer["next"], answer["incomplete"]) == (None, [])
        for batch_id in (own[0][0], own[1][0]):
            detail = ask(worker, f"/batches/{batch_id}").json()
            assert (detail["batch_id"], detail["missing"]) == (batch_id, ["W-0"])
        assert ask(worker, "/batches/unknown").status_code == 404
    assert ask(first, f"/batches/{own[1][0]}?local=true").status_code == 404

    pages, cursor = [], ""
    while cursor is not None:
        answer = ask(first, f"/batches?limit=5&cursor={cursor}").json()
        pages += [row["batch_id"] for row in answer["batches"]]
        cursor = answer["next"]
    assert sorted(pages) == due
    assert pages == [row["batch_id"] for row in ask(second, "/batches").json()["batches"]]


def test_a_worker_listens_on_one_port_and_has_no_page_of_fausts(cluster: Cluster) -> None:
    worker = cluster.start({"web_token": TOKEN}).wait_ready()
    listening = [one.laddr for one in psutil.Process(worker.process.pid).net_connections() if one.status == "LISTEN"]
    assert [f"http://{address.ip}:{address.port}" for address in listening] == [worker.url]
    for path in ("/table/", "/table", "/router/", "/graph/", "/stats/", "/livecheck/", "/production/", "/dashboard"):
        assert ask(worker, path).status_code == 404
        assert ask(worker, path, token=None).status_code == 401


@pytest.mark.chaos
def test_a_worker_that_does_not_answer_is_named_and_not_waited_for(cluster: Cluster) -> None:
    first, second = two_workers(cluster, gate_of(cluster))
    due = open_batches(cluster, 24)
    wait_for(lambda: ids(ask(first, "/batches")) == due, lambda: f"all are open\n{cluster.logs()}")
    (own, other) = (ids(ask(worker, "/batches?local=true")) for worker in (first, second))

    second.pause()
    try:
        answer = ask(first, "/batches")  # it would be waited for until it goes on, but for the deadline
        assert ids(answer) == own
        assert answer.json()["incomplete"] == [second.url]
        away = ask(first, f"/batches/{other[0]}")
        assert (away.status_code, away.json()["error"]["code"]) == (504, "owner-away")
        assert second.url in away.json()["error"]["message"]
    finally:
        second.resume()
    wait_for(lambda: ids(ask(first, "/batches")) == due, lambda: f"both answer again\n{cluster.logs()}")


def test_actions_reach_batches_of_either_worker_through_the_other(shared_cluster: Cluster, workers: Workers) -> None:
    cluster, (first, second, due) = shared_cluster, workers
    complete, discard, extend, *_ = ids(ask(second, "/batches?local=true"))

    def act(batch_id: str, action: str, token: str | None = TOKEN, **more: Any) -> httpx.Response:
        path = f"/batches/{batch_id}/{action}"
        return ask(first, path, method="POST", token=token, headers={"x-operator": "%E5%BC%A0"}, **more)

    for token in (None, "wrong"):
        assert {act(batch_id, "complete", token).status_code for batch_id in (complete, "unknown")} == {401}
    before = time.time()
    assert act(extend, "extend", json={"seconds": 5}).status_code == 202
    assert act(complete, "complete").status_code == 202
    assert act(discard, "discard").status_code == 202
    wait_for(lambda: len(ids(ask(first, "/batches?status=closed"))) == 2, lambda: f"closed\n{cluster.logs()}")

    wait_for(lambda: complete in cluster.out(), lambda: f"published\n{cluster.logs()}")
    (output,) = [message for message in cluster.outputs() if message.name == complete]
    meta = output.json["meta"]
    assert (meta["status"], meta["completed_by"], meta["missing"]) == ("partial", "operator", ["W-0"])
    assert (meta["operator"]["action"], meta["operator"]["by"]) == ("complete", "张")
    assert before <= meta["operator"]["at"] <= time.time()
    wait_for(cluster.letters, lambda: f"a dead letter\n{cluster.logs()}")
    assert [(letter.name, letter.header("reason")) for letter in cluster.letters()] == [(discard, "discarded")]
    row = ask(first, f"/batches/{extend}").json()
    assert row["deadline"] - row["opened_at"] == pytest.approx(1005.0)
    assert ids(ask(second, "/batches?status=open")) == sorted(set(due) - {complete, discard})
    for action in ("complete", "discard", "extend"):
        assert act(complete, action, json={"seconds": 1}).status_code == 409
        assert act("unknown", action, json={"seconds": 1}).status_code == 404
    assert TOKEN not in first.log + second.log


def test_the_batches_command_finds_the_workers_of_the_app_id_by_the_broker(cluster: Cluster) -> None:
    batches = command_of(cluster, "batches")
    nobody = batches()
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert nobody.stderr.startswith(f"no worker of AGG_APP_ID={cluster.app_id} is in its group at ")
    worker = cluster.start(None, gate_of(cluster))
    worker.wait_ready()
    (batch_id,) = open_batches(cluster, 1)
    wait_for(lambda: worker.ask("/batches")["batches"], "the batch is open")
    listed = batches()
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.splitlines()[1].split()[:2] == [batch_id, "open"]
