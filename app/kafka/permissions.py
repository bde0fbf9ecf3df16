"""What Kafka lets us do (its ACLs), held against what a worker does: what is missing is said before anything begins.

Brokers since Kafka 2.8 are asked which operations they allow. One that does not tell is taken for one that allows all:
what it refuses is an error when it is done.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import IntEnum
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    KafkaError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request

from app.kafka.topic_ids import ask_topics
from app.settings import Settings
from app.settings.enums import SecurityProtocol
from app.words import Words, joined, words

AUTHORIZATION_ERRORS: Final = (
    TopicAuthorizationFailedError,
    GroupAuthorizationFailedError,
    ClusterAuthorizationFailedError,
)
_WHERE: Final = words(
    "grant it (ACLs; docs/operations.md, Your own Kafka)", "请授予权限（ACL，见 docs/operations.zh-CN.md）"
)


_CERTIFIED: Final = words("the principal of AGG_SSL_CERTFILE", "AGG_SSL_CERTFILE 的主体")


class Operation(IntEnum):
    """Operations of Kafka's ACLs, with their codes: the places of their bits in what a broker allows."""

    READ = 3
    WRITE = 4
    DESCRIBE = 8

    @property
    def bit(self) -> int:
        """Its bit."""
        return 1 << self.value


_READS: Final = (Operation.READ,)
_READS_AND_WRITES: Final = (Operation.READ, Operation.WRITE)

Lacks = Mapping[str, Collection[Operation]]
"""Operations that are not allowed, by resource: `topic T`, `group G`."""


def principal(settings: Settings) -> str:
    """Return who we are to the broker, as ACLs name it, as far as we know it."""
    if settings.security_protocol.authenticated:
        return f"User:{settings.sasl_username}"
    return _CERTIFIED if settings.ssl_certfile else "User:ANONYMOUS"


async def lacking(admin: AIOKafkaAdminClient, settings: Settings, own_topics: Iterable[str]) -> Lacks:
    """Ask what of a worker's work the broker would refuse.

    A topic that is not there yet lacks nothing, if we may know that it is not there. `own_topics` are those that a
    worker writes to, and reads.

    Raises:
        KafkaError: the broker does not answer.
    """
    needs = dict.fromkeys(settings.foreign_topics, _READS) | dict.fromkeys(own_topics, _READS_AND_WRITES)
    found = {f"topic {name}": one for name, one in (await _lacking_topics(admin._client, needs)).items()}
    if not await _may_read_group(admin, settings.app_id):
        found[f"group {settings.app_id}"] = _READS
    return found


def lacks_text(settings: Settings, lacks: Lacks) -> Words:
    """Say what is not allowed, and what to do."""
    resources: dict[str, list[str]] = {}
    for resource, operations in lacks.items():
        resources.setdefault(operations_text(operations), []).append(resource)
    which = [
        words("{what} on {names}", "对 {names} 的 {what}", what=what, names=", ".join(names))
        for what, names in resources.items()
    ]
    return words(
        "Kafka does not let {who} do what a worker does: it lacks {which}; {where}",
        "Kafka 不允许 {who} 执行 worker 的操作：缺少{which}；{where}",
        who=principal(settings),
        which=joined("; ", which),
        where=_WHERE,
    )


def operations_text(operations: Collection[Operation]) -> str:
    """Name operations: `Read and Write`."""
    return " and ".join(operation.name.capitalize() for operation in operations)


def denial_text(settings: Settings, error: KafkaError) -> Words:
    """Say of one of `AUTHORIZATION_ERRORS` what is not allowed, and what to do."""
    kind = type(error).__name__.removesuffix("AuthorizationFailedError").lower()
    return words(
        "Kafka does not let {who} do this: it lacks an operation on {kind} {which}; {where}",
        "Kafka 不允许 {who} 执行此操作：缺少对 {kind} {which} 的权限；{where}",
        who=principal(settings),
        kind=kind,
        which=", ".join(map(str, error.args)) or words("what was asked for", "所请求资源"),
        where=_WHERE,
    )


async def _lacking_topics(
    client: AIOKafkaClient, needs: Mapping[str, tuple[Operation, ...]]
) -> dict[str, tuple[Operation, ...]]:
    try:
        topics = await ask_topics(client, needs, operations=True)
    except (IncompatibleBrokerVersion, NotImplementedError):
        return {}
    lacks: dict[str, tuple[Operation, ...]] = {}
    for error, name, _id, _internal, _partitions, allowed, _tags in topics:
        if error == TopicAuthorizationFailedError.errno:
            lacks[name] = needs[name]
        elif not error and (missing := _missing(needs[name], allowed)):
            lacks[name] = missing
    return {name: lacks[name] for name in needs if name in lacks}  # the broker has an order of its own


def _missing(needed: Iterable[Operation], allowed: int) -> tuple[Operation, ...]:
    """Return the operations whose bits are not set. Who sees a topic may describe it: else that is no answer."""
    if allowed < 0 or not allowed & Operation.DESCRIBE.bit:
        return ()
    return tuple(operation for operation in needed if not allowed & operation.bit)


class _DescribeGroups(DescribeGroupsRequest_v3):  # type: ignore[misc]  # aiokafka is untyped here
    RESPONSE_TYPE = DescribeGroupsResponse_v3  # aiokafka's has another, in which the operations are not read


class _GroupOperations(Request[_DescribeGroups]):  # type: ignore[misc]
    """Asks what we may do with a group."""

    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[_DescribeGroups]) -> _DescribeGroups:
        return request_struct_class([self._group], True)


async def _may_read_group(admin: AIOKafkaAdminClient, group: str) -> bool:
    try:
        coordinator = await admin.find_coordinator(group)
        response: Any = await admin._send_request(_GroupOperations(group), coordinator)
    except GroupAuthorizationFailedError:
        return False
    except (KafkaError, NotImplementedError):  # a new cluster has no coordinator yet
        return True
    error, *_, allowed = response.groups[0]
    if error:
        return bool(error != GroupAuthorizationFailedError.errno)
    return not _missing(_READS, allowed)


def hidden_hint(settings: Settings) -> str:
    """Say that a topic which seems not to be there may be hidden, where the broker knows who we are."""
    if settings.security_protocol is SecurityProtocol.PLAINTEXT:
        return ""
    return words(
        "; or {who} may not see it (the operation Describe, which Read and Write have in them)",
        "；或 {who} 看不到它（需要 Describe 权限，Read 和 Write 已包含）",
        who=principal(settings),
    )
