"""A share of a real Kafka for each test, and a dead-letter topic in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.kafka.topics import ensure_topics
from tests.integration.support.cluster import Cluster
from tests.integration.support.commands import command_of
from tests.integration.support.letters import PAYLOAD, ByHand, settings_of
from tests.integration.support.waiting import PATIENCE
from tests.shared_brokers import SharedBroker


@pytest.fixture
def cluster(kafka_broker: SharedBroker, tmp_path: Path) -> Iterator[Cluster]:
    """A share of the session's Kafka for one test."""
    with Cluster(kafka_broker, tmp_path) as own:
        yield own


@pytest.fixture(scope="module")
def shared_cluster(kafka_broker: SharedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A share of the session's Kafka for tests of one module that use the same workers."""
    with Cluster(kafka_broker, tmp_path_factory.mktemp("shared")) as own:
        yield own


@pytest.fixture
def by_hand(cluster: Cluster) -> ByHand:
    """A dead-letter topic, and no worker."""
    asyncio.run(ensure_topics(settings_of(cluster), patience=PATIENCE))
    return ByHand(cluster, command_of(cluster, "dead-letters"))


@pytest.fixture
def filled(by_hand: ByHand) -> ByHand:
    """Four letters, each before a hole: the transaction's marker. Also the topic's end is one."""
    source = {"source-topic": by_hand.cluster.source, "source-partition": "2", "source-offset": "17"}
    failed = source | {"reason": "station-failed", "batch-id": "b1", "station-id": "A"}
    by_hand.put(0, b'{"T":[]}', failed, ago=7200)
    by_hand.put(0, b'{"x":1}', source | {"reason": "bad-record", "batch-id": "b1"}, ago=60)
    by_hand.put(3, b"\xff", source | {"reason": "bad-message"}, ago=30)
    by_hand.put(3, json.dumps(PAYLOAD).encode(), {"reason": "discarded", "batch-id": "b2"}, ago=90)
    return by_hand
