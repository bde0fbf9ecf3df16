"""How long a fetch may wait at the broker."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest

from app.kafka.consumer_thread import FETCH_WAIT_MS, PARTIAL_FETCH_WAIT_MS, ConsumerThread
from app.settings import Settings


def sent(request: object, *, untaken: dict[str, object]) -> tuple[Any, dict[str, Any]]:
    """Send a request as the thread of a consumer does that has fetched and not taken something."""
    seen: list[tuple[Any, dict[str, Any]]] = []

    async def send(_: int, request: object, **options: Any) -> None:
        seen.append((request, options))

    thread: Any = ConsumerThread.__new__(ConsumerThread)
    thread.app = SimpleNamespace(conf=SimpleNamespace(consumer_group_instance_id=None), settings=Settings())
    thread._consumer = SimpleNamespace(_fetcher=SimpleNamespace(_records=untaken))
    asyncio.run(thread._noting(send)(0, request))
    return seen[0]


@pytest.mark.parametrize(
    ("untaken", "wait"),
    [({}, FETCH_WAIT_MS), ({"a partition": "its records"}, PARTIAL_FETCH_WAIT_MS)],
    ids=["all partitions are in it", "a partition is left out"],
)
def test_a_fetch_waits_long_only_if_no_partition_waits_for_the_next_one(untaken: dict[str, object], wait: int) -> None:
    request, _ = sent(FetchRequest(500, 1, 1024, 0, []), untaken=untaken)
    assert request._max_wait_ms == wait


def test_a_fetch_has_a_connection_of_its_own() -> None:
    _, of_fetch = sent(FetchRequest(500, 1, 1024, 0, []), untaken={})
    _, of_metadata = sent(MetadataRequest([]), untaken={})
    assert of_fetch["group"] != of_metadata.get("group")
