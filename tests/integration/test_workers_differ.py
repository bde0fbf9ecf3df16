"""Workers of one app id whose settings or clocks differ say so in their logs, on a real Kafka."""

from __future__ import annotations

import re
from itertools import count
from math import copysign

import pytest

from tests.further import further
from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, stations_of
from tests.integration.support.shifted import AHEAD
from tests.integration.support.waiting import wait_for
from tests.integration.support.web import TOKEN, ask
from tests.integration.support.worker import Program, WorkerProcess

pytestmark = pytest.mark.kafka

SHIFTED = Program("tests.integration.support.shifted")
SECRET = "a-secret-of-one-of-them"  # noqa: S105
STATIONS = stations_of(FINE, range(4))
SETTINGS_DIFFER = "have other settings than this one"
CLOCKS_DIFFER = "Clocks of other workers differ"


def wait_warning(cluster: Cluster, worker: WorkerProcess, words: str) -> str:
    """Wait until it is told, and return the one line."""
    wait_for(lambda: warnings(worker, words), lambda: f"it is told\n{cluster.logs()}")
    (line,) = warnings(worker, words)
    return line


def warnings(worker: WorkerProcess, words: str) -> list[str]:
    return [line for line in worker.log.splitlines() if words in line]


def gauge(worker: WorkerProcess, name: str, token: str) -> float:
    (value,) = re.findall(rf"^batch_aggregator_{name} (\S+)$", ask(worker, "/metrics", token=token).text, re.MULTILINE)
    return float(value)


def seen_from(one: WorkerProcess, other: WorkerProcess) -> list[float]:
    """The other's clock as the web and the metrics of the one tell it, in whole seconds.

    Each question makes it surer: it is known to half of the quickest answer.
    """
    (shown,) = (row["clock_offset"] for row in ask(one, "/cluster").json()["workers"] if row["url"] == other.url)
    return [float(round(seconds)) for seconds in (shown, gauge(one, "clock_offset_seconds", TOKEN))]


@pytest.mark.parametrize("name", ["", *further("{}")])
def test_other_settings_are_told_in_both_logs_though_the_webs_refuse_each_other(cluster: Cluster, name: str) -> None:
    def named(number: int) -> dict[str, str]:
        return {"instance_id": f"w{number}"} if name else {}

    cluster.create_topic(f"{cluster.source}-weather")
    first = cluster.start({"web_token": TOKEN} | named(1)).wait_ready()
    other = {
        "web_token": SECRET,
        "web_advertised_url": "http://127.0.0.1:9",
        "module": "price",
        "batch_timeout": "7",
        "context_topics": f"{cluster.source}-weather",
    }
    second = cluster.start(other | named(2)).wait_ready()
    for worker in (first, second):
        line = wait_warning(cluster, worker, SETTINGS_DIFFER)
        assert "): AGG_CONTEXT_TOPICS, AGG_MODULE, AGG_BATCH_TIMEOUT;" in line
        assert "WARN" in line
        assert "price" not in line
    assert gauge(first, "settings_differ", TOKEN) == gauge(second, "settings_differ", SECRET) == 3.0
    rows = ask(first, "/cluster").json()["workers"]
    assert [row["differs"] for row in rows] == [["AGG_CONTEXT_TOPICS", "AGG_MODULE", "AGG_BATCH_TIMEOUT"]] * 2
    assert SECRET not in first.log + second.log

    second.terminate()
    third = cluster.start({"web_token": TOKEN} | named(2)).wait_ready()
    wait_for(lambda: "have the same settings again" in first.log, lambda: f"it is over\n{cluster.logs()}")
    assert len(warnings(first, SETTINGS_DIFFER)) == 1
    assert warnings(third, SETTINGS_DIFFER) == []
    assert gauge(first, "settings_differ", TOKEN) == 0.0
    cluster.send(*(cluster.batch(number, STATIONS) for number in range(4)))
    assert str(cluster.finish()) == "4 complete, 0 partial, 0 copies, 0 late"


@pytest.mark.chaos
def test_a_named_worker_that_was_killed_and_comes_back_with_other_settings_is_told(cluster: Cluster) -> None:
    first = cluster.start({"instance_id": "one"}).wait_ready()
    second = cluster.start({"instance_id": "two"}).wait_ready()
    wait_for(lambda: first.ready and second.ready, "both are ready")
    second.kill()
    third = cluster.start({"instance_id": "two", "web_port": second.url.rpartition(":")[2], "fill": "linear"})
    third.wait_ready()
    for worker in (first, third):
        assert "): AGG_FILL;" in wait_warning(cluster, worker, SETTINGS_DIFFER)


@pytest.mark.parametrize("ahead", further(30.0, -3.0))
def test_a_clock_that_differs_is_told_in_both_logs_with_the_seconds(cluster: Cluster, ahead: float) -> None:
    first = cluster.start({"web_token": TOKEN}).wait_ready()
    second = cluster.start({"web_token": TOKEN}, {AHEAD: str(ahead)}, SHIFTED).wait_ready()
    for one, other, offset in ((first, second, ahead), (second, first, -ahead)):
        (told,) = re.findall(re.escape(other.url) + r" (\S+) s", wait_warning(cluster, one, CLOCKS_DIFFER))
        assert 1.0 <= float(told) / copysign(1.0, offset) <= abs(offset) + 0.1  # what is sure, and rounded
        wait_for(lambda: seen_from(one, other) == [offset] * 2, lambda: f"{offset}: {seen_from(one, other)}")  # noqa: B023
        answer = ask(one, "/cluster").json()
        assert answer["clocks_apart"] == [other.url]
        assert [row["clock_offset"] for row in answer["workers"] if row["url"] == one.url] == [0.0]
    assert not warnings(first, SETTINGS_DIFFER) + warnings(second, SETTINGS_DIFFER)


@pytest.mark.chaos
def test_a_clock_that_differs_is_told_in_both_logs_though_the_webs_refuse_each_other(cluster: Cluster) -> None:
    timeout = {
        "batch_timeout": "5"
    }  # a batch of the one that is behind is due for the other one as soon as it is opened
    ahead = cluster.start({"web_token": TOKEN} | timeout).wait_ready()
    behind = cluster.start({"web_token": SECRET} | timeout, {AHEAD: "-30"}, SHIFTED).wait_ready()
    wait_for(lambda: ahead.ready and behind.ready, "both are ready")
    numbers = count()

    def told_while_batches_come() -> bool:
        cluster.send(cluster.batch(next(numbers), STATIONS))
        return all(warnings(worker, CLOCKS_DIFFER) for worker in (ahead, behind))

    wait_for(told_while_batches_come, lambda: f"it is told\n{cluster.logs()}")
    for one, other, offset in ((behind, ahead, 30.0), (ahead, behind, -30.0)):
        (told,) = re.findall(re.escape(other.url) + r" (\S+) s", wait_warning(cluster, one, CLOCKS_DIFFER))
        assert float(told) == pytest.approx(offset, abs=4.0)
