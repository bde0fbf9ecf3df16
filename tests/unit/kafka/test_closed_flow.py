"""What is fetched while the flow of the consumer is closed: it is fetched again, and nothing else is sought."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP

from app.kafka.consumer import AggregatorConsumer

EVENTS, CHANGELOG = TP("events", 0), TP("changelog", 0)
BASE = 70  # where a recovery has sought the events while they were fetched


def bare_consumer() -> Any:
    """A consumer without a worker around it."""
    return AggregatorConsumer.__new__(AggregatorConsumer)


class Reader:
    """A consumer over a log of consecutive offsets; the flow is closed and opened in the midst of its first fetch."""

    def __init__(self, meanwhile: Callable[[Any], None]) -> None:
        self._meanwhile = meanwhile
        self.positions = {EVENTS: BASE, CHANGELOG: 5}
        self.sought: list[tuple[TP, int]] = []
        self.fetches = 0
        self.consumer = bare_consumer()
        self.consumer.flow_active = True
        self.consumer.can_resume_flow = asyncio.Event()
        self.consumer._unused = {}
        self.consumer._seeks = 0
        self.consumer._next = {EVENTS: BASE}
        self.consumer._thread = SimpleNamespace(fetched_to=self.positions.get)
        self.consumer._is_changelog_tp = lambda tp: tp == CHANGELOG
        self.consumer._pipeline_topics = {EVENTS.topic}
        self.consumer._get_active_partitions = lambda: {EVENTS, CHANGELOG}
        self.consumer._getmany = self.fetch
        self.consumer._seek = self.seek

    async def fetch(self, _tps: object, _timeout: float) -> dict[TP, list[Any]]:
        """Give the next record of each partition: of a changelog as it is, of the others in a piece."""
        self.fetches += 1
        if self.fetches == 1:
            self._meanwhile(self.consumer)
        records = {tp: SimpleNamespace(offset=self.positions[tp]) for tp in self.positions}
        self.positions |= {tp: record.offset + 1 for tp, record in records.items()}
        return {tp: [record] if tp == CHANGELOG else [[record]] for tp, record in records.items()}

    async def seek(self, tp: TP, offset: int) -> None:
        """Seek as the consumer does."""
        self.sought.append((tp, offset))
        self.positions[tp] = offset

    def read(self) -> dict[TP, int]:
        """Read once; returns the offsets that come."""
        fetched = asyncio.run(self.consumer._wait_next_records(1.0))[0]
        return {tp: (records[0] if tp == CHANGELOG else records[0][0]).offset for tp, records in fetched.items()}


@pytest.fixture(autouse=True)
def _waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consumers without a worker: who waits for the flow finds it open."""

    async def wait(consumer: Any, _event: object) -> None:
        consumer.flow_active = True

    monkeypatch.setattr(Consumer, "wait", wait, raising=False)
    monkeypatch.setattr(Consumer, "should_stop", False)


def close(consumer: Any) -> None:
    """Close the flow, as a rebalance does."""
    consumer.flow_active = False


def seek_again(consumer: Any) -> None:
    """Seek everything and open the flow again, as a recovery does."""
    consumer._seeks += 1


@pytest.mark.parametrize("meanwhile", [close, seek_again])
def test_what_is_fetched_while_the_flow_is_closed_is_fetched_again_and_nothing_else_is_sought(
    meanwhile: Callable[[Any], None],
) -> None:
    reader = Reader(meanwhile)
    assert reader.read() == {EVENTS: BASE, CHANGELOG: 5}
    assert sorted(reader.sought) == [(CHANGELOG, 5), (EVENTS, BASE)]


def test_what_was_fetched_before_a_seek_does_not_move_the_partition_back_there() -> None:
    def seek_elsewhere(consumer: Any) -> None:
        close(consumer)
        consumer._next[EVENTS] = BASE + 40
        reader.positions[CHANGELOG] = 2

    reader = Reader(seek_elsewhere)
    assert reader.read() == {EVENTS: BASE + 40, CHANGELOG: 2}


def test_a_partition_that_has_no_base_yet_is_left_to_the_seek_that_is_to_come() -> None:
    reader = Reader(close)
    del reader.consumer._next[EVENTS]
    reader.read()
    assert reader.sought == [(CHANGELOG, 5)]


def test_with_the_flow_open_nothing_is_sought() -> None:
    reader = Reader(lambda _consumer: None)
    assert reader.read() == {EVENTS: BASE, CHANGELOG: 5}
    assert reader.read() == {EVENTS: BASE + 1, CHANGELOG: 6}
    assert reader.sought == []


def test_a_commit_that_is_under_way_does_not_stand_for_the_last_one() -> None:
    consumer = bare_consumer()
    done: list[str] = []

    async def give_up_work() -> None:
        done.append("work has ended")

    async def end() -> None:
        done.append("notes are gone")

    async def force_commit(*_: object, **__: object) -> bool:
        done.append("commit")
        return True

    async def run() -> None:
        loop = asyncio.get_running_loop()
        consumer.loop = loop
        consumer._commit_fut = loop.create_future()
        loop.call_soon(ended, consumer._commit_fut)
        await consumer.wait_empty()

    def ended(commit: asyncio.Future[None]) -> None:
        consumer._commit_fut = None
        commit.set_result(None)

    async def flush() -> None:
        done.append("all is sent")

    consumer.app = SimpleNamespace(give_up_work=give_up_work, client_only=False, producer=SimpleNamespace(flush=flush))
    consumer.notes = SimpleNamespace(end=end)
    consumer.force_commit = force_commit
    asyncio.run(run())
    assert done == ["work has ended", "notes are gone", "commit", "all is sent"]
