"""A real Kafka for the tests that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.devbroker import DevBroker


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[DevBroker]:
    """One running Kafka for the whole session; a test that stops or kills its broker starts one of its own."""
    with DevBroker() as broker:
        yield broker
