"""Where reading starts, and what lies between messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.devbroker import DevBroker
from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, stations_of

pytestmark = pytest.mark.kafka

STATIONS = stations_of(FINE, range(5))


def test_reading_from_the_latest_skips_what_is_old_but_nothing_that_comes_while_the_worker_is_down(
    cluster: Cluster,
) -> None:
    old = [cluster.batch(number, STATIONS) for number in range(8)]
    cluster.send_raw(cluster.source, *(batch.value for batch in old))
    cluster.start({"start": "latest"}).wait_ready().kill()  # before it has acknowledged any message
    cluster.send(*(cluster.batch(number, STATIONS) for number in range(10, 18)))
    cluster.start({"start": "latest"}).wait_ready()
    cluster.send(*(cluster.batch(number, STATIONS) for number in range(20, 28)))
    # That nothing else comes out, `finish` sees: none of `old`.
    assert str(cluster.finish()) == "16 complete, 0 partial, 0 copies, 0 late"


def test_transactions_leave_gaps_that_neither_lose_a_batch_nor_hold_a_partition_up(
    kafka_broker: DevBroker, tmp_path: Path
) -> None:
    with Cluster(kafka_broker, tmp_path, source_partitions=1) as cluster:
        batches = [cluster.batch(number, STATIONS) for number in range(40)]
        for start in range(0, 15, 5):
            cluster.send_in_transaction(*batches[start : start + 5], commit=True)
        worker = cluster.start().wait_ready()
        for start in range(15, 30, 5):
            cluster.send_in_transaction(*batches[start : start + 5], commit=True)
        cluster.wait_out()
        worker.terminate()
        for start in range(30, 35, 5):
            cluster.send_in_transaction(*batches[start : start + 5], commit=True)
        cluster.start().wait_ready()
        cluster.wait_out()
        cluster.send(*batches[35:])
        assert str(cluster.finish()) == "40 complete, 0 partial, 0 copies, 0 late"


def test_aborted_transactions_are_read_as_kafka_reads_by_default_and_hold_no_partition_up(
    kafka_broker: DevBroker, tmp_path: Path
) -> None:
    with Cluster(kafka_broker, tmp_path, source_partitions=1) as cluster:
        batches = [cluster.batch(number, STATIONS) for number in range(40)]
        cluster.start().wait_ready()
        for start in range(0, 40, 5):
            cluster.send_in_transaction(*batches[start : start + 5], commit=start % 10 == 0)
        cluster.wait_out()
        cluster.send(cluster.batch(50, STATIONS))
        assert str(cluster.finish()) == "41 complete, 0 partial, 0 copies, 0 late"
