"""An `async def` that blocks the event loop of a real worker: it is named, and nothing is lost."""

from __future__ import annotations

import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import FINE, GATED, stations_of
from tests.integration.support.model import GATE
from tests.integration.support.waiting import wait_for
from tests.integration.test_metrics import sum_of

pytestmark = pytest.mark.kafka

CALLBACK = "tests.integration.support.model:freezing"


def test_a_callback_that_blocks_the_event_loop_is_named_in_the_log_while_it_does(cluster: Cluster) -> None:
    gate = cluster.folder / "gate"
    worker = cluster.start({"callback": CALLBACK}, {GATE: str(gate)}).wait_ready()
    cluster.send(cluster.batch(0, [*stations_of(FINE, range(3)), *stations_of(GATED, range(1))]))
    wait_for(lambda: f"{CALLBACK} blocks the event loop, for " in worker.log, worker.tail)
    # On a busy machine something else may hold up the loop, too, and be told; this is told again after a minute.
    line, *_ = [line for line in worker.log.splitlines() if f"{CALLBACK} blocks the event loop" in line]
    assert "(station W-0)" in line
    assert "model.py" in line
    assert "in blocking: " in line
    assert not worker.answers("/healthz", within=2.0)  # it runs on that loop, too: a probe has to have a timeout

    gate.touch()
    wait_for(lambda: "The event loop runs again, after " in worker.log, worker.tail)
    assert worker.answers("/healthz")
    page = worker.read("/metrics")
    slow = sum_of(page, "loop_lag_seconds_count") - sum_of(page, "loop_lag_seconds_bucket", le="0.5")
    assert slow >= 1
    assert str(cluster.finish()) == "1 complete, 0 partial, 0 copies, 0 late"
