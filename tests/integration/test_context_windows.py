"""Windows of context on a real Kafka: each callback gets what the topics alone say, whatever becomes of workers.

Two modules are chained: the second one reads a meter's last 2,016 points, and the first one's last 12 outputs. All
messages about a station stand in one partition of each topic. So a window is that of some first part of it, a longer
one with each batch, and in the end that of all.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, stations_of, text_of
from tests.integration.support.model import DELAY, window_digest
from tests.integration.support.reading import Received
from tests.integration.support.waiting import wait_for
from tests.integration.support.worker import WorkerProcess
from tests.shared_brokers import Broker, SharedBroker

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

STATIONS = stations_of(FINE, range(10))
MODEL = "tests.integration.support.model:with_windows"
FIRST = 1_763_085_600  # Unix seconds
STEP = 300
POINTS, OUTPUTS = 2016, 12
BEFORE = 2000  # points that there are at first: the window is not full
ZONE = ZoneInfo("Asia/Shanghai")


class Chain:
    """Two modules, the meters, and what is sent."""

    def __init__(self, upstream: Cluster, downstream: Cluster) -> None:
        self.upstream, self.downstream = upstream, downstream
        self.meter = f"meter-{downstream.app_id}"
        self.settings = {"callback": MODEL, "context_topics": f"{self.meter}:{POINTS},{upstream.output}:{OUTPUTS}"}
        self._number = 0
        self._random = random.Random(7)  # noqa: S311 - data
        downstream.create_topic(self.meter, 3)
        upstream.create_topic(upstream.output)
        for station in STATIONS:
            for start in range(0, BEFORE, 250):
                self.tell(station, range(start, start + 250))

    def tell(self, station: str, points: Sequence[int]) -> None:
        """Send a station's meter at these points."""
        records = [
            {
                "stationId": station,
                "sendTime": text_of(datetime.fromtimestamp(FIRST + STEP * point, ZONE)),
                "power": round(self._random.random() * 300, 2),
            }
            for point in points
        ]
        self.downstream.send_raw(self.meter, orjson.dumps(records), key=station.encode())

    def round(self) -> None:
        """Send what comes in a while: new points, old ones again, some out of order, and a batch to both modules."""
        number, self._number = self._number, self._number + 1
        for station in STATIONS:
            newest = BEFORE + 2 * number
            self.tell(station, [newest + 1])
            self.tell(station, [newest, self._random.randrange(newest - 1500, newest)])
        self.upstream.send(self.upstream.batch(number, STATIONS))
        self.downstream.send(self.downstream.batch(number, STATIONS))

    def fill_outputs(self) -> None:
        """Have the first module publish until its outputs fill a window: those of one second are one point."""
        upstream = self.upstream
        while len({int(output.json["timestamp"]) for output in upstream.outputs()}) <= OUTPUTS:
            upstream.send(batch := upstream.batch(1000 + len(upstream.sent), STATIONS))
            upstream.wait_out([batch])

    def start(self) -> WorkerProcess:
        """Start a worker of the second module."""
        return self.downstream.start(self.settings, {DELAY: "0.01"})

    def wait_read(self) -> None:
        """Wait until all context is acknowledged."""
        cluster = self.downstream
        self.upstream.wait_out()
        topics = [self.meter, self.upstream.output, f"{cluster.app_id}-station-events"]
        wait_for(lambda: not cluster.behind(topics), lambda: f"it is read\n{cluster.logs()}")


@contextmanager
def chained(broker: Broker, folder: Path) -> Iterator[Chain]:
    """Two modules. The second one's batches stand in one partition: so they have an order."""
    places = [folder / "upstream", folder / "downstream"]
    for place in places:
        place.mkdir()
    with Cluster(broker, places[0]) as upstream, Cluster(broker, places[1], source_partitions=1) as downstream:
        yield Chain(upstream, downstream)
        upstream.assert_clean_logs()
        downstream.assert_clean_logs()


# -- what the topics say -----------------------------------------------------------------------------------------------


def windows_of(messages: Sequence[Received], size: int) -> dict[str, list[list[Any]]]:
    """The windows of each station after each message that has it, made of the messages alone."""
    points: dict[str, dict[str, Any]] = {station: {} for station in STATIONS}
    windows: dict[str, list[list[Any]]] = {station: [digest_of({}, size)] for station in STATIONS}
    for message in messages:
        for station, time, power in sorted(points_in(message.json)):
            known = points[station]
            if len(known) < size or time >= sorted(known)[-size]:
                known[time] = power
        for station in dict.fromkeys(station for station, _, _ in points_in(message.json)):
            windows[station].append(digest_of(points[station], size))
    return windows


def points_in(message: Any) -> list[tuple[str, str, float]]:
    """Station, time and power of each record, of a meter or of a module's output."""
    if isinstance(message, list):
        return [(one["stationId"], one["sendTime"], one["power"]) for one in message]
    time = text_of(datetime.fromtimestamp(int(message["timestamp"]), ZONE))
    return [(one["station_id"], time, one["power"]) for one in message["stations"]]


def digest_of(points: dict[str, Any], size: int) -> list[Any]:
    times = sorted(points)[-size:]
    return window_digest({"sendTime": times, "power": [points[time] for time in times]})


def check(chain: Chain) -> None:
    """Compare what each callback got with what the topics say, and see to it that it never goes back."""
    said = [
        windows_of(chain.downstream.read_topic(topic), size)
        for topic, size in ((chain.meter, POINTS), (chain.upstream.output, OUTPUTS))
    ]
    outputs = {output.name: output.json for output in chain.downstream.outputs()}
    reached = {station: [0, 0] for station in STATIONS}
    for batch_id in chain.downstream.sent:
        for result in outputs[batch_id]["stations"]:
            station = result["station_id"]
            for index, got in enumerate(result["windows"]):
                later = said[index][station][reached[station][index] :]
                assert got in later, f"{batch_id}, {station}, window {index}: {got} after {reached[station][index]}"
                reached[station][index] += later.index(got)
    last = outputs[[*chain.downstream.sent][-1]]["stations"]
    assert {one["station_id"]: one["windows"] for one in last} == {
        station: [windows[station][-1] for windows in said] for station in STATIONS
    }
    assert [one[0] for one in last[0]["windows"]] == [POINTS, OUTPUTS]


def test_the_windows_of_chained_modules_are_what_the_topics_say_over_kills_rebalances_and_a_rewind(
    kafka_broker: SharedBroker, tmp_path: Path
) -> None:
    with chained(kafka_broker, tmp_path) as chain:
        cluster = chain.downstream
        upstream = chain.upstream.start().wait_ready()
        first = chain.start().wait_ready()
        chain.wait_read()
        for _ in range(4):
            chain.round()
        first.kill()  # in the middle of it
        upstream.kill()
        chain.round()
        chain.upstream.start().wait_ready()
        second, third = chain.start(), chain.start()
        second.wait_ready()
        for _ in range(4):
            chain.round()
        third.wait_ready()
        chain.round()
        third.kill()
        for _ in range(3):
            chain.round()
        cluster.wait_out()
        chain.wait_read()
        second.terminate()
        for partition in range(3):
            cluster.commit(chain.meter, partition, 0)  # all of it comes again
        cluster.commit(chain.upstream.output, 0, 0)
        chain.start().wait_ready()
        for _ in range(3):
            chain.round()
        chain.fill_outputs()
        cluster.wait_out()
        chain.wait_read()
        cluster.send(final := cluster.batch(1000, STATIONS))
        cluster.wait_out([final])
        check(chain)
        cluster.read_to_end()
        assert cluster.letters() == []
        cluster.wait_settled()
