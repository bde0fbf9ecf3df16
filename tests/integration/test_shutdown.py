"""SIGTERM: soon, quietly, and with nothing lost, whatever the user's functions are doing."""

from __future__ import annotations

import pytest

from tests.further import further
from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, GATED, stations_of
from tests.integration.support.model import DELAY, GATE
from tests.integration.support.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("function", ["callback", *further("blocking")], ids=["async def", "def"])
def test_sigterm_ends_a_worker_with_a_hung_callback_and_the_next_one_does_its_work(
    cluster: Cluster, function: str
) -> None:
    gate = cluster.folder / "gate"
    settings = {"callback": f"tests.integration.support.model:{function}"}
    stations = [*stations_of(FINE, range(5)), *stations_of(GATED, range(5))]
    worker = cluster.start(settings, {GATE: str(gate)}).wait_ready()
    cluster.send(*(cluster.batch(number, stations) for number in range(10)))
    wait_for(
        lambda: [row["arrived_count"] for row in worker.ask("/batches?local=true")["batches"]] == [5] * 10,
        lambda: f"all hang\n{worker.tail()}",
    )

    worker.terminate()
    cluster.assert_clean_logs()
    cluster.read_to_end()
    assert cluster.out() == set()

    gate.touch()
    cluster.start(settings, {GATE: str(gate)}).wait_ready()
    assert str(cluster.finish()) == "10 complete, 0 partial, 0 copies, 0 late"


@pytest.mark.chaos
def test_sigterm_in_the_middle_of_a_load_ends_a_worker_soon_and_loses_nothing(cluster: Cluster) -> None:
    stations = stations_of(FINE, range(50))
    load = cluster.send_steadily([cluster.batch(number, stations) for number in range(300)], pause=0.02)
    for _ in range(2):
        worker = cluster.start(environment={DELAY: "0.05"}).wait_ready()
        cluster.wait_out_count(len(cluster.out()) + 20)
        worker.terminate()
        assert len(cluster.out()) < 300
    cluster.start().wait_ready()
    load.result(PATIENCE)
    assert str(cluster.finish()) == "300 complete, 0 partial, 0 copies, 0 late"
