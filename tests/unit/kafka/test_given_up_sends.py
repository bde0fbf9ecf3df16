"""What a sender whose caller has been cancelled does not hand over any more: another worker may own it by then."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.exceptions import NotReady

from app.kafka import producer
from app.kafka.producer import KafkaSender
from app.messages.message import OutMessage
from app.settings import Settings

SETTINGS = Settings(source_topics=("PLANT",))
FIRST, SECOND = ("OUT", 0), ("OUT", 1)


class Kafka:
    """A producer whose batches hold two messages; each is confirmed when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.handed_over: list[tuple[int, int]] = []  # partition, messages
        self.waiting: list[asyncio.Future[Any]] = []
        self.is_there = asyncio.Event()
        self.is_there.set()
        self._txn_manager = SimpleNamespace(_sequence_numbers={FIRST: 0, SECOND: 0})
        self.sender = KafkaSender(SETTINGS, lambda: self, self._fence, on_sent=lambda *_: None, one_by_one=())
        monkeypatch.setattr(self.sender, "_topics", SimpleNamespace(ensure=self._ensure, has=lambda *_: True))

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(200, 0, is_transactional=False)

    async def send_batch(self, batch: BatchBuilder, topic: str, partition: int) -> asyncio.Future[Any]:
        assert topic == "OUT"
        self.handed_over.append((partition, batch.record_count()))
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def confirm_all(self) -> None:
        """Confirm what has been handed over, and what is because of that."""
        for _ in range(10):
            for future in self.waiting:
                if not future.done():
                    future.set_result(SimpleNamespace(offset=0))
            await self.settle()

    async def _fence(self) -> None: ...

    async def _ensure(self, *_: object) -> None:
        await self.is_there.wait()


def messages(partition: int, count: int) -> list[OutMessage]:
    return [OutMessage("OUT", b"x" * 60, key=b"k", partition=partition) for _ in range(count)]


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize("others", [0, 1])
def test_the_rest_of_what_was_sent_together_stays_here(monkeypatch: pytest.MonkeyPatch, others: int) -> None:
    async def main() -> None:
        kafka = Kafka(monkeypatch)
        sending = asyncio.create_task(kafka.sender.send(messages(0, 5) + messages(1, others)))
        await kafka.settle()
        began = [(0, 2), *[(1, 1)] * others]
        assert kafka.handed_over == began
        await cancelled(sending)
        await kafka.confirm_all()
        assert kafka.handed_over == began
        later = asyncio.create_task(kafka.sender.send(messages(0, 1)))
        await kafka.confirm_all()
        assert await later == [0]

    asyncio.run(main())


def test_what_waits_for_its_topic_stays_here_and_what_others_send_there_goes_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        kafka = Kafka(monkeypatch)
        kafka.is_there.clear()
        given_up = asyncio.create_task(kafka.sender.send(messages(0, 1)))
        other = asyncio.create_task(kafka.sender.send(messages(0, 1)))
        await kafka.settle()
        await cancelled(given_up)
        kafka.is_there.set()
        await kafka.confirm_all()
        assert kafka.handed_over == [(0, 1)]
        assert await other == [0]

    asyncio.run(main())


def test_a_stop_with_messages_under_way_leaves_no_error_of_the_sender(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        monkeypatch.setattr(producer, "LOOK_SECONDS", 0.0)
        errors: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        kafka = Kafka(monkeypatch)
        sending = [asyncio.create_task(kafka.sender.send(messages(partition, 1))) for partition in (0, 1)]
        await kafka.settle()
        monkeypatch.setattr(kafka.sender, "_producer", stopped)
        monkeypatch.setattr(kafka.sender, "_topics", SimpleNamespace(ensure=stopped, has=stopped))
        await kafka.settle()
        kafka.waiting[0].set_exception(OSError("it has been stopped"))
        await kafka.settle()
        for task in sending:
            await cancelled(task)
        del kafka, sending
        gc.collect()
        assert errors == []

    def stopped(*_: object) -> Any:
        raise NotReady

    asyncio.run(main())
    assert caplog.text == ""
