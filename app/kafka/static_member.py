"""Heartbeats of a static member of the group, which say its name (KIP-345: brokers since Kafka 2.3).

aiokafka joins under the name and leaves it out of its heartbeats and commits. When another worker takes the name, the
broker knows the id of the older one no more, and that would join anew and take the name back: both for ever. With the
name in it the heartbeat is answered by what is the case, and the older one can end.
"""

from __future__ import annotations

from typing import Any, Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.types import Int16, Int32, Schema, String

_HEARTBEAT: Final = HeartbeatRequest.API_KEY
_COMMIT: Final = OffsetCommitRequest.API_KEY
UNKNOWN_MEMBER_ID: Final = 25
FENCED_INSTANCE_ID: Final = 82


class _HeartbeatResponse(Response):  # type: ignore[misc]  # aiokafka is untyped here
    API_KEY = _HEARTBEAT
    API_VERSION = 3
    SCHEMA = Schema(("throttle_time_ms", Int32), ("error_code", Int16))


class _HeartbeatRequest(RequestStruct):  # type: ignore[misc]
    API_KEY = _HEARTBEAT
    API_VERSION = 3
    RESPONSE_TYPE = _HeartbeatResponse
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("generation_id", Int32),
        ("member_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
    )


class NamedHeartbeat(Request[_HeartbeatRequest]):  # type: ignore[misc]
    """A heartbeat of aiokafka's with the member's name."""

    API_KEY = _HEARTBEAT

    def __init__(self, heartbeat: HeartbeatRequest, name: str) -> None:
        self._heartbeat = heartbeat
        self._name = name

    def build(self, request_struct_class: type[_HeartbeatRequest]) -> _HeartbeatRequest:
        """Build it."""
        one = self._heartbeat
        return request_struct_class(one._group, one._generation_id, one._member_id, self._name)


def is_fenced(response: Any) -> bool:
    """Say whether a broker's response is that to a heartbeat of a member whose name another one has taken."""
    return bool(response.API_KEY == _HEARTBEAT and response.error_code == FENCED_INSTANCE_ID)


def is_unknown(response: Any) -> bool:
    """Say whether a broker's response is that to a commit of a member that the group does not know any more."""
    if response.API_KEY != _COMMIT:
        return False
    return any(error == UNKNOWN_MEMBER_ID for _, partitions in response.topics for _, error in partitions)
