"""Topics are created in one place: one that is there is left alone, and one that can't be created is an error."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    InvalidReplicationFactorError,
    KafkaError,
    NotControllerError,
    RequestTimedOutError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
)

from app.kafka import topics
from app.kafka.topics import RETENTION, TopicError, create_and_wait, create_topics, is_shorter, source_spec, topic_specs
from app.settings import Settings

SPEC = source_spec(Settings(partitions=3), "yard")


class FakeAdmin:
    """A broker that answers every creation with one error code, and then has the topic or not."""

    def __init__(self, code: int, text: str | None = None) -> None:
        self.code, self.text = code, text
        self.created: list[Any] = []

    async def create_topics(self, topics: list[Any]) -> Any:
        self.created += topics
        return SimpleNamespace(topic_errors=[(topic.name, self.code, self.text) for topic in topics])

    async def describe_topics(self) -> list[dict[str, Any]]:
        partition = {"error_code": 0}
        return [{"topic": topic.name, "error_code": 0, "partitions": [partition] * 3} for topic in self.created]


@pytest.mark.parametrize("code", [0, TopicAlreadyExistsError.errno])
def test_a_topic_is_created_or_there_by_now(code: int) -> None:
    admin = FakeAdmin(code)
    assert asyncio.run(create_and_wait(admin, [SPEC], patience=1.0)) == {"yard": 3}
    (topic,) = admin.created
    assert (topic.num_partitions, topic.topic_configs) == (3, {"max.message.bytes": "67108864"})


def test_a_topic_that_can_not_be_created_is_named_with_the_brokers_reason() -> None:
    admin = FakeAdmin(InvalidReplicationFactorError.errno, "larger than available brokers: 1.")
    text = "topic yard can't be created: InvalidReplicationFactorError larger than available brokers: 1."
    for creating in (create_topics(admin, [SPEC]), create_and_wait(admin, [SPEC], patience=1.0)):
        with pytest.raises(TopicError, match=f"^{text}$"):
            asyncio.run(creating)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (
            {"x-late": 1},
            "topic x-late has 1 partition, but AGG_PARTITIONS is 2; set AGG_PARTITIONS to what they have, or",
        ),
        (
            {"x-late": 1, "x-dead-letter": 2},
            "is 2; they differ: delete those that are wrong, or take another AGG_APP_ID",
        ),
    ],
)
def test_a_topic_with_other_partitions_is_told_before_any_is_created(
    there: dict[str, int], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = FakeAdmin(0)

    async def counts(_: Any) -> dict[str, int]:
        return there

    async def with_admin(settings: Settings, patience: float, work: Any) -> Any:
        return await work(admin)

    monkeypatch.setattr(topics, "partition_counts", counts)
    monkeypatch.setattr(topics, "_with_broker", with_admin)
    with pytest.raises(TopicError, match=said):
        asyncio.run(topics.ensure_topics(Settings(app_id="x", partitions=2), patience=1.0))
    assert admin.created == []


@pytest.mark.parametrize("error", [RequestTimedOutError, NotControllerError])
def test_what_the_broker_can_not_do_just_now_is_no_topics_error(error: type[KafkaError]) -> None:
    with pytest.raises(error, match="yard"):
        asyncio.run(create_topics(FakeAdmin(error.errno), [SPEC]))


def test_an_answer_that_does_not_come_is_the_brokers_error_and_no_topics() -> None:
    class Silent(FakeAdmin):
        async def create_topics(self, topics: list[Any]) -> Any:  # noqa: ARG002 - aiokafka's
            raise RequestTimedOutError

    with pytest.raises(RequestTimedOutError):
        asyncio.run(create_and_wait(Silent(0), [SPEC], patience=1.0))


def test_topics_that_may_not_be_created_are_named_with_what_is_missing() -> None:
    admin = FakeAdmin(TopicAuthorizationFailedError.errno)
    with pytest.raises(TopicError, match=r"for want of the operation Create on them, or on the cluster .*: yard$"):
        asyncio.run(create_topics(admin, [SPEC]))


def test_event_topics_keep_messages_for_as_long_as_the_setting_says_and_no_others() -> None:
    specs = topic_specs(Settings(events_retention=7200, app_id="app"))
    kept = {spec.name: spec.config[RETENTION] for spec in specs if RETENTION in spec.config}
    assert kept == {"app-station-events": "7200000", "app-batch-events": "7200000"}


def test_for_ever_is_not_shorter_than_a_day() -> None:
    assert [is_shorter(retention, 86_400_000) for retention in (-1, 0, 60_000, 86_400_000)] == [
        False,
        True,
        True,
        False,
    ]
