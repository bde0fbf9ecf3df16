"""A share of a real Kafka for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.devbroker import DevBroker
from tests.integration.support.cluster import Cluster


@pytest.fixture
def cluster(kafka_broker: DevBroker, tmp_path: Path) -> Iterator[Cluster]:
    """A share of the session's Kafka for one test."""
    with Cluster(kafka_broker, tmp_path) as own:
        yield own
