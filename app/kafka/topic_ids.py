"""Questions about topics by name: their ids, and what we may do with them.

A topic that was deleted and made again has the same name, another id, and other messages.

aiokafka knows no metadata request that answers them, so that one is described here (KIP-516: brokers since Kafka 2.8).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

from app.kafka.client import send_to_any

_UUID_BYTES: Final = 16
_NO_ID: Final = bytes(_UUID_BYTES)


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]  # aiokafka is untyped here
    """Sixteen bytes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(_UUID_BYTES)


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("topic_authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataRequest(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _Topics(Request[_MetadataRequest]):  # type: ignore[misc]
    """Asks for topics by name, and never makes one; `operations`: also for what we may do with them."""

    API_KEY = 3

    def __init__(self, names: Iterable[str], *, operations: bool) -> None:
        self._names = list(names)
        self._operations = operations

    def build(self, request_struct_class: type[_MetadataRequest]) -> _MetadataRequest:
        topics: list[tuple[bytes, str, dict[int, bytes]]] = [(_NO_ID, name, {}) for name in self._names]
        return request_struct_class(topics, False, False, self._operations, {})


async def ask_topics(
    client: AIOKafkaClient, names: Iterable[str], *, operations: bool = False
) -> Sequence[tuple[Any, ...]]:
    """Ask a broker about topics: for each its error code, name, id, is_internal, partitions, operations, tags.

    Operations are bits by the codes of Kafka's ACLs; a negative number where they are not told.

    Raises:
        IncompatibleBrokerVersion: the broker is older than ids.
        NotImplementedError: the same.
        KafkaError: no broker is known, or none answers.
    """
    response = await send_to_any(client, _Topics(names, operations=operations))
    topics: Sequence[tuple[Any, ...]] = response.topics
    return topics


async def topic_ids(client: AIOKafkaClient, names: Iterable[str]) -> Mapping[str, bytes]:
    """Ask a broker for the ids of topics; those that are not there are left out, all where it is older than ids.

    Raises:
        KafkaError: no broker is known, or the one that was asked does not answer.
    """
    try:
        return ids_in(await ask_topics(client, names))
    except (IncompatibleBrokerVersion, NotImplementedError):
        return {}


def ids_in(topics: Iterable[tuple[Any, ...]]) -> dict[str, bytes]:
    """Take the ids out of a response's topics, each with its error code, name and id first."""
    return {name: topic_id for error, name, topic_id, *_ in topics if not error and topic_id != _NO_ID}
