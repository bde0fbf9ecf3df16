"""All topics of the application: their names, partitions and configurations. A worker creates and verifies them.

A topic has to exist before the first message is sent to it: a broker that creates topics by itself would give it its
own default number of partitions, and what is sent to a chosen partition would be refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from app.kafka.client import administering
from app.kafka.diagnosis import Trouble, find_trouble
from app.kafka.permissions import hidden_hint, lacking, lacks_text
from app.messages.output import OUTPUT_HEADROOM
from app.observability.log_lines import Line, Shown, tell
from app.settings import Settings
from app.words import Words, both_of, joined, told, words
from tables.storage.records import Table

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

INTERNAL_MESSAGE_BYTES = 64 * 1024 * 1024
INTERNAL_HEADROOM = 16 * 1024 * 1024  # for what else of a chunk is in the same message
LARGEST = "max.message.bytes"
RETENTION = "retention.ms"
CONNECT_PAUSE = 0.5
CREATE_SECONDS = 10.0  # until a topic that a command has created has come up


class TopicError(RuntimeError):
    """A topic is not as the application needs it; the text says which, what is wrong and what to do."""


def not_created(settings: Settings, topic: str) -> TopicError:
    """Make the error that a topic which workers create is not there."""
    return TopicError(
        words(
            "there is no topic {topic}: a worker of AGG_APP_ID={app_id} creates it when it starts{hint}",
            "没有主题 {topic}：AGG_APP_ID={app_id} 的 worker 启动时会创建它{hint}",
            topic=topic,
            app_id=settings.app_id,
            hint=hidden_hint(settings),
        )
    )


def refused(servers: str, why: str) -> Words:
    """Say that a broker refuses the connection."""
    return words(
        "the broker at {servers} refuses the connection: {why}",
        "{servers} 的 Kafka 拒绝连接：{why}",
        servers=servers,
        why=why,
    )


class BrokerError(RuntimeError):
    """The broker can't be reached, does not let us in, or does not allow what a worker does."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic that the application creates. `exact` says that an existing one must have this partition count."""

    name: str
    partitions: int
    replication_factor: int
    config: dict[str, str]
    exact: bool


def message_bytes(settings: Settings) -> int:
    """Return the size of the largest message on a topic of ours, in bytes.

    A result or a payload travels and is stored as text inside JSON, which can double it.
    """
    return max(INTERNAL_MESSAGE_BYTES, 2 * settings.max_message_bytes + INTERNAL_HEADROOM)


def changelog_topic(app_id: str, table: Table) -> str:
    """Return the name of a table's changelog, as Faust makes it."""
    return f"{app_id}-{table.value}-changelog"


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """Return the specs of all topics that the application creates."""
    largest = {LARGEST: str(message_bytes(settings))}
    events = {**largest, RETENTION: str(1000 * settings.events_retention)}
    compacted = {
        **largest,
        "cleanup.policy": "compact",
        # Closed batches leave the changelog soon after they have been forgotten, not a week and a gigabyte later.
        "segment.bytes": str(2 * message_bytes(settings)),
        "segment.ms": str(60 * 60 * 1000),
        "min.cleanable.dirty.ratio": "0.2",
    }

    def spec(name: str, config: dict[str, str], *, exact: bool = True) -> TopicSpec:
        return TopicSpec(name, settings.partitions, settings.replication_factor, config, exact)

    return [
        spec(settings.station_events_topic, events),
        spec(settings.batch_events_topic, events),
        spec(settings.late_topic, largest),
        spec(settings.dead_letter_topic, largest),
        spec(settings.replayed_topic, {**largest, "cleanup.policy": "compact"}),
        *(spec(changelog_topic(settings.app_id, table), compacted) for table in Table),
        spec(settings.output_topic, {LARGEST: str(settings.max_message_bytes + OUTPUT_HEADROOM)}, exact=False),
    ]


def source_spec(settings: Settings, name: str) -> TopicSpec:
    """Return the spec of a source topic, for those who create one: it has as many partitions as our own topics."""
    config = {LARGEST: str(INTERNAL_MESSAGE_BYTES)}
    return TopicSpec(name, settings.partitions, settings.replication_factor, config, exact=False)


async def ensure_topics(settings: Settings, *, patience: float, create: bool = True) -> dict[str, int]:
    """Create what is missing and verify what is there; returns the partition count of every topic of the cluster.

    Args:
        settings: whose topics.
        patience: seconds to wait for a broker that can't be reached.
        create: False only looks.

    Raises:
        BrokerError: there is no broker, or it refuses us, or something that a worker does.
        TopicError: a topic has the wrong partition count, or can't be created.
    """
    specs = topic_specs(settings)

    async def ensure(admin: AIOKafkaAdminClient) -> dict[str, int]:
        counts = await partition_counts(admin)
        missing = [spec for spec in specs if spec.name not in counts]
        _verify(specs, counts)  # before anything is created that would have to be deleted
        if create:
            await _require_permissions(admin, settings, specs)
        if missing and create:
            counts = await create_and_wait(admin, missing, patience=patience)
            names = ", ".join(spec.name for spec in missing)
            tell(logger, logging.INFO, settings.log_language, Line.TOPICS_CREATED, topics=Shown(names))
            await _require_permissions(admin, settings, specs)  # nobody may do anything with what is not there
            _verify(specs, counts)
        if create:
            await _tell_retention(admin, settings, [spec for spec in specs if spec not in missing])
        return counts

    return await _with_broker(settings, patience, ensure)


async def _require_permissions(admin: AIOKafkaAdminClient, settings: Settings, specs: Sequence[TopicSpec]) -> None:
    lacks = await lacking(admin, settings, [spec.name for spec in specs])
    if lacks:
        raise BrokerError(lacks_text(settings, lacks))


async def _tell_retention(admin: AIOKafkaAdminClient, settings: Settings, specs: Sequence[TopicSpec]) -> None:
    """Say which topics keep messages for another time than they would if they were created now."""
    bounded = {spec.name: int(spec.config[RETENTION]) for spec in specs if RETENTION in spec.config}
    for name, found in (await topic_numbers(admin, list(bounded), RETENTION)).items():
        if found != bounded[name]:
            level = logging.WARNING if is_shorter(found, bounded[name]) else logging.INFO
            about = {"topic": name, "found": found, "wanted": bounded[name]}
            tell(logger, level, settings.log_language, Line.RETENTION_DIFFERS, **about)


def is_shorter(retention: int, than: int) -> bool:
    """Compare values of `retention.ms`: a negative one is for ever."""
    return 0 <= retention < than


async def _with_broker(
    settings: Settings, patience: float, work: Callable[[AIOKafkaAdminClient], Awaitable[Answer]]
) -> Answer:
    """Do something with a client of the broker, which is waited for; again where it goes away meanwhile.

    Raises:
        BrokerError: it can't be reached, not for so many seconds, or refuses us.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + patience
    waits = False
    while True:
        async with _connected(settings, patience, give_up_at) as admin:
            try:
                return await work(admin)
            except KafkaError as error:
                if not error.retriable:
                    raise
                servers, why = Shown(", ".join(settings.bootstrap_servers)), both_of(error)
                if loop.time() >= give_up_at:
                    message = words(
                        "Kafka at {servers} can't do what a start needs: {why} "
                        "(waited {patience:g} s, AGG_BROKER_PATIENCE)",
                        "Kafka {servers} 无法完成启动所需的操作：{why}（已等待 {patience:g} 秒，AGG_BROKER_PATIENCE）",
                        servers=servers,
                        why=why,
                        patience=patience,
                    )
                    raise BrokerError(message) from error
                if not waits:
                    waits = True
                    about = {"broker": servers, "error": told(why, settings.log_language), "patience": patience}
                    tell(logger, logging.WARNING, settings.log_language, Line.BROKER_UNABLE, **about)
        await asyncio.sleep(CONNECT_PAUSE)


@asynccontextmanager
async def _connected(settings: Settings, patience: float, give_up_at: float) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client of the broker, which is waited for until then, by the loop's time; closed whatever happens."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    servers = Shown(", ".join(settings.bootstrap_servers))
    away = False
    async with AsyncExitStack() as stack:
        while True:
            try:
                admin = await stack.enter_async_context(administering(settings))
                break
            except KafkaConnectionError as error:
                trouble = await find_trouble(settings) or Trouble(str(error))
                if trouble.final:
                    message = refused(servers, trouble.text)
                    raise BrokerError(message) from error
                if loop.time() >= give_up_at:
                    message = words(
                        "no broker answers at {servers} ({why}); start it, or set AGG_BROKER "
                        "(waited {patience:g} s, AGG_BROKER_PATIENCE)",
                        "{servers} 没有 Kafka 应答（{why}）；请启动它，或设置 AGG_BROKER"
                        "（已等待 {patience:g} 秒，AGG_BROKER_PATIENCE）",
                        servers=servers,
                        why=trouble.text,
                        patience=patience,
                    )
                    raise BrokerError(message) from error
                if not away:
                    away = True
                    about = {
                        "broker": servers,
                        "patience": patience,
                        "error": told(trouble.text, settings.log_language),
                    }
                    tell(logger, logging.WARNING, settings.log_language, Line.BROKER_AWAY, **about)
                await asyncio.sleep(CONNECT_PAUSE)
            except KafkaError as error:
                message = refused(servers, repr(error))
                raise BrokerError(message) from error
        if away:
            waited = loop.time() - started
            tell(logger, logging.INFO, settings.log_language, Line.BROKER_BACK, broker=servers, away=waited)
        yield admin


async def partition_counts(admin: AIOKafkaAdminClient) -> dict[str, int]:
    """Return the partition count of every topic of the cluster."""
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in await admin.describe_topics()
        if not topic["error_code"] and all(not part["error_code"] for part in topic["partitions"])
    }


async def create_topics(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> None:
    """Create topics. One that is there by now is left as it is: several workers may start at once.

    Raises:
        TopicError: one can't be created.
        KafkaError: the broker can't do it just now.
    """
    response = await admin.create_topics(
        [NewTopic(spec.name, spec.partitions, spec.replication_factor, topic_configs=spec.config) for spec in specs]
    )
    denied = [name for name, code, *_ in response.topic_errors if code == TopicAuthorizationFailedError.errno]
    if denied:
        text = words(
            "topics can't be created, for want of the operation Create on them, or on the cluster (ACLs; "
            "docs/operations.md, Your own Kafka): {names}",
            "无法创建主题，缺少对它们或集群的 Create 权限（ACL，见 docs/operations.zh-CN.md）：{names}",
            names=", ".join(denied),
        )
        raise TopicError(text)
    for name, code, *message in response.topic_errors:
        error = for_code(code)
        if code and error.retriable:
            raise error(name)
        if code and error is not TopicAlreadyExistsError:
            text = words(
                "topic {name} can't be created: {error}",
                "无法创建主题 {name}：{error}",
                name=name,
                error=" ".join([error.__name__, *filter(None, message)]),
            )
            raise TopicError(text)


async def create_and_wait(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], *, patience: float) -> dict[str, int]:
    """Create topics, and wait until they are there; returns the partition count of every topic of the cluster.

    Raises:
        TopicError: one can't be created, or has not come up within `patience` seconds.
    """
    await create_topics(admin, specs)
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + max(patience, 10.0)
    while True:
        counts = await partition_counts(admin)
        missing = [spec.name for spec in specs if spec.name not in counts]
        if not missing:
            return counts
        if loop.time() >= give_up_at:
            text = words(
                "topics that were created have not come up: {names}",
                "已创建的主题没有就绪：{names}",
                names=", ".join(missing),
            )
            raise TopicError(text)
        await asyncio.sleep(0.05)


def _verify(specs: Sequence[TopicSpec], counts: dict[str, int]) -> None:
    wrong = [
        words(
            "topic {name} has {found:partition}, but AGG_PARTITIONS is {wanted}",
            "主题 {name} 有 {found} 个分区，而 AGG_PARTITIONS 为 {wanted}",
            name=spec.name,
            found=counts[spec.name],
            wanted=spec.partitions,
        )
        for spec in specs
        if spec.exact and spec.name in counts and counts[spec.name] != spec.partitions
    ]
    if wrong:
        remedy = words("set AGG_PARTITIONS to what they have", "请把 AGG_PARTITIONS 设为其分区数")
        if len({counts[spec.name] for spec in specs if spec.exact and spec.name in counts}) > 1:
            remedy = words("they differ: delete those that are wrong", "各主题分区数不同：请删除有误的主题")
        message = words(
            "{wrong}; {remedy}, or take another AGG_APP_ID",
            "{wrong}；{remedy}，或改用其他 AGG_APP_ID",
            wrong=joined("; ", wrong),
            remedy=remedy,
        )
        raise TopicError(message)


async def output_limit(settings: Settings) -> int | None:
    """Return `max.message.bytes` of the output topic, which may be the user's own; None if the broker does not tell."""
    limits = await _with_broker(
        settings, settings.broker_patience, lambda admin: largest_messages(admin, [settings.output_topic])
    )
    return limits.get(settings.output_topic)


async def largest_messages(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    """Return `max.message.bytes` of topics, as far as the broker tells."""
    return await topic_numbers(admin, names, LARGEST)


async def topic_numbers(admin: AIOKafkaAdminClient, names: Sequence[str], key: str) -> dict[str, int]:
    """Return a number of the configuration of topics, as far as the broker tells."""
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name, {key: None}) for name in names]
    found: dict[str, int] = {}
    for response in await admin.describe_configs(wanted) if wanted else ():
        for error, _message, _type, name, entries in response.resources:
            if not error:
                values = {entry: value for entry, value, *_ in entries}
                found[name] = int(values[key])
    return found
