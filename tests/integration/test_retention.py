"""How long the event topics keep messages: given when they are created, and told where it is another time."""

from __future__ import annotations

import asyncio

import pytest

from app.kafka.client import administering
from app.kafka.topics import RETENTION, ensure_topics, topic_numbers
from tests.integration.support.cluster import Cluster
from tests.integration.support.commands import command_of
from tests.integration.support.letters import settings_of
from tests.integration.support.waiting import PATIENCE

pytestmark = pytest.mark.kafka


def retention_of(cluster: Cluster, *names: str) -> list[int]:
    """What the broker has of internal topics, in seconds."""

    async def look() -> dict[str, int]:
        async with administering(settings_of(cluster)) as admin:
            return await topic_numbers(admin, topics, RETENTION)

    topics = [f"{cluster.app_id}-{name}" for name in names]
    found = asyncio.run(look())
    return [found[topic] // 1000 for topic in topics]


def test_a_worker_gives_its_event_topics_the_retention_of_the_setting(cluster: Cluster) -> None:
    cluster.settings["events_retention"] = "7200"
    asyncio.run(ensure_topics(settings_of(cluster), patience=PATIENCE))
    assert retention_of(cluster, "station-events", "batch-events") == [7200, 7200]
    assert retention_of(cluster, "dead-letter") != [7200]


def test_a_topic_that_keeps_messages_for_another_time_is_told_and_left_as_it_is(cluster: Cluster) -> None:
    name = f"{cluster.app_id}-batch-events"
    cluster.create_topic(name, 4, retention_ms="60000", max_message_bytes=str(64 * 1024 * 1024))
    worker = cluster.start().wait_ready()
    lines = [line for line in worker.log.splitlines() if "AGG_EVENTS_RETENTION" in line]
    worker.terminate()
    (line,) = lines
    assert f"{name} has retention.ms=60000, not the 86400000 of AGG_EVENTS_RETENTION" in line
    assert "WARNING" in line
    assert "kafka-configs.sh --add-config retention.ms=86400000" in line
    assert retention_of(cluster, "batch-events") == [60]
    noted = [line for line in command_of(cluster, "check")().stdout.splitlines() if RETENTION in line]
    assert [line.split()[:2] for line in noted] == [["note", name]]
