"""Sending letters again: what the broker refuses is told and not remembered."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import orjson
import pytest
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, UnknownTopicOrPartitionError

from app.kafka.replay import Replayer, ReplayRules
from app.messages.dead_letters import Letter
from app.messages.replays import Fate, Replay, ReplayLog
from app.settings import Settings
from tables.model.events import Source

LETTER = Letter(1, 7, 1.0, 1.0, "station-failed", "", Source("T", 0, 3), "b", "A", 2, b"k", b"{}")
RULES = ReplayRules(Settings(output_topic="OUT"), max_bytes=1000, handler_failed=False)


class Counts(NamedTuple):
    """How many letters a replay has sent, skipped and not been able to send."""

    sent: int = 0
    skipped: int = 0
    failed: int = 0


class FakeProducer:
    """Refuses what the test says, when it is appended or when it is to be confirmed."""

    def __init__(self, *, refused: dict[bytes, KafkaError] | None = None) -> None:
        self.refused = refused or {}
        self.sent: list[tuple[str, bytes | None, bytes | None]] = []

    async def send(self, topic: str, value: bytes | None, *, key: bytes | None, **_: Any) -> asyncio.Future[Any]:
        error = self.refused.get(value or b"")
        if isinstance(error, MessageSizeTooLargeError):
            raise error
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if error is not None:
            future.set_exception(error)
        else:
            self.sent.append((topic, key, value))
            future.set_result(SimpleNamespace(topic=topic, partition=2, offset=len(self.sent) - 1))
        return future


def replay(producer: FakeProducer | None, *letters: Letter) -> tuple[Counts, list[str], list[str]]:
    """The counts, what was told and what was complained of."""
    told: list[str] = []
    complaints: list[str] = []
    log = ReplayLog("app-replayed", [])

    def tell(one: Replay) -> None:
        assert one.name.startswith(f"{one.place} ")
        match one.fate:
            case Fate.SENT:
                told.append(f"{one.name}: sent to {one.to}")
            case Fate.WOULD_SEND:
                told.append(f"{one.name}: would be sent to {one.to}")
            case _:
                complaints.append(f"{one.name}: not sent: {one.why}")

    replayer = Replayer(
        RULES,
        {"T": 3, RULES.settings.batch_events_topic: 2},
        log,
        producer,
        lambda: 50.0,
        tell,
    )
    asyncio.run(replayer.replay(letters, letters))
    return Counts(replayer.sent, replayer.skipped, replayer.failed), told, complaints


def test_what_is_confirmed_is_remembered_after_that() -> None:
    producer = FakeProducer()
    counts, told, complaints = replay(producer, LETTER, replace(LETTER, offset=8))
    assert (counts, complaints) == (Counts(sent=2), [])
    assert told == [
        "1@7 station-failed, station A, batch b: sent to T[2]@0",
        "1@8 station-failed, station A, batch b: sent to T[2]@1",
    ]
    assert [(topic, key) for topic, key, _ in producer.sent] == [
        ("T", b"k"),
        ("T", b"k"),
        ("app-replayed", b"1@7"),
        ("app-replayed", b"1@8"),
    ]
    assert orjson.loads(producer.sent[2][2] or b"") == {"v": 1, "written_at": 1.0, "replayed_at": 50.0}


@pytest.mark.parametrize("error", [MessageSizeTooLargeError("too large"), UnknownTopicOrPartitionError("who?")])
def test_what_is_refused_is_named_and_not_remembered_and_the_rest_goes_on(error: KafkaError) -> None:
    producer = FakeProducer(refused={b"bad": error})
    counts, _, complaints = replay(producer, replace(LETTER, value=b"bad"), replace(LETTER, offset=8))
    assert counts == Counts(sent=1, failed=1)
    assert complaints == [f"1@7 station-failed, station A, batch b: not sent: {error}"]
    assert [key for topic, key, _ in producer.sent if topic == "app-replayed"] == [b"1@8"]


@pytest.mark.parametrize("when", ["appended", "confirmed"])
def test_an_error_that_says_nothing_is_told_with_the_topic(when: str) -> None:
    error = MessageSizeTooLargeError() if when == "appended" else UnknownTopicOrPartitionError()
    counts, _, (complaint,) = replay(FakeProducer(refused={b"bad": error}), replace(LETTER, value=b"bad"))
    assert counts == Counts(failed=1)
    assert complaint.endswith(f"{type(error).__name__}: topic T")


def test_a_letter_of_an_internal_topic_whose_partition_is_gone_is_named_and_the_rest_goes_on() -> None:
    producer = FakeProducer()
    events = Source(RULES.settings.batch_events_topic, 3, 0)
    counts, _, complaints = replay(producer, replace(LETTER, source=events), replace(LETTER, offset=8))
    assert counts == Counts(sent=1, failed=1)
    assert complaints == [
        f"1@7 station-failed, station A, batch b: not sent: there is no partition 3 of {events.topic}: it has 2 now"
    ]
    assert [key for topic, key, _ in producer.sent if topic == "app-replayed"] == [b"1@8"]


def test_a_letter_with_neither_key_nor_value_is_skipped() -> None:
    producer = FakeProducer()
    counts, _, complaints = replay(producer, replace(LETTER, reason="bad-message", key=None, value=None))
    assert (counts, producer.sent) == (Counts(skipped=1), [])
    assert complaints == [
        "1@7 bad-message, station A, batch b: not sent: it has neither a key nor a value: there is nothing to send"
    ]


def test_nothing_is_sent_to_a_topic_that_is_not_there_for_that_could_create_it() -> None:
    producer = FakeProducer()
    counts, _, complaints = replay(producer, replace(LETTER, source=Source("gone", 0, 0)))
    assert (counts, producer.sent) == (Counts(failed=1), [])
    assert complaints == ["1@7 station-failed, station A, batch b: not sent: there is no topic gone"]


def test_what_nothing_can_be_sent_for_is_skipped() -> None:
    producer = FakeProducer()
    counts, _, complaints = replay(producer, replace(LETTER, reason="too-large"))
    assert (counts, producer.sent) == (Counts(skipped=1), [])
    assert complaints == ["1@7 too-large, station A, batch b: not sent: only its first 2 bytes have been kept"]


def test_a_dry_run_only_says_what_would_be_sent() -> None:
    counts, told, _ = replay(None, LETTER)
    assert (counts, told) == (Counts(sent=1), ["1@7 station-failed, station A, batch b: would be sent to T"])


def test_a_log_that_can_not_be_written_is_an_error() -> None:
    record = ReplayLog("app-replayed", []).record(LETTER, 50.0)
    with pytest.raises(UnknownTopicOrPartitionError):
        replay(FakeProducer(refused={record.value or b"": UnknownTopicOrPartitionError()}), LETTER)
