"""Context on a real Kafka: it outlives workers and rebalances, and one module's outputs are the context of another."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, power_of, stations_of
from tests.integration.support.model import DELAY
from tests.integration.support.waiting import wait_for
from tests.integration.support.worker import WorkerProcess
from tests.shared_brokers import SharedBroker

pytestmark = pytest.mark.kafka

STATIONS = stations_of(FINE, range(40))
MODEL = "tests.integration.support.model:with_context"
FIRST = 1763085600  # Unix seconds, to which a number is added: numbers are times of their own


def contexts(cluster: Cluster, number: int) -> dict[str, list[Any]]:
    """What each station has, as batch `number` says, which is sent now."""
    batch = cluster.batch(number, STATIONS)
    cluster.send(batch)
    cluster.wait_out([batch])
    (output,) = [one.json for one in cluster.outputs() if one.name == batch.batch_id]
    return {result["station_id"]: result["context"] for result in output["stations"]}


class Numbers:
    """Context topics that tell each station numbers."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.weather = f"weather-{cluster.app_id}"
        self.calendar = f"calendar-{cluster.app_id}"
        self.settings = {"callback": MODEL, "context_topics": f"{self.weather},{self.calendar}"}
        self._batches = count()
        cluster.create_topic(self.weather)
        cluster.create_topic(self.calendar, 3)

    def tell(self, number: int) -> None:
        """Tell each station a number of its own, and everyone the number itself."""
        told = self.told(number)
        records = [{"stationId": station, "sendTime": FIRST + number, "n": told[station][0]} for station in STATIONS]
        self.cluster.send_raw(self.weather, orjson.dumps(records))
        self.cluster.send_raw(self.calendar, orjson.dumps({"n": number}), key=b"today")

    def told(self, number: int) -> dict[str, list[Any]]:
        """What each station has then."""
        return {station: [number + power_of(station), number] for station in STATIONS}

    def now(self) -> dict[str, list[Any]]:
        """What each station has."""
        return contexts(self.cluster, next(self._batches))

    def wait_for(self, expected: dict[str, list[Any]]) -> None:
        """Wait until that is what they have: context and batches come on topics of their own."""
        wait_for(lambda: self.now() == expected, lambda: f"the context has come\n{self.cluster.logs()}")

    def wait_read(self) -> None:
        """Wait until all context is acknowledged."""
        topics = [self.weather, self.calendar, f"{self.cluster.app_id}-station-events"]
        wait_for(lambda: not self.cluster.behind(topics), lambda: f"it is read\n{self.cluster.logs()}")


def wait_shared(asked: WorkerProcess, *shares: int) -> None:
    """Wait until the ready workers own so many partitions each."""

    def found() -> list[int]:
        return sorted(len(worker["partitions"]) for worker in asked.ask("/cluster")["workers"] if worker["ready"])

    wait_for(lambda: found() == list(shares), lambda: f"they own {shares}\n{asked.tail()}")


@pytest.mark.chaos
def test_context_survives_a_kill_and_what_comes_meanwhile_is_read_then(cluster: Cluster) -> None:
    numbers = Numbers(cluster)
    worker = cluster.start(numbers.settings).wait_ready()
    numbers.tell(100)
    numbers.wait_for(numbers.told(100))
    numbers.wait_read()
    worker.kill()
    worker = cluster.start(numbers.settings).wait_ready()
    assert numbers.now() == numbers.told(100)

    worker.kill()
    numbers.tell(90)
    numbers.tell(200)
    cluster.send_raw(numbers.weather, None, key=STATIONS[0].encode())
    cluster.send_raw(numbers.calendar, None, key=b"today")
    cluster.start(numbers.settings).wait_ready()
    numbers.wait_read()
    expected = {station: [200 + power_of(station), None] for station in STATIONS}
    assert numbers.now() == expected | {STATIONS[0]: [None, None]}
    cluster.read_to_end()
    assert cluster.letters() == []
    cluster.assert_clean_logs()


@pytest.mark.chaos
def test_context_goes_with_its_partitions_from_worker_to_worker(cluster: Cluster) -> None:
    numbers = Numbers(cluster)
    first = cluster.start(numbers.settings).wait_ready()
    numbers.tell(100)
    numbers.wait_for(numbers.told(100))
    second = cluster.start(numbers.settings).wait_ready()
    wait_shared(second, 2, 2)
    assert numbers.now() == numbers.told(100)
    numbers.tell(200)
    numbers.wait_for(numbers.told(200))
    numbers.wait_read()

    first.kill()
    wait_shared(second, 4)
    assert numbers.now() == numbers.told(200)
    numbers.tell(300)
    numbers.wait_for(numbers.told(300))
    cluster.start(numbers.settings).wait_ready()
    wait_shared(second, 2, 2)
    assert numbers.now() == numbers.told(300)
    cluster.wait_settled()
    cluster.assert_clean_logs()


@pytest.mark.chaos
def test_no_context_is_lost_when_workers_are_killed_in_the_middle_of_it(cluster: Cluster) -> None:
    numbers = Numbers(cluster)
    for kill in range(3):
        worker = cluster.start(numbers.settings, {DELAY: "0.01"}).wait_ready()
        for number in range(100 * kill, 100 * kill + 25):
            numbers.tell(number)
            cluster.send(cluster.batch(1000 + number, STATIONS[:5]))
        wait_for(lambda: not cluster.behind([numbers.weather]), lambda: f"it is split\n{cluster.logs()}")
        worker.kill()
    cluster.start(numbers.settings).wait_ready()
    cluster.wait_out()
    numbers.wait_read()
    assert numbers.now() == numbers.told(224)
    cluster.read_to_end()
    assert cluster.letters() == []
    cluster.assert_clean_logs()


def test_the_output_of_one_module_is_the_context_of_another(
    cluster: Cluster, kafka_broker: SharedBroker, tmp_path: Path
) -> None:
    folder = tmp_path / "upstream"
    folder.mkdir()
    batches = count()
    with Cluster(kafka_broker, folder) as upstream:
        worker = cluster.start({"callback": MODEL, "context_topics": upstream.output})
        upstream.start().wait_ready()
        worker.wait_ready()
        upstream.send(upstream.batch(0, STATIONS))
        upstream.wait_out()
        expected = {station: [power_of(station)] for station in STATIONS}
        wait_for(lambda: contexts(cluster, next(batches)) == expected, lambda: f"it has come\n{worker.tail()}")
        upstream.assert_clean_logs()
    cluster.read_to_end()
    assert cluster.letters() == []
    cluster.assert_clean_logs()
