"""A station that was never run in a batch that lives on: its letter is made of the source message, on a real Kafka."""

from __future__ import annotations

import orjson
import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, HANGS, stations_of
from tests.integration.support.waiting import wait_for

pytestmark = pytest.mark.kafka


def test_a_skipped_station_of_a_batch_that_a_supplement_has_extended_has_a_letter_with_its_records(
    cluster: Cluster,
) -> None:
    worker = cluster.start({"concurrency": "1", "batch_timeout": "20", "station_timeout": "8"}).wait_ready()
    hanging = cluster.batch(0, stations_of(HANGS, range(1)), headers={"batch-timeout": "6"})
    cluster.send(hanging)  # the one place for callbacks is taken until its deadline
    wait_for(lambda: worker.ask("/batches?status=open")["batches"], worker.tail)
    waiting = cluster.batch(1, stations_of(FINE, range(2)), headers={"batch-timeout": "2"}, window=3)
    cluster.send(waiting)
    cluster.send_raw(cluster.source, cluster.batch(1, stations_of(FINE, range(7, 8))).value)
    cluster.wait_out()
    cluster.wait_settled()
    cluster.read_to_end()

    (output,) = [one for one in cluster.outputs() if one.name == waiting.batch_id]
    assert [station["station_id"] for station in output.json["stations"]] == ["R-7"]
    assert [failed["station_id"] for failed in output.json["meta"]["failed"]] == ["R-0", "R-1"]
    letters = {one.header("station-id"): one for one in cluster.letters()}
    letters.pop("H-0")  # what hung has run out of time meanwhile
    assert set(letters) == {"R-0", "R-1"}
    for station, letter in letters.items():
        records = [one for one in orjson.loads(waiting.value)[cluster.source] if one["stationId"] == station]
        assert len(records) == 3
        assert letter.json == {cluster.source: records}
        assert letter.header("reason") == "station-failed"
        assert letter.header("batch-id") == waiting.batch_id
        assert letter.header("error") == "the deadline had passed before the callback started"
    cluster.assert_clean_logs()
