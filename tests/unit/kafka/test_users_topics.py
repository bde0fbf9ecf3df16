"""Delivery of the messages of users' own agents: each topic by itself, in order, bounded."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from app.kafka.consumer import AggregatorConsumer
from app.kafka.offset_ledger import OffsetLedger
from app.kafka.users_topics import WAITING_MESSAGES, UsersTopics
from app.settings import Settings


def message(topic: str, offset: int) -> Any:
    return SimpleNamespace(topic=topic, partition=0, offset=offset)


class Streams:
    """Streams of topics, of which some take nothing."""

    def __init__(self, *stuck: str) -> None:
        self.stuck = set(stuck)
        self.delivered: list[tuple[str, int]] = []
        self.topics = UsersTopics(self.take)

    async def take(self, message: Any) -> None:
        if message.topic in self.stuck:
            await asyncio.Event().wait()
        if message.offset < 0:
            raise ValueError(message.offset)
        self.delivered.append((message.topic, message.offset))

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


def test_a_topic_that_is_stuck_holds_no_other_up_and_is_full_at_last() -> None:
    async def main() -> None:
        streams = Streams("stuck")
        for offset in range(WAITING_MESSAGES):
            assert not streams.topics.is_full("stuck")
            streams.topics.put(message("stuck", offset))
            streams.topics.put(message("free", offset))
        streams.topics.put(message("stuck", WAITING_MESSAGES))
        await streams.settle()
        assert streams.topics.is_full("stuck")
        assert not streams.topics.is_full("free")
        assert not streams.topics.is_full("unknown")
        assert streams.delivered == [("free", offset) for offset in range(WAITING_MESSAGES)]
        streams.topics.clear()

    asyncio.run(main())


def test_what_is_dropped_is_not_delivered_and_what_comes_then_is() -> None:
    async def main() -> None:
        streams = Streams("mine")
        streams.topics.put(message("mine", 0))
        await streams.settle()
        streams.topics.clear()
        streams.stuck.clear()
        streams.topics.put(message("mine", 1))
        await streams.settle()
        assert streams.delivered == [("mine", 1)]

    asyncio.run(main())


def test_a_message_that_can_not_be_given_to_its_stream_is_named_and_the_next_one_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        streams = Streams()
        streams.topics.put(message("mine", -1))
        streams.topics.put(message("mine", 1))
        await streams.settle()
        assert streams.delivered == [("mine", 1)]

    asyncio.run(main())
    assert "mine[0]@-1 could not be given" in caplog.text


def test_what_fausts_streams_acknowledge_is_committed_in_an_unbroken_run_only() -> None:
    consumer: Any = AggregatorConsumer.__new__(AggregatorConsumer)
    mine = TP("mine", 0)
    consumer.ledger = OffsetLedger()
    consumer.ledger.rebase(mine, 5)
    consumer._acked, consumer._acked_index = {mine: [7, 5]}, {mine: {5, 7}}
    assert consumer._new_offset(mine) == 6
    assert (consumer._acked[mine], consumer._acked_index[mine]) == ([], set())
    consumer._acked[mine].append(6)
    assert consumer._new_offset(mine) == 8


def test_an_agent_may_seek_and_a_hole_in_its_topic_is_passed_over() -> None:
    consumer: Any = AggregatorConsumer.__new__(AggregatorConsumer)
    mine = TP("mine", 0)
    gaps: list[int] = []
    consumer.app = SimpleNamespace(settings=Settings(), count_gap=gaps.append)
    consumer._thread = SimpleNamespace(log_starts={})
    consumer.ledger = OffsetLedger()
    consumer.ledger.rebase(mine, 5)
    consumer._next = {mine: 5}
    for offset in (5, 6, 9, 0, 1):
        consumer._pass_to(mine, offset)
    assert (consumer._next[mine], gaps) == (2, [2])
    assert not consumer._went_back(mine, [SimpleNamespace(offset=0)])
    for offset in (5, 6):
        consumer.ledger.done(mine, offset)
    assert consumer.ledger.committable(mine) == 9
