"""What Kafka does not let us do is found before it is done, and named with who we are and what to grant."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    IncompatibleBrokerVersion,
    TopicAuthorizationFailedError,
)

from app.kafka.permissions import Operation, denial_text, lacking, lacks_text, principal
from app.settings import Settings

SETTINGS = Settings(source_topics=("S",), context_topics=("C",), app_id="app")
ALL, NO_READ, ONLY_DESCRIBE = 0b1_1111_1000, 0b1_1111_0000, 1 << 8
UNTOLD = -(2**31)
BOTH = (Operation.READ, Operation.WRITE)


class FakeAdmin:
    """A broker that allows these operations on topics (an error instead where it is one), and on the group."""

    def __init__(self, topics: Mapping[str, int | type], group: Any = ALL) -> None:
        self.topics, self.group = topics, group
        self._client = self
        self.cluster = SimpleNamespace(brokers=lambda: [SimpleNamespace(nodeId=1)])

    async def send(self, _node: int, request: Any) -> Any:
        names = [name for _, name, _ in request.build(lambda topics, *_: SimpleNamespace(topics=topics)).topics]
        if self.topics == {}:
            raise IncompatibleBrokerVersion
        return SimpleNamespace(topics=[self._row(name) for name in names])

    def _row(self, name: str) -> tuple[Any, ...]:
        allowed = self.topics.get(name, ALL)
        error = allowed.errno if isinstance(allowed, type) else 0  # type: ignore[attr-defined]
        return error, name, b"", False, [], 0 if error else allowed, {}

    async def find_coordinator(self, group: str) -> int:
        assert group == "app"
        if isinstance(self.group, type):
            raise self.group
        return 1

    async def _send_request(self, _request: Any, _node: int) -> Any:
        return SimpleNamespace(groups=[(0, "app", "", "", "", [], self.group)])


def lacks(topics: Mapping[str, int | type], group: Any = ALL) -> dict[str, Any]:
    return dict(asyncio.run(lacking(FakeAdmin(topics, group), SETTINGS, ["app-late", "OUT"])))


def test_nothing_is_missing_where_all_is_allowed() -> None:
    assert lacks({"S": ALL}) == {}


def test_what_is_not_allowed_is_found_by_topic() -> None:
    assert lacks({"S": NO_READ, "OUT": ONLY_DESCRIBE, "app-late": ALL & ~Operation.WRITE.bit}) == {
        "topic S": (Operation.READ,),
        "topic OUT": BOTH,
        "topic app-late": (Operation.WRITE,),
    }


def test_a_topic_that_we_may_not_see_lacks_all_that_is_needed() -> None:
    hidden = TopicAuthorizationFailedError
    assert lacks({"C": hidden, "OUT": hidden}) == {"topic C": (Operation.READ,), "topic OUT": BOTH}


@pytest.mark.parametrize("answer", [UNTOLD, 0])
def test_a_broker_that_does_not_tell_is_believed_to_allow_all(answer: int) -> None:
    assert lacks({"S": answer, "OUT": answer}, answer) == {}
    assert lacks({}) == {}  # it is too old to be asked


def test_a_topic_that_is_not_there_yet_lacks_nothing() -> None:
    unknown = type("Unknown", (), {"errno": 3})
    assert lacks({"S": unknown, "OUT": unknown}) == {}


@pytest.mark.parametrize("group", [GroupAuthorizationFailedError, ONLY_DESCRIBE])
def test_a_group_that_we_may_not_join_is_named(group: object) -> None:
    assert lacks({"S": ALL}, group) == {"group app": (Operation.READ,)}


def test_a_new_cluster_has_no_coordinator_yet() -> None:
    assert lacks({"S": ALL}, GroupCoordinatorNotAvailableError) == {}


def test_all_that_is_missing_is_said_in_one_line_with_who_lacks_it() -> None:
    login = Settings(security_protocol="SASL_PLAINTEXT", sasl_username="plant", sasl_password="geheim")  # noqa: S106
    text = lacks_text(login, {"topic S": (Operation.READ,), "topic OUT": BOTH, "group app": (Operation.READ,)})
    assert text == (
        "Kafka does not let User:plant do what a worker does: it lacks Read on topic S, group app; "
        "Read and Write on topic OUT; grant it (ACLs; docs/operations.md, Your own Kafka)"
    )
    assert denial_text(login, TopicAuthorizationFailedError("S")) == (
        "Kafka does not let User:plant do this: it lacks an operation on topic S; "
        "grant it (ACLs; docs/operations.md, Your own Kafka)"
    )
    assert principal(Settings()) == "User:ANONYMOUS"
