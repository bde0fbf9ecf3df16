"""A real Kafka for the tests that need one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.devbroker import DevBroker
from tests.integration.support.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[DevBroker]:
    """One running Kafka for the whole session; a test that stops or kills its broker starts one of its own."""
    with DevBroker() as broker:
        yield broker


@pytest.fixture
def cluster(kafka_broker: DevBroker, tmp_path: Path) -> Iterator[Cluster]:
    """A share of the session's Kafka for one test."""
    with Cluster(kafka_broker, tmp_path) as own:
        yield own
