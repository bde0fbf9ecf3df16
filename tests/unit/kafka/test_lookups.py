"""Places that may have gone are looked for before they are read."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

from app.kafka.lookups import Lookups
from app.messages.output import OutputId
from app.settings import Settings
from tables.model.events import Source
from tests.virtual_time import run_in_virtual_time

THERE = {"OUT": 2, "T": 1}


def lookups(
    monkeypatch: pytest.MonkeyPatch, *, fails: Exception | None = None, unanswered: int = 0, patience: float = 60.0
) -> Lookups:
    """Lookups in a cluster with the topics THERE; what is read at a place that is there is not looked at."""
    left = unanswered

    async def fetch_all_metadata() -> ClusterMetadata:
        nonlocal left
        await asyncio.sleep(0)
        if left:
            left -= 1
            raise KafkaConnectionError
        cluster = ClusterMetadata()
        cluster._partitions = {topic: dict.fromkeys(range(count)) for topic, count in THERE.items()}
        return cluster

    async def found(_: Settings, *where: Any) -> Any:
        await asyncio.sleep(0)
        if fails is not None:
            raise fails
        return {OutputId(b"k", 1, 1, 1, 0)} if isinstance(where[0], str) else dict.fromkeys(where[0])

    monkeypatch.setattr("app.kafka.lookups.find_outputs", found)
    monkeypatch.setattr("app.kafka.lookups.find_sources", found)
    client = SimpleNamespace(fetch_all_metadata=fetch_all_metadata)
    producer: Any = SimpleNamespace(client=client)
    return Lookups(Settings(broker_patience=patience), lambda: producer)


def test_a_place_that_is_there_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_in_virtual_time(lookups(monkeypatch).find_outputs("OUT", 1, 0.0)) == {OutputId(b"k", 1, 1, 1, 0)}


@pytest.mark.parametrize(("topic", "partition"), [("OUT", 2), ("gone", 0)])
def test_no_output_stands_in_a_partition_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, topic: str, partition: int
) -> None:
    assert run_in_virtual_time(lookups(monkeypatch).find_outputs(topic, partition, 0.0)) == set()


def test_of_source_messages_those_are_read_whose_partition_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [Source("T", 0, 3), Source("T", 1, 3), Source("gone", 0, 3)]
    assert set(run_in_virtual_time(lookups(monkeypatch).find_sources(sources))) == {Source("T", 0, 3)}
    assert run_in_virtual_time(lookups(monkeypatch).find_sources(sources[1:])) == {}


def test_a_broker_that_is_away_for_a_while_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_in_virtual_time(lookups(monkeypatch, unanswered=3).find_outputs("OUT", 1, 0.0))
    with pytest.raises(KafkaError, match=r"OUT\[1\] can't be read: KafkaConnectionError"):
        run_in_virtual_time(lookups(monkeypatch, unanswered=1, patience=0.0).find_outputs("OUT", 1, 0.0))


def test_what_can_not_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KafkaError, match=r"OUT\[1\] can't be read: KafkaTimeoutError"):
        run_in_virtual_time(lookups(monkeypatch, fails=KafkaTimeoutError()).find_outputs("OUT", 1, 0.0))
    with pytest.raises(KafkaError, match=r"T\[0\] can't be read"):
        run_in_virtual_time(lookups(monkeypatch, fails=KafkaTimeoutError()).find_sources([Source("T", 0, 1)]))
