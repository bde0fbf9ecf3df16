"""How many batches are opened on a real Kafka: at most AGG_MAX_OPEN_BATCHES, and none that waits for long then."""

from __future__ import annotations

import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, GATED, stations_of
from tests.integration.support.model import DELAY, GATE
from tests.integration.support.waiting import wait_for
from tests.integration.test_metrics import scraped

pytestmark = pytest.mark.kafka


def test_reading_waits_for_batches_to_close_also_over_a_stop_and_a_rebalance(cluster: Cluster) -> None:
    gate = cluster.folder / "gate"
    settings = {"max_open_batches": "3"}
    stations = [*stations_of(FINE, range(3)), *stations_of(GATED, range(1))]
    first = cluster.start(settings, {GATE: str(gate)}).wait_ready()
    cluster.send(*(cluster.batch(number, stations) for number in range(40)))
    # Reading waits for a moment for callbacks, too; and what is split opens when its events have been read back.
    told = "Reading waits until batches close: 3 batches open (AGG_MAX_OPEN_BATCHES)"
    wait_for(lambda: told in first.log, lambda: f"reading waits\n{first.tail()}")
    wait_for(lambda: scraped(first, "batches_opened_total") == 3, lambda: f"three open\n{first.tail()}")
    assert scraped(first, "unclosed_batches") == 3
    assert scraped(first, "reading_waits") == 1
    assert first.log.count(told) == 1

    second = cluster.start(settings, {GATE: str(gate)}).wait_ready()  # both read three more of their share at most
    wait_for(lambda: first.ready and scraped(second, "reading_waits") == 1, lambda: f"both wait\n{second.tail()}")
    first.terminate()
    cluster.assert_clean_logs()
    cluster.read_to_end()
    assert cluster.out() == set()

    gate.touch()
    assert str(cluster.finish()) == "40 complete, 0 partial, 0 copies, 0 late"


@pytest.mark.chaos
def test_a_backlog_does_not_run_into_its_deadlines_with_two_workers(cluster: Cluster) -> None:
    """The work of forty seconds, and twenty for each batch."""
    settings = {"batch_timeout": "20", "concurrency": "20"}
    workers = [cluster.start(settings, {DELAY: "0.08"}) for _ in range(2)]  # 250 stations a second each
    for worker in workers:
        worker.wait_ready()
    cluster.send(*(cluster.batch(number, stations_of(FINE, range(500))) for number in range(40)))
    assert str(cluster.finish()) == "40 complete, 0 partial, 0 copies, 0 late"


@pytest.mark.chaos
@pytest.mark.parametrize("workers", [1, 2])
def test_a_backlog_of_a_small_plant_does_not_run_into_its_deadlines_from_the_start(
    cluster: Cluster, workers: int
) -> None:
    """The work of fifteen seconds, and five for each batch; nobody knows the pace when the workers find it."""
    cluster.send(*(cluster.batch(number, stations_of(FINE, range(50))) for number in range(30)))
    for _ in range(workers):
        cluster.start({"batch_timeout": "5"}, {DELAY: "0.5"})
    report = cluster.finish()
    assert report.complete >= 27, f"{report}: a busy machine may be late with some"
