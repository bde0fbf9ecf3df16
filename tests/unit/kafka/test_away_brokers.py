"""One of several brokers is away, or the one that was connected to goes: another is asked, or it is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    RequestTimedOutError,
)

from app.kafka import topics
from app.kafka.client import administering, send_to_any
from app.kafka.topics import BrokerError, output_limit
from app.settings import Settings

SETTINGS = Settings(output_topic="OUT", broker_patience=60.0)
GONE = [NodeNotReadyError(), KafkaConnectionError(), RequestTimedOutError(), TimeoutError()]


class FakeClient:
    """Knows brokers, of which some are away."""

    def __init__(self, known: Sequence[int], away: Sequence[int]) -> None:
        self.asked: list[int] = []
        self.cluster = SimpleNamespace(brokers=lambda: [SimpleNamespace(nodeId=node) for node in known])
        self._away = away

    async def send(self, node: int, request: str) -> str:
        self.asked.append(node)
        if node in self._away:
            raise NodeNotReadyError if node % 2 else KafkaConnectionError
        return f"{request} at {node}"


def test_another_broker_is_asked_where_one_is_away() -> None:
    for _ in range(20):  # in any order
        client = FakeClient([1, 2, 3], away=[1, 2])
        assert asyncio.run(send_to_any(client, "what")) == "what at 3"
        assert len(client.asked) == len(set(client.asked))


@pytest.mark.parametrize(("known", "error"), [([], KafkaConnectionError), ([1], NodeNotReadyError)])
def test_it_is_an_error_where_none_is_there(known: list[int], error: type[KafkaError]) -> None:
    with pytest.raises(error):
        asyncio.run(send_to_any(FakeClient(known, away=known), "what"))


def test_who_administers_asks_any_broker_but_where_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient([1, 2, 3], away=[1, 2])

    async def main() -> None:
        async with administering(SETTINGS) as admin:
            monkeypatch.setattr(admin._client.cluster, "brokers", client.cluster.brokers)
            monkeypatch.setattr(admin._client, "send", client.send)
            for _ in range(20):
                assert await admin._send_request("what") == "what at 3"
            with pytest.raises(NodeNotReadyError):
                await admin._send_request("what", 1)

    monkeypatch.setattr("aiokafka.admin.AIOKafkaAdminClient.start", lambda _: asyncio.sleep(0))
    asyncio.run(main())


class FakeBroker:
    """Is connected to each time, and answers a question about the output topic with one of these."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: BaseException | int) -> None:
        self.connections = 0
        self._answers = list(answers)
        monkeypatch.setattr(topics, "administering", self._connected)
        monkeypatch.setattr(topics, "largest_messages", self._answer)
        monkeypatch.setattr(topics, "CONNECT_PAUSE", 0.0)

    @asynccontextmanager
    async def _connected(self, _: Settings) -> AsyncIterator[None]:
        self.connections += 1
        yield

    async def _answer(self, *_: Any) -> dict[str, int]:
        answer = self._answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return {"OUT": answer}


def test_a_broker_that_goes_while_it_is_asked_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = FakeBroker(monkeypatch, *GONE, 7)
    assert asyncio.run(output_limit(SETTINGS)) == 7
    assert broker.connections == len(GONE) + 1


@pytest.mark.parametrize("error", GONE, ids=lambda error: type(error).__name__)
def test_it_is_named_in_a_line_when_patience_ends(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeBroker(monkeypatch, error)
    text = rf"^no broker answers at 127.0.0.1:9092 \({type(error).__name__}.*; start it.*waited 0 s"
    with pytest.raises(BrokerError, match=text):
        asyncio.run(output_limit(SETTINGS.model_copy(update={"broker_patience": 0.0})))


def test_what_the_broker_does_not_allow_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = FakeBroker(monkeypatch, ClusterAuthorizationFailedError())
    with pytest.raises(ClusterAuthorizationFailedError):
        asyncio.run(output_limit(SETTINGS))
    assert broker.connections == 1
