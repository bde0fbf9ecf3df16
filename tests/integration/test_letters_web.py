"""Dead letters, late results, settings and partitions of two workers on a real Kafka, asked over HTTP."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.devbroker import DevBroker
from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, GATED, stations_of
from tests.integration.support.model import GATE
from tests.integration.support.waiting import wait_for
from tests.integration.support.web import TOKEN, ask, two_workers
from tests.integration.support.worker import PATIENT, WorkerProcess

pytestmark = pytest.mark.kafka

READER = "a-token-of-those-who-look"
SHARES = {"PATIENT_SHARES": "120"}


def get(worker: WorkerProcess, path: str, **more: Any) -> Any:
    answer = ask(worker, path, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def replay(worker: WorkerProcess, body: Any, token: str = TOKEN) -> Any:
    headers = {"x-operator": "%E5%BC%A0"}
    return ask(worker, "/dead-letters/replay", method="POST", token=token, headers=headers, json=body)


@pytest.fixture(scope="module")
def workers(shared_cluster: Cluster) -> tuple[WorkerProcess, WorkerProcess]:
    """Two workers, three batches that were discarded while a station of each was waited for, and their letters.

    The first three tests look at them in turn, and each leaves what the next ones look for.
    """
    cluster = shared_cluster
    gate = {GATE: str(cluster.folder / "gate")}
    first, second = two_workers(cluster, gate | SHARES, web_read_token=READER)
    stations = [*stations_of(FINE, range(2)), *stations_of(GATED, range(1))]
    batches = [cluster.batch(number, stations) for number in range(3)]
    cluster.send(*batches)
    wait_for(
        lambda: [row["arrived_count"] for row in get(first, "/batches")["batches"]] == [2, 2, 2],
        lambda: f"what is not gated has arrived\n{cluster.logs()}",
    )
    for batch in batches:
        assert ask(first, f"/batches/{batch.batch_id}/discard", method="POST").status_code == 202
    wait_for(lambda: len(cluster.letters()) == 3, lambda: f"three letters\n{cluster.logs()}")
    return first, second


def ids_of(cluster: Cluster) -> list[str]:
    return sorted(letter.name for letter in cluster.letters())


def test_letters_are_found_and_read_by_either_worker(
    shared_cluster: Cluster, workers: tuple[WorkerProcess, WorkerProcess]
) -> None:
    first, second = workers
    due = ids_of(shared_cluster)
    for worker in workers:
        letters = get(worker, "/dead-letters")["letters"]
        assert sorted(letter["batch_id"] for letter in letters) == due
        assert {(letter["reason"], letter["replayed_at"]) for letter in letters} == {("discarded", None)}
    ids, cursor = [], ""
    while cursor is not None:
        page = get(second, f"/dead-letters?limit=2&cursor={cursor}", token=READER)
        ids += [letter["id"] for letter in page["letters"]]
        cursor = page["next"]
    assert ids == [letter["id"] for letter in letters]
    (letter,) = get(first, f"/dead-letters?batch={due[0]}&reason=discarded&since=1h")["letters"]
    assert due[0] in get(second, f"/dead-letters/{letter['id']}")["value"]
    assert ask(first, "/dead-letters/0@999999").status_code == 404
    assert get(first, "/dead-letters?until=1h")["letters"] == []


def test_a_letter_is_sent_again_once_by_an_operator_in_his_name(
    shared_cluster: Cluster, workers: tuple[WorkerProcess, WorkerProcess]
) -> None:
    first, second = workers
    batch_id = ids_of(shared_cluster)[0]
    (letter,) = get(first, f"/dead-letters?batch={batch_id}")["letters"]
    wanted = {"ids": [letter["id"]], "dry_run": False}
    assert [replay(first, wanted, token).status_code for token in (READER, "wrong")] == [403, 401]
    dry = replay(first, {"ids": [letter["id"], "0@999999"]})
    assert (dry.status_code, dry.json()["letters"]) == (
        200,
        [
            {"id": letter["id"], "to": shared_cluster.output, "would": "send", "why": None},
            {"id": "0@999999", "to": None, "would": "unknown", "why": "there is no such letter"},
        ],
    )
    before = time.time()
    done = replay(second, wanted)
    (row,) = done.json()["letters"]
    assert (done.status_code, row["would"]) == (202, "sent")
    assert row["to"].startswith(f"{shared_cluster.output}[")
    wait_for(shared_cluster.outputs, lambda: f"it is published\n{shared_cluster.logs()}")
    (output,) = shared_cluster.outputs()
    assert (output.name, output.json["meta"]["completed_by"]) == (batch_id, "operator")
    assert (output.json["meta"]["operator"]["action"], output.json["meta"]["operator"]["by"]) == ("replay", "张")
    (again,) = replay(first, wanted).json()["letters"]
    assert again["would"] == "sent-before"
    for worker in workers:
        (marked,) = get(worker, f"/dead-letters?batch={batch_id}")["letters"]
        assert before - 1 <= marked["replayed_at"] <= time.time() + 1
        (published,) = get(worker, f"/batches/{batch_id}/output")["outputs"]
        assert (published["value"], f"{published['topic']}[{published['partition']}]@{published['offset']}") == (
            output.json,
            row["to"],
        )
        assert get(worker, f"/batches/{batch_id}/timeline")["events"][-1]["event"] == "published"
    wait_for(lambda: "sent again by operator 张" in second.log, "it is in the log")
    assert TOKEN not in first.log + second.log
    assert READER not in first.log + second.log


def test_late_results_are_found_by_either_worker(
    shared_cluster: Cluster, workers: tuple[WorkerProcess, WorkerProcess]
) -> None:
    due = ids_of(shared_cluster)
    assert get(workers[0], "/late") == {"late": [], "next": None}
    (shared_cluster.folder / "gate").touch()
    wait_for(lambda: len(shared_cluster.late_records()) == 3, lambda: f"three late results\n{shared_cluster.logs()}")
    for worker in workers:
        late = get(worker, "/late")["late"]
        assert sorted(one["batch_id"] for one in late) == due
        times = [one["timestamp"] for one in late]
        assert times == sorted(times, reverse=True)
        (one,) = get(worker, f"/late?batch={due[1]}&station={late[0]['station_id']}&reason=batch-closed")["late"]
        assert (one["batch_id"], one["status"]) == (due[1], "result")


@pytest.mark.chaos
def test_settings_and_partitions_are_told_of_both_workers_by_either(cluster: Cluster) -> None:
    first = cluster.start({"web_token": TOKEN, "concurrency": "7"}, SHARES, PATIENT).wait_ready()
    second = cluster.start({"web_token": TOKEN}, SHARES, PATIENT).wait_ready()
    wait_for(
        lambda: all(one["ready"] and one["partitions"] for one in get(first, "/cluster")["workers"]),
        lambda: f"both own partitions\n{cluster.logs()}",
    )
    cluster.send(*[cluster.batch(number, stations_of(FINE, range(2))) for number in range(4)])
    cluster.wait_out()
    cluster.wait_settled()
    for worker in (first, second):
        settings = get(worker, "/settings")
        assert (settings["settings"]["AGG_WEB_TOKEN"], settings["incomplete"]) == ("***", [])
        assert settings["differences"]["AGG_CONCURRENCY"] == {first.url: 7, second.url: 64}
        assert "AGG_WEB_PORT" not in settings["differences"]

        def all_done() -> bool:
            rows = get(worker, "/partitions")["partitions"]  # noqa: B023 - called within the turn
            return all(row["lag"] == 0 and row["committed"] == row["end"] for row in rows)

        wait_for(all_done, lambda: f"nothing is left to do\n{cluster.logs()}")
        answer = get(worker, "/partitions")
        rows = answer["partitions"]
        assert answer["incomplete"] == []
        assert {row["worker"] for row in rows} == {first.url, second.url}
        own = [(row["topic"], row["partition"]) for row in rows]
        assert own == sorted(set(own))
        topics = (cluster.source, f"{cluster.app_id}-batch-events", f"{cluster.app_id}-station-events")
        assert own == sorted((topic, number) for topic in topics for number in range(4))
        assert {(row["recovering"], row["oldest_unacknowledged_at"]) for row in rows} == {(False, None)}


@pytest.mark.chaos
def test_while_the_broker_does_not_answer_topics_are_503(tmp_path: Path) -> None:
    with DevBroker(tmp_path / "kafka") as broker, Cluster(broker, tmp_path) as cluster:
        worker = cluster.start({"web_token": TOKEN}).wait_ready()
        silent = psutil.Process(broker.pid)
        silent.suspend()
        try:
            for path in ("/dead-letters", "/dead-letters/0@0", "/late"):
                answer = ask(worker, path)
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "broker-away")
        finally:
            silent.resume()
        wait_for(lambda: ask(worker, "/dead-letters").status_code == 200, lambda: f"it is back\n{cluster.logs()}")
