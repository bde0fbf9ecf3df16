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
from app.kafka.client import BrokersSilentError, administering, send_to_any
from app.kafka.topics import BrokerError, output_limit
from app.settings import Settings

SETTINGS = Settings(output_topic="OUT", broker_patience=60.0)
GONE = [NodeNotReadyError(), KafkaConnectionError(), RequestTimedOutError()]
GONE_ERRORS = [type(error) for error in GONE]


class FakeClient:
    """Knows brokers, of which some are away."""

    def __init__(self, known: Sequence[int], away: Sequence[int], controller: int | None = None) -> None:
        self.asked: list[int] = []
        self.cluster = SimpleNamespace(
            brokers=lambda: [SimpleNamespace(nodeId=node, host="inside", port=9090 + node) for node in known],
            controller=None if controller is None else SimpleNamespace(nodeId=controller),
        )
        self._away = away

    async def send(self, node: int, request: str) -> str:
        self.asked.append(node)
        if node in self._away:
            raise GONE_ERRORS[node % 3]
        return f"{request} at {node}"


def test_another_broker_is_asked_where_one_is_away() -> None:
    for _ in range(20):  # in any order
        client = FakeClient([1, 2, 3, 4], away=[1, 2, 3])
        assert asyncio.run(send_to_any(client, "what")) == "what at 4"
        assert len(client.asked) == len(set(client.asked))


def test_one_that_is_named_is_asked_first() -> None:
    for first in (1, 2, 3):
        client = FakeClient([1, 2, 3], away=[1, 2])
        assert asyncio.run(send_to_any(client, "what", first=first)) == "what at 3"
        assert client.asked[0] == first


@pytest.mark.parametrize(
    ("known", "error", "text"),
    [
        ([], KafkaConnectionError, "no broker is known"),
        ([2, 1], BrokersSilentError, "do not answer, inside:9091, inside:9092; .* advertised.listeners right"),
    ],
)
def test_it_is_an_error_where_none_is_there(known: list[int], error: type[KafkaError], text: str) -> None:
    with pytest.raises(error, match=text):
        asyncio.run(send_to_any(FakeClient(known, away=known), "what"))


@pytest.mark.parametrize("controller", [None, 2, 3])
def test_who_administers_asks_any_broker_but_where_one_is_named(
    controller: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = FakeClient([1, 2, 3], away=[1, 2], controller=controller)

    async def main() -> None:
        async with administering(SETTINGS) as admin:
            monkeypatch.setattr(admin._client, "cluster", client.cluster)
            monkeypatch.setattr(admin._client, "send", client.send)
            for _ in range(20):
                assert await admin._send_request("what") == "what at 3"
                client.asked.clear()
                assert await admin._send_to_controller("what") == "what at 3"
                assert client.asked[0] == (controller or client.asked[0])
            with pytest.raises(KafkaConnectionError):
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


def test_a_broker_that_goes_while_it_is_asked_is_waited_for_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broker = FakeBroker(monkeypatch, *GONE, 7)
    assert asyncio.run(output_limit(SETTINGS)) == 7
    assert broker.connections == len(GONE) + 1
    (line,) = [one.getMessage() for one in caplog.records]
    assert line.startswith(
        "Kafka at 127.0.0.1:9092 can't do what a start needs, waiting for it up to 60 s: NodeNotReady"
    )


@pytest.mark.parametrize("error", GONE, ids=lambda error: type(error).__name__)
def test_it_is_named_in_a_line_when_patience_ends(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeBroker(monkeypatch, error)
    text = rf"^Kafka at 127.0.0.1:9092 can't do what a start needs: .*{type(error).__name__}.* \(waited 0 s"
    with pytest.raises(BrokerError, match=text):
        asyncio.run(output_limit(SETTINGS.model_copy(update={"broker_patience": 0.0})))


def test_what_the_broker_does_not_allow_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = FakeBroker(monkeypatch, ClusterAuthorizationFailedError())
    with pytest.raises(ClusterAuthorizationFailedError):
        asyncio.run(output_limit(SETTINGS))
    assert broker.connections == 1
