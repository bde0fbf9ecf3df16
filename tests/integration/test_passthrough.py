"""Single stations on a real Kafka, beside batches, through kills: none is lost, and each station's order is kept."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

import orjson
import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FAILS, FINE, FIRST, stations_of, text_of
from tests.integration.support.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.kafka

MESSAGES = 120
STATIONS = [*stations_of(FINE, range(6)), *stations_of(FAILS, [6])]


def value_of(number: int) -> bytes:
    """The message with this number, whose times say which it is."""
    at = time_of(number)
    return orjson.dumps([{"meter_id": one, "sendTime": at, "outputPowerPerStationAvg": 1.0} for one in STATIONS])


def time_of(number: int) -> str:
    """The time in the message with this number."""
    return text_of(FIRST + timedelta(seconds=number))


@pytest.mark.chaos
def test_no_single_station_is_lost_and_each_ones_order_is_kept_through_kills(cluster: Cluster) -> None:
    direct = f"direct-{cluster.app_id}"
    cluster.create_topic(direct)
    settings = {
        "passthrough_topics": direct,
        "station_result_handler": "tests.integration.support.model:station_handler",
    }
    first = cluster.start(settings, {"MODEL_DELAY": "0.01"}).wait_ready()
    for number in range(MESSAGES):
        cluster.send_raw(direct, value_of(number))
    load = cluster.send_steadily([cluster.batch(number, STATIONS) for number in range(40)], pause=0.02)
    wait_for(lambda: len(single_outputs(cluster)) > 60, lambda: f"a first few\n{first.tail()}")
    first.kill()
    cluster.start(settings).wait_ready()
    cluster.start(settings).wait_ready()
    load.result(PATIENCE)

    due = {(station, time_of(number)) for station in STATIONS[:-1] for number in range(MESSAGES)}
    wait_for(lambda: due <= set(single_outputs(cluster)), lambda: f"all are out\n{cluster.logs()}")
    failed = {time_of(number) for number in range(MESSAGES)}
    wait_for(lambda: failed <= letters_of(cluster, direct), lambda: f"the failed ones are known\n{cluster.logs()}")
    cluster.wait_out()
    wait_for(lambda: not cluster.behind([direct]), "everything is acknowledged")
    cluster.wait_settled()
    for worker in cluster.workers[1:]:
        worker.terminate()
    cluster.read_to_end()
    outputs = [one for one in cluster.outputs() if one.name in STATIONS]
    assert {(one.value, one.headers) for one in outputs} == {
        (orjson.dumps({"id": station, "topic": direct, "at": at}), ()) for station, at in due
    }
    assert set(single_outputs(cluster)) == due
    order: defaultdict[str, list[str]] = defaultdict(list)
    for one in outputs:
        if one.json["at"] not in order[one.name]:
            order[one.name].append(one.json["at"])
    assert all(times == sorted(times) for times in order.values())
    cluster.assert_clean_logs()


def single_outputs(cluster: Cluster) -> list[tuple[str, str]]:
    """Station and time of each output of a single station."""
    return [(one.name, one.json["at"]) for one in cluster.outputs() if one.name in STATIONS]


def letters_of(cluster: Cluster, topic: str) -> set[str]:
    """The times of failed single stations."""
    letters = [one for one in cluster.letters() if one.header("source-topic") == topic]
    assert {one.header("reason") for one in letters} <= {"station-failed"}
    return {one.json[topic][0]["sendTime"] for one in letters}
