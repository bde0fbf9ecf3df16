"""Messages that are none of ours, on every topic that a worker reads: none stops it, each is kept byte for byte."""

from __future__ import annotations

import os

import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, stations_of
from tests.integration.support.waiting import wait_for

pytestmark = pytest.mark.kafka

JUNK = [
    os.urandom(100),
    os.urandom(5 * 1024 * 1024),
    b"",
    None,
    b"{",
    b"null",
    b'"text"',
    b"7",
    b"[" * 200_000,
    b'[{"stationId": "\xff"}]',
    '[{"stationId": "A", "sendTime": "2025-11-04 09:00:00"}]'.encode("utf-16"),
]
FOREIGN = [
    b'{"v": 0, "events": [], "groups": []}',
    b'{"v": 1}',
    *(
        b'{"v": 1, "events": %b, "groups": %b}' % pair
        for pair in (
            (b"7", b"7"),
            (b'[["open", "b"]]', b'[["b"]]'),
            (b'[["burn", "b", 1, 2]]', b"[[1, 2, 3, 4, 5, 6]]"),
            (b'[["expire", "b", null, 2]]', b'[["b", ["t", 0, 0], 1, 2, null, [["A", 7]]]]'),
            (b'[["open", "b", ["t", 0, "0"], 1, 2, ["A"], false]]', b'[["b", ["t", 0, 0], 1, 2, null, [[7, []]]]]'),
            (b'[["open", "b", ["t", 0, 0], 1, 2, ["A", 7], false]]', b'[["b", ["t", 0, 0], 1, 2, null, {"A": 1}]]'),
        )
    ),
]


def test_nonsense_on_any_topic_stops_no_worker_and_is_kept_byte_for_byte(cluster: Cluster) -> None:
    worker = cluster.start().wait_ready()
    stations, events = f"{cluster.app_id}-station-events", f"{cluster.app_id}-batch-events"
    cluster.send_raw(cluster.source, *JUNK, key=b"\xfe key")
    for topic in (stations, events):
        cluster.send_raw(topic, *JUNK, *FOREIGN, key=b"\xfe key")
    cluster.send(*(cluster.batch(number, stations_of(FINE, range(5))) for number in range(20)))

    expected = {cluster.source: JUNK, stations: [*JUNK, *FOREIGN], events: [*JUNK, *FOREIGN]}
    count = sum(len(values) for values in expected.values())
    wait_for(lambda: len(cluster.letters()) == count, lambda: f"{len(cluster.letters())} letters\n{worker.tail()}")
    letters = cluster.letters()
    assert {(letter.key, letter.header("reason")) for letter in letters} == {(b"\xfe key", "bad-message")}
    for topic, values in expected.items():
        mine = [letter for letter in letters if letter.header("source-topic") == topic]
        assert {letter.value for letter in mine} == set(values)
        assert len({(letter.header("source-partition"), letter.header("source-offset")) for letter in mine}) == len(
            mine
        )
    assert worker.running
    assert str(cluster.finish()) == "20 complete, 0 partial, 0 copies, 0 late"


def test_a_record_without_a_station_is_kept_and_the_rest_of_its_message_goes_on(cluster: Cluster) -> None:
    cluster.start().wait_ready()
    stray = b'{"sendTime":"2025-11-04 09:00:00","x":[1,2]}'
    good = b'{"stationId":"R-1","sendTime":"2025-11-04 09:00:00","outputPowerPerStationAvg":1}'
    cluster.send_raw(cluster.source, b"[%b,%b]" % (stray, good), key=b"plant")
    wait_for(lambda: cluster.outputs() and cluster.letters(), cluster.logs)
    (letter,), (output,) = cluster.letters(), cluster.outputs()
    assert (letter.key, letter.value, letter.header("reason")) == (b"plant", stray, "bad-record")
    assert [result["station_id"] for result in output.json["stations"]] == ["R-1"]
    assert output.json["meta"]["expected_count"] == 1
