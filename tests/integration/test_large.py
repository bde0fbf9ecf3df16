"""Messages and batches as large as plants send them."""

from __future__ import annotations

import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.data import EMPTY, FINE, stations_of

pytestmark = pytest.mark.kafka

WINDOW = 168  # hourly records of a station: a week
LIMIT = 64 * 1024


def test_a_message_of_twenty_megabytes_becomes_one_batch(cluster: Cluster) -> None:
    cluster.start().wait_ready()
    batch = cluster.batch(0, stations_of(FINE, range(480)), window=WINDOW)
    assert len(batch.value) > 20_000_000
    cluster.send(batch)
    assert str(cluster.finish()) == "1 complete, 0 partial, 0 copies, 0 late"


def test_a_batch_of_five_thousand_stations_goes_out_in_parts_under_the_limit(cluster: Cluster) -> None:
    cluster.start({"max_message_bytes": str(LIMIT)}).wait_ready()
    cluster.send(cluster.batch(0, [*stations_of(FINE, range(4_900)), *stations_of(EMPTY, range(100))]))
    assert str(cluster.finish()) == "1 complete, 0 partial, 0 copies, 0 late"
    sizes = [len(message.value or b"") for message in cluster.outputs()]
    assert len(sizes) > 3
    assert max(sizes) <= LIMIT
