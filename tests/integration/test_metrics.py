"""What a scrape of a worker on a real Kafka shows."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import EMPTY, FAILS, FINE, GATED, stations_of
from tests.integration.support.model import GATE
from tests.integration.support.waiting import wait_for
from tests.integration.support.worker import WorkerProcess

pytestmark = pytest.mark.kafka


def scraped(worker: WorkerProcess, name: str, **labels: str) -> float:
    """The sum of the series of that name that have these labels."""
    return sum_of(worker.read("/metrics"), name, **labels)


def sum_of(page: str, name: str, **labels: str) -> float:
    """The same of a page that has been read: two numbers that belong together are of one page."""
    return sum(
        sample.value
        for family in parse(page)
        for sample in family.samples
        if sample.name == f"batch_aggregator_{name}" and labels.items() <= sample.labels.items()
    )


def test_a_scrape_counts_what_has_happened(cluster: Cluster) -> None:
    gate = cluster.folder / "gate"
    worker = cluster.start(environment={GATE: str(gate)}).wait_ready()
    wait_for(lambda: scraped(worker, "ready") == 1, "the gauge says that it is ready")
    stations = [*stations_of(FINE, range(6)), *stations_of(EMPTY, range(2)), *stations_of(FAILS, range(1))]
    whole = [cluster.batch(number, stations) for number in range(10)]
    partial = cluster.batch(10, stations_of(GATED, range(1)), headers={"batch-timeout": "5"})
    cluster.send(*whole, partial)
    cluster.wait_out()
    gate.touch()
    wait_for(cluster.late_records, "the late result")
    cluster.wait_settled()

    shown = {
        "opened": scraped(worker, "batches_opened_total"),
        "all": scraped(worker, "batches_closed_total", completed_by="all"),
        "timeout": scraped(worker, "batches_closed_total", completed_by="timeout"),
        "results": scraped(worker, "station_arrivals_total", outcome="result"),
        "missing": scraped(worker, "station_misses_total", station_id="W-0"),
        "failed": scraped(worker, "dead_letters_total", reason="station-failed"),
        "late": scraped(worker, "late_outcomes_total", reason="batch-closed"),
        "closed": scraped(worker, "closed_records"),
        "durations": scraped(worker, "batch_duration_seconds_count"),
        "callbacks": scraped(worker, "callback_duration_seconds_count"),
        "sources": scraped(worker, "frames_total", kind="source", direction="in"),
        "outputs": scraped(worker, "frames_total", kind="output", direction="out"),
    }
    assert shown == {
        "opened": 11,
        "all": 10,
        "timeout": 1,
        "results": 60,
        "missing": 1,
        "failed": 10,
        "late": 1,
        "closed": 11,
        "durations": 11,
        "callbacks": 91,
        "sources": 11,
        "outputs": 11,
    }
    assert scraped(worker, "open_batches") == 0
    wait_for(lambda: scraped(worker, "group_lag") == 0, "no lag")
    read = scraped(worker, "bytes_total", kind="source", direction="in")
    assert read == sum(len(batch.value) for batch in cluster.sent.values())
