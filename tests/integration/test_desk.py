"""What an operator asks of two workers on a real Kafka, and that the death of one changes no answer."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import EMPTY, FAILS, FINE, stations_of
from tests.integration.support.model import GATE
from tests.integration.support.waiting import wait_for
from tests.integration.support.web import TOKEN, ask
from tests.integration.support.worker import WorkerProcess

pytestmark = pytest.mark.kafka

COUNTS = ("station_id", "arrivals", "misses", "failures", "empties")
STATIONS = [*stations_of(FINE, range(3)), *stations_of(EMPTY, range(1)), *stations_of(FAILS, range(1))]


def mortal_workers(cluster: Cluster, environment: dict[str, str]) -> tuple[WorkerProcess, WorkerProcess]:
    """Two workers that both own partitions; the group does not wait long for one that has died."""
    workers = [cluster.start({"web_token": TOKEN}, environment) for _ in range(2)]
    for worker in workers:
        worker.wait_ready()

    def shared() -> bool:
        members = [ask(worker, "/cluster").json().get("workers", []) for worker in workers]
        return all(len(seen) == 2 and all(one["ready"] and one["partitions"] for one in seen) for seen in members)

    wait_for(shared, lambda: f"both own partitions\n{cluster.logs()}")
    return workers[0], workers[1]


def whole(worker: WorkerProcess, path: str) -> Any:
    """The answer as soon as all workers have a part in it, and Kafka has answered: a busy machine takes its time."""
    answers: list[Any] = []

    def is_whole() -> bool:
        answers.append(ask(worker, path))
        body = answers[-1].json()
        of_kafka = [
            body.get("late", 0),
            body.get("last_record", 0),
            *(one["timestamp"] for one in body.get("sources", ())),
        ]
        return answers[-1].status_code == 200 and body.get("incomplete", []) == [] and None not in of_kafka

    wait_for(is_whole, lambda: f"{path} is whole: {answers[-1].text}\n{worker.tail()}")
    return answers[-1].json()


def figures(worker: WorkerProcess, query: str) -> Any:
    stats = whole(worker, f"/stats?{query}")
    return {key: stats[key] for key in ("completed_by", "discarded", "late", "dead_letters", "duration")}


def counts(worker: WorkerProcess, query: str) -> Any:
    """What is counted of stations, but for durations, which are in the memory of the workers that ran callbacks."""
    rows = whole(worker, f"/stations?{query}")["stations"]
    return sorted(tuple(row[key] for key in COUNTS) for row in rows)


def samples(worker: WorkerProcess, begun: float, ended: float) -> Any:
    """The samples of the test, but for lag, which stands nowhere in Kafka by time."""
    kept = [one for one in whole(worker, "/history")["samples"] if begun < one["at"] <= ended]
    return [{key: value for key, value in one.items() if not key.endswith("lag")} for one in kept]


def arrivals(worker: WorkerProcess) -> Any:
    """The source topics once nothing of them is left to do."""
    answers: list[Any] = []

    def is_done() -> bool:
        answers.append(ask(worker, "/sources").json())
        return all(one["lag"] == 0 and one["last_message_at"] is not None for one in answers[-1]["sources"])

    wait_for(is_done, lambda: f"the lag is 0: {answers[-1]}\n{worker.tail()}")
    return [(one["topic"], one["last_message_at"], one["usual_gap"]) for one in answers[-1]["sources"]]


@pytest.mark.chaos
def test_either_worker_tells_what_became_of_batches_and_stations_also_when_one_has_died(  # noqa: PLR0915 - one story
    cluster: Cluster,
) -> None:
    gate = cluster.folder / "gate"
    begun = time.time()
    first, second = mortal_workers(cluster, {GATE: str(gate)})
    batches = [cluster.batch(number, STATIONS) for number in range(12)]
    cluster.send(*batches)
    cluster.wait_out(batches)
    late = [cluster.batch(100 + number, ["R-1", "W-7"]) for number in range(4)]
    cluster.send(*late)
    due = sorted(batch.batch_id for batch in late)

    def waiting() -> list[str]:
        rows = whole(first, "/batches?station=W-7&status=open")["batches"]
        return sorted(row["batch_id"] for row in rows if row["arrived_count"] == 1)

    wait_for(lambda: waiting() == due, lambda: f"{due} wait for W-7\n{cluster.logs()}")
    for batch_id in due[:3]:
        assert ask(second, f"/batches/{batch_id}/complete", method="POST").status_code == 202
    assert ask(second, f"/batches/{due[3]}/discard", method="POST").status_code == 202
    wait_for(lambda: len(cluster.out()) == 15, lambda: f"three are out\n{cluster.logs()}")
    gate.touch()  # the callbacks of W-7 end, too late
    wait_for(lambda: len(cluster.late_records()) == 4, lambda: f"four are late\n{cluster.logs()}")
    wait_for(lambda: len(cluster.letters()) == 13, lambda: f"letters: {len(cluster.letters())}\n{cluster.logs()}")
    cluster.wait_settled()
    ended = time.time() + 1.0
    query = f"since={begun}&until={ended}"

    def told(worker: WorkerProcess) -> Any:
        partial, batch_id = due[0], batches[0].batch_id
        found = {
            "figures": figures(worker, query),
            "hour": figures(worker, ""),
            "none": figures(worker, f"until={begun - 1}"),
            "stations": counts(worker, query),
            "samples": samples(worker, begun, ended - 1.0),
            "arrivals": arrivals(worker),
            "by operators": ids(worker, "completed_by=operator"),
            "by station": ids(worker, "station=W-7"),
            "by id": ids(worker, f"q={batch_id[-6:]}&since={begun}"),
            "output": whole(worker, f"/batches/{batch_id}/output")["outputs"],
            "station": [(one["batch_id"], one["status"]) for one in whole(worker, "/stations/W-7")["outcomes"]],
            "record": whole(worker, "/stations/W-7")["last_record"],
            "failed": {(one["status"], one["error"]) for one in whole(worker, "/stations/F-0")["outcomes"]},
        }
        timeline = whole(worker, f"/batches/{partial}/timeline")
        found["sources"] = timeline["sources"]
        found["events"] = [(one["event"], one["station_id"], one["status"], one["by"]) for one in timeline["events"]]
        return found

    def ids(worker: WorkerProcess, conditions: str) -> list[str]:
        return sorted(row["batch_id"] for row in whole(worker, f"/batches?{conditions}")["batches"])

    before = told(first)
    assert told(second) == before
    assert before["figures"]["completed_by"] == {"all": 12, "timeout": 0, "ratio": 0, "operator": 4}
    assert (before["figures"]["discarded"], before["figures"]["late"], before["figures"]["dead_letters"]) == (1, 4, 13)
    assert before["hour"] == before["figures"]
    ((topic, last, gap),) = before["arrivals"]
    assert (topic, begun - 1 < last < ended, 0 < gap < ended - begun) == (cluster.source, True, True)
    assert ("W-7", 0, 4, 0, 0) in before["stations"]
    assert ("R-1", 16, 0, 0, 0) in before["stations"]
    assert {counted[:2] for counted in before["stations"] if counted[3] or counted[4]} == {("E-0", 12), ("F-0", 12)}
    assert before["none"]["completed_by"]["all"] == before["none"]["late"] == before["none"]["dead_letters"] == 0
    assert before["by operators"] == before["by station"] == due
    assert before["by id"] == [batches[0].batch_id]
    assert sorted(before["station"]) == [(batch_id, "missing") for batch_id in due]
    assert before["record"]["stationId"] == "W-7"
    assert {status for status, _ in before["failed"]} == {"failed"}
    (output,) = before["output"]
    (published,) = [one for one in cluster.outputs() if one.name == batches[0].batch_id]
    assert output["value"] == published.json
    assert (output["headers"]["completed-by"], output["parts"]) == ("all", 1)
    (source,) = before["sources"]
    assert source["topic"] == cluster.source
    assert begun - 1 < source["timestamp"] < ended
    assert before["events"] == [
        ("opened", None, None, None),
        ("station", "R-1", "result", None),
        ("closed", None, "partial", "127.0.0.1"),
        ("published", None, None, None),
        ("late", "W-7", "result", None),
    ]
    starts = [one["started_at"] for one in whole(first, f"/batches/{due[0]}/timeline")["events"] if one["station_id"]]
    assert all(begun < started_at < ended for started_at in starts)

    second.kill()
    wait_for(
        lambda: [one["url"] for one in whole(first, "/cluster")["workers"] if one["partitions"]] == [first.url],
        lambda: f"one has all\n{first.tail()}",
    )
    wait_for(lambda: ask(first, "/readyz", token=None).status_code == 200, lambda: f"ready\n{first.tail()}")
    assert told(first) == before
    first.kill()
    third = cluster.start({"web_token": TOKEN}, {GATE: str(gate)}).wait_ready()
    assert told(third) == before
    assert third.running


def test_an_output_that_the_topic_has_let_go_of_is_no_longer_kept(cluster: Cluster) -> None:
    worker = cluster.start({"web_token": TOKEN}).wait_ready()
    batch = cluster.batch(0, STATIONS)
    cluster.send(batch)
    cluster.wait_out()
    path = f"/batches/{batch.batch_id}/output"
    wait_for(lambda: whole(worker, path)["outputs"], "the worker knows that it is out, too")
    (output,) = whole(worker, path)["outputs"]
    cluster.delete_records(output["offset"] + 1, cluster.output, output["partition"])
    answers: list[httpx.Response] = []

    def is_gone() -> bool:
        answers.append(ask(worker, path))
        return answers[-1].status_code == 404

    wait_for(is_gone, lambda: f"it is gone: {answers[-1].text}")
    assert answers[-1].json()["error"]["code"] == "no-longer-kept"
    assert ask(worker, "/batches/unknown/output").json()["error"]["code"] == "unknown-batch"
    timeline = whole(worker, f"/batches/{batch.batch_id}/timeline")["events"]
    assert [one["offset"] for one in timeline if one["event"] == "published"] == [None]
