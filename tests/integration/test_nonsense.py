"""Messages that are none of ours, on every topic that a worker reads: none stops it, each is kept byte for byte."""

from __future__ import annotations

import json
import os

import pytest

from app.kafka.header_names import read_any_name
from tests.integration.support.cluster import Cluster
from tests.integration.support.commands import command_of
from tests.integration.support.data import FINE, stations_of
from tests.integration.support.waiting import wait_for
from tests.record_batches import GBK

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


def test_a_header_name_that_is_no_utf8_holds_up_no_worker_and_no_reader(cluster: Cluster) -> None:
    read_any_name()  # what the tests read with meets them, too
    worker = cluster.start().wait_ready()
    batches = [cluster.batch(number, stations_of(FINE, range(5))) for number in range(5)]
    cluster.sent |= {batch.batch_id: batch for batch in batches[:4]}
    names = [(), (GBK,), (b"batch-timeout", GBK), ()]
    cluster.send_named(cluster.source, *((batch.value, named) for batch, named in zip(batches, names, strict=False)))
    internal = [f"{cluster.app_id}-{name}" for name in ("station-events", "batch-events")]
    for topic in (*internal, cluster.output, cluster.late, cluster.dead_letters):
        cluster.send_named(topic, (b"foreign", [GBK]), key=b"foreign")
    cluster.wait_out()
    cluster.wait_settled()
    worker.kill()
    cluster.start().wait_ready()
    cluster.send(batches[4])
    cluster.wait_out()
    outputs = {output.name: output for output in cluster.outputs()}
    assert outputs.keys() == {"foreign", *cluster.sent}
    for batch in batches:
        assert outputs[batch.batch_id].json["station_count"] == 5
    wait_for(lambda: len(cluster.letters()) == 3, lambda: f"{cluster.letters()}\n{cluster.logs()}")
    said = command_of(cluster, "outputs")("--json")
    assert (said.returncode, said.stdout.count("\n")) == (0, 6), said.stderr
    (foreign,) = [line for line in map(json.loads, said.stdout.splitlines()) if line.get("value") == "foreign"]
    assert foreign["kafka"]["headers"] == {GBK.decode(errors="replace"): "x"}
    letters = command_of(cluster, "dead-letters")()
    assert (letters.returncode, letters.stdout.count("bad-message")) == (0, 2), letters.stderr
    cluster.assert_clean_logs()


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
