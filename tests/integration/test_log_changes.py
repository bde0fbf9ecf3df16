"""Where a log is not the one that has been read: shorter, made again, overtaken by retention, with more partitions."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.devbroker import DevBroker
from app.messages.partitioner import partition_of
from tests.further import further
from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, SentBatch, stations_of
from tests.integration.support.waiting import wait_for
from tests.integration.support.worker import PATIENT, WorkerProcess
from tests.shared_brokers import SharedBroker

pytestmark = pytest.mark.kafka

STATIONS = stations_of(FINE, range(3))
MADE_AGAIN = "the topic was deleted and made again"


@pytest.fixture
def cluster(kafka_broker: SharedBroker, tmp_path: Path) -> Iterator[Cluster]:
    """A share of the session's Kafka, with one partition of the source."""
    with Cluster(kafka_broker, tmp_path, source_partitions=1) as own:
        yield own


def batches(cluster: Cluster, first: int, count: int) -> list[SentBatch]:
    return [cluster.batch(first + number, STATIONS) for number in range(count)]


def of_each_partition(cluster: Cluster, partitions: int, each: int) -> list[SentBatch]:
    """So many batches of each partition of the internal topics."""
    found: Counter[int] = Counter()
    chosen = []
    for number in range(1_000):
        batch = cluster.batch(number, STATIONS)
        partition = partition_of(batch.batch_id.encode(), partitions)
        if found[partition] < each:
            found[partition] += 1
            chosen.append(batch)
        if found.total() == partitions * each:
            return chosen
    raise AssertionError(f"{found} of {each} each")


def metric(worker: WorkerProcess, name: str) -> float:
    """The value of a metric; of all its series together."""
    lines = worker.read("/metrics").splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"batch_aggregator_{name}"))


def lines_of(worker: WorkerProcess, text: str) -> list[str]:
    return [line for line in worker.log.splitlines() if text in line]


def test_nothing_is_passed_over_where_the_log_ends_before_what_is_committed(cluster: Cluster) -> None:
    cluster.send(*batches(cluster, 0, 3))
    cluster.commit(cluster.source, 0, 100)
    worker = cluster.start().wait_ready()
    wait_for(lambda: lines_of(worker, "was to be read next"), worker.tail)
    (said,) = lines_of(worker, "was to be read next")
    assert "[WARNING]" in said
    assert f"{cluster.source}[0]: offset 100 was to be read next, but the log ends at 3" in said
    assert "starts over at 0" in said
    cluster.send(*batches(cluster, 10, 5))
    cluster.wait_out()
    wait_for(lambda: cluster.committed(cluster.source) == {0: 8}, lambda: f"{cluster.committed(cluster.source)}")
    assert metric(worker, "log_restarts_total") == 1
    assert str(cluster.finish()) == "8 complete, 0 partial, 0 copies, 0 late"


@pytest.mark.parametrize("count", [5, *further(20)], ids=["shorter", "longer"])
@pytest.mark.parametrize("start", ["earliest", *further("latest")])
def test_a_source_topic_that_is_made_again_is_read_from_its_beginning(cluster: Cluster, count: int, start: str) -> None:
    worker = cluster.start({"start": start}).wait_ready()
    cluster.send(*batches(cluster, 0, 12))
    cluster.wait_out()
    cluster.wait_settled()
    cluster.delete_topic(cluster.source)
    cluster.create_topic(cluster.source)
    cluster.send(*batches(cluster, 100, count))
    cluster.wait_out()
    (said,) = lines_of(worker, MADE_AGAIN)
    assert "[WARNING]" in said
    assert f"{cluster.source}[0]" in said
    assert "up to offset 12" in said
    assert metric(worker, "log_restarts_total") == 1
    assert str(cluster.finish()) == f"{12 + count} complete, 0 partial, 0 copies, 0 late"


def test_a_source_topic_that_is_gone_is_told_and_stays_gone_until_its_owner_makes_it_again(cluster: Cluster) -> None:
    worker = cluster.start({"start": "latest"}).wait_ready()
    cluster.send(*batches(cluster, 0, 6))
    cluster.wait_out()
    cluster.delete_topic(cluster.source)
    wait_for(lambda: lines_of(worker, "is not there any more"), worker.tail)
    cluster.create_topic(cluster.source, 3)
    cluster.send(*batches(cluster, 100, 20))
    cluster.wait_out()
    wait_for(lambda: len(cluster.committed(cluster.source)) == 3, "fewer partitions: the worker has made it")
    assert not lines_of(worker, "OffsetCommit failed")
    assert str(cluster.finish()) == "26 complete, 0 partial, 0 copies, 0 late"


def test_a_source_topic_that_is_not_there_at_the_start_is_read_from_its_beginning(cluster: Cluster) -> None:
    cluster.delete_topic(cluster.source)
    worker = cluster.start({"start": "latest"}).wait_ready()
    assert lines_of(worker, f"Not there yet, and not created by a worker: {cluster.source}")
    cluster.create_topic(cluster.source, 3)
    cluster.send(*batches(cluster, 0, 20))
    assert str(cluster.finish()) == "20 complete, 0 partial, 0 copies, 0 late"


@pytest.mark.chaos
def test_two_workers_start_at_the_end_together_and_each_follows_its_partitions_of_a_topic_that_is_made_again(
    kafka_broker: SharedBroker, tmp_path: Path
) -> None:
    with Cluster(kafka_broker, tmp_path, source_partitions=4) as cluster:
        old = batches(cluster, 0, 20)
        cluster.send_raw(cluster.source, *(batch.value for batch in old))
        workers = [cluster.start({"start": "latest"}) for _ in range(2)]
        for worker in workers:
            worker.wait_ready()
        wait_for(lambda: len(cluster.committed(cluster.source)) == 4, lambda: f"{cluster.committed(cluster.source)}")
        cluster.send(*batches(cluster, 100, 40))
        cluster.wait_out()
        cluster.wait_settled()
        cluster.delete_topic(cluster.source)
        cluster.create_topic(cluster.source, 4)
        cluster.send(*batches(cluster, 200, 80))
        assert str(cluster.finish()) == "120 complete, 0 partial, 0 copies, 0 late"  # nothing of `old`


def test_what_retention_takes_from_a_worker_that_lags_is_said_and_counted_apart(cluster: Cluster) -> None:
    worker = cluster.start(program=PATIENT).wait_ready()  # or a pause that takes longer makes it lose its partitions
    cluster.send(*batches(cluster, 0, 4))
    cluster.wait_out()
    cluster.wait_settled()
    worker.pause()
    cluster.send(*batches(cluster, 50, 1))  # for a fetch that waits at the broker: it is answered with this, or ends
    lost, kept = batches(cluster, 100, 3), batches(cluster, 200, 2)
    cluster.send(*lost, *kept)
    cluster.delete_records(8)
    worker.resume()
    cluster.wait_out(kept)
    (said,) = lines_of(worker, "are gone from the broker")
    assert "[WARNING]" in said
    (first,) = re.findall(rf"{cluster.source}\[0\]: offsets (\d) to 7 are gone", said)
    assert first in "45"
    assert said.rstrip().endswith("reading goes on at 8")
    assert (metric(worker, "lost_offsets_total"), metric(worker, "source_gaps_total")) == (8 - int(first), 0)
    for batch in cluster.sent.copy().values():
        if batch in lost or (batch.batch_id not in cluster.out() and batch not in kept):
            del cluster.sent[batch.batch_id]
    assert str(cluster.finish()) == f"{4 + (first == '5') + 2} complete, 0 partial, 0 copies, 0 late"


@pytest.mark.chaos
def test_a_transactions_marker_at_the_end_is_no_lag(cluster: Cluster) -> None:
    worker = cluster.start().wait_ready()
    cluster.send_in_transaction(*batches(cluster, 0, 5), commit=True)
    cluster.wait_out()
    wait_for(lambda: metric(worker, "group_lag") == 0, lambda: worker.read("/metrics"))
    worker.terminate()
    worker = cluster.start().wait_ready()
    wait_for(lambda: metric(worker, "group_lag") == 0, lambda: worker.read("/metrics"))
    assert metric(worker, "lost_offsets_total") == 0


@pytest.mark.chaos
def test_partitions_that_are_added_are_read_from_their_beginning_whatever_the_start(cluster: Cluster) -> None:
    cluster.send_raw(cluster.source, cluster.batch(0, STATIONS).value)  # older than the group: not read
    worker = cluster.start({"start": "latest"}).wait_ready()
    cluster.send(*batches(cluster, 10, 3))
    cluster.wait_out()
    worker.pause()
    cluster.add_partitions(3)
    cluster.send(*batches(cluster, 100, 20))
    worker.resume()
    cluster.wait_out()
    worker.kill()
    cluster.add_partitions(5)
    cluster.send(*batches(cluster, 200, 30))
    cluster.start({"start": "latest"}).wait_ready()
    cluster.wait_out()
    assert str(cluster.finish()) == "53 complete, 0 partial, 0 copies, 0 late"


def truncate(broker: DevBroker, partition: str, share: float) -> None:
    """Cut the end of a partition's log while its broker is stopped, as a power failure does."""
    (folder,) = broker.data.glob(f"*/{partition}")
    (log,) = folder.glob("*.log")
    os.truncate(log, int(log.stat().st_size * share))
    for file in (*folder.glob("*.index"), *folder.glob("*.timeindex"), *broker.data.glob("*/.kafka_cleanshutdown")):
        file.unlink()


@pytest.mark.chaos
def test_a_log_that_is_truncated_under_a_running_worker_is_read_on(tmp_path: Path) -> None:
    with DevBroker(tmp_path / "kafka") as broker, Cluster(broker, tmp_path, source_partitions=1) as cluster:
        worker = cluster.start().wait_ready()
        for batch in batches(cluster, 0, 12):
            cluster.send(batch)  # each is a batch of records of its own
        cluster.wait_out()
        cluster.wait_settled()
        cluster.forget_producer()
        broker.stop()
        truncate(broker, f"{cluster.source}-0", 0.5)
        broker.start()
        cluster.send(*batches(cluster, 100, 3))
        cluster.wait_out()
        (said,) = lines_of(worker, "was to be read next")
        assert f"{cluster.source}[0]: offset 12 was to be read next" in said
        assert str(cluster.finish()) == "15 complete, 0 partial, 0 copies, 0 late"


@pytest.mark.chaos
def test_a_changelog_that_has_lost_its_end_is_told_at_the_next_start(tmp_path: Path) -> None:
    with DevBroker(tmp_path / "kafka") as broker, Cluster(broker, tmp_path, source_partitions=1) as cluster:
        cluster.start().wait_ready()
        for batch in of_each_partition(cluster, 4, 6):  # half of a log of six batches holds what is known of some
            cluster.send(batch)
            cluster.wait_out()
        cluster.wait_settled()
        cluster.workers[-1].terminate()
        broker.stop()
        changelog = f"{cluster.app_id}-batches-changelog"
        for partition in range(4):
            truncate(broker, f"{changelog}-{partition}", 0.5)
        broker.start()
        worker = cluster.start().wait_ready()
        for partition in range(4):
            (said,) = lines_of(worker, f"Data loss in {changelog}[{partition}]: the changelog ends at ")
            assert "ends at 0," not in said


@pytest.mark.chaos
@pytest.mark.parametrize("topic", ["batch-events", "station-events"])
def test_a_topic_of_the_application_that_is_made_again_is_told_as_data_loss_and_work_goes_on(
    cluster: Cluster, topic: str
) -> None:
    name = f"{cluster.app_id}-{topic}"
    worker = cluster.start().wait_ready()
    cluster.send(*batches(cluster, 0, 12))
    cluster.wait_out()
    cluster.wait_settled()
    cluster.delete_topic(name)
    cluster.create_topic(name, 4)
    wait_for(lambda: lines_of(worker, f"Data loss in a topic of the application: {name}["), worker.tail)
    wait_for(lambda: worker.ready, worker.tail)
    cluster.send(*batches(cluster, 100, 20))
    cluster.wait_out()
    assert str(cluster.finish()) == "32 complete, 0 partial, 0 copies, 0 late"


@pytest.mark.chaos
def test_a_changelog_that_is_lost_is_told_at_the_start(cluster: Cluster) -> None:
    cluster.start().wait_ready()
    cluster.send(*batches(cluster, 0, 12))
    cluster.wait_out()
    cluster.wait_settled()
    cluster.workers[-1].terminate()
    cluster.delete_topic(f"{cluster.app_id}-batches-changelog")
    worker = cluster.start().wait_ready()
    said = lines_of(worker, f"Data loss in {cluster.app_id}-batches-changelog[")
    assert said
    assert all("[ERROR]" in line for line in said)
    cluster.send(*batches(cluster, 100, 5))
    assert str(cluster.finish()) == "17 complete, 0 partial, 0 copies, 0 late"
