"""Where the consumer seeks, how it delivers (in pieces of bounded size), and what it says of missing offsets."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP, ConsumerMessage

from app.kafka.bases import Bases
from app.kafka.consumer import AggregatorConsumer
from app.kafka.delivery import LEAST_BYTES, PIECE_BYTES, PIECE_MESSAGES, pieces_of, weight_of
from app.kafka.log_changes import LogChanges
from app.kafka.offset_ledger import OffsetLedger
from app.settings import Settings


def bare_consumer() -> Any:
    """A consumer without a worker around it."""
    consumer: Any = AggregatorConsumer.__new__(AggregatorConsumer)
    consumer._bases = SimpleNamespace(topics_again={})
    return consumer


class FakeThread:
    """A thread of its own for what it is told to call, as the aiokafka consumer has."""

    def __init__(self) -> None:
        self.sought: list[tuple[TP, int, str]] = []

    def seek(self, partition: TP, offset: int) -> None:
        self.sought.append((partition, offset, threading.current_thread().name))

    async def call_thread(self, call: Callable[..., Any], *args: Any) -> None:
        other = threading.Thread(target=call, args=args, name="consumer")
        other.start()
        await asyncio.to_thread(other.join)


def test_it_seeks_in_the_thread_that_fetches() -> None:
    consumer = bare_consumer()
    consumer._thread = FakeThread()
    asyncio.run(consumer._seek(TP("source", 1), 7))
    assert consumer._thread.sought == [(TP("source", 1), 7, "consumer")]


def message_of(tp: TP, offset: int) -> Any:
    """A piece that ends with an offset, as the consumer makes it."""
    message: Any = ConsumerMessage(*tp, offset, 0.0, 0, [], b"key", None, None, generation_id=7)
    message.value = [(tp, offset)]
    return message


class Delivery:
    """A consumer with one fetch, and what is seen of its delivery."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fetched: list[tuple[TP, int]], *, flows: bool = True) -> None:
        async def getmany(_: Consumer, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109 - Faust's
            for message in self.fetched:
                yield message.tp, message

        monkeypatch.setattr(Consumer, "getmany", getmany)
        self.fetched = [message_of(tp, offset) for tp, offset in fetched]
        self.consumer = bare_consumer()
        self.consumer.app = SimpleNamespace(flow_control=SimpleNamespace(is_active=lambda: flows))
        self.consumer.suspend_flow = asyncio.Event()
        self.consumer._read_offset = {tp: None for tp, _ in fetched}
        self.consumer._is_changelog_tp = lambda tp: tp.topic == "changelog"
        self.consumer._pipeline_topics = {"events", "source"}
        self.consumer._users = SimpleNamespace(put=lambda message: self.users.append((message.tp, message.offset)))
        self.users: list[tuple[TP, int]] = []
        self.consumer.callback = self.take
        self.delivered: list[list[tuple[TP, int]]] = []
        self.left_to_faust: list[tuple[TP, int]] = []
        self.turns = 0

    async def take(self, message: Any) -> None:
        """What the stream of a topic does with a message."""
        assert (type(message), message.generation_id) == (ConsumerMessage, 7)
        self.delivered.append(message.value)

    async def run(self) -> None:
        """Read what there is, and count the turns of the loop until then."""
        loop = asyncio.get_running_loop()
        turns = 0

        def turn() -> None:
            nonlocal turns
            turns += 1
            loop.call_soon(turn)

        loop.call_soon(turn)
        async for tp, message in self.consumer.getmany(1.0):
            self.left_to_faust.append((tp, message.offset))
        self.turns = turns


def test_what_was_fetched_of_a_topic_is_one_value_of_its_stream_and_no_turn_of_the_loop_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetched = [(TP(topic, partition), 3) for partition in range(8) for topic in ("events", "source")]
    delivery = Delivery(monkeypatch, fetched)
    asyncio.run(delivery.run())
    assert delivery.delivered == [fetched[0::2], fetched[1::2]]
    assert delivery.left_to_faust == []
    assert [message.value for message in delivery.fetched] == [[one] for one in fetched], "messages stay as they are"
    assert delivery.turns == 0
    assert delivery.consumer._read_offset == dict(fetched)


def test_a_changelog_is_left_to_faust(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = [(TP("events", 0), 3), (TP("changelog", 0), 5), (TP("events", 1), 3)]
    delivery = Delivery(monkeypatch, fetched)
    asyncio.run(delivery.run())
    # While Faust has its record the gates may be closed: what came before is delivered by then.
    assert delivery.delivered == [[fetched[0]], [fetched[2]]]
    assert delivery.left_to_faust == [fetched[1]]


@pytest.mark.parametrize("flows", [True, False])
def test_what_an_agent_of_the_user_reads_waits_in_a_queue_of_its_own(
    flows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = Delivery(monkeypatch, [(TP("events", 0), 3), (TP("mine", 0), 5), (TP("events", 1), 3)], flows=flows)
    asyncio.run(delivery.run())
    assert delivery.users == [(TP("mine", 0), 5)]
    assert delivery.left_to_faust == ([] if flows else [(TP("events", 0), 3), (TP("events", 1), 3)])


def test_what_comes_while_the_flow_is_suspended_is_left_to_faust(monkeypatch: pytest.MonkeyPatch) -> None:
    for flows, stopped in ((False, False), (True, True)):
        delivery = Delivery(monkeypatch, [(TP("events", 0), 3)], flows=flows)
        if stopped:
            delivery.consumer.suspend_flow.set()
        asyncio.run(delivery.run())
        assert delivery.delivered == []
        assert delivery.left_to_faust == [(TP("events", 0), 3)]
        assert delivery.consumer._read_offset == {TP("events", 0): None}


def test_what_has_been_delivered_already_is_not_delivered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = Delivery(monkeypatch, [(TP("events", 0), 3), (TP("events", 0), 4)])
    delivery.consumer._read_offset = {TP("events", 0): 4}
    asyncio.run(delivery.run())
    assert delivery.delivered == [[(TP("events", 0), 4)]]


def record(offset: int, value: bytes | None = b"{}") -> ConsumerRecord:
    headers = (("batch-id", b"b"),)
    return ConsumerRecord("topic", 3, offset, 1762218000_500, 0, b"key", value, None, 3, len(value or b""), headers)


def test_pieces_hold_every_record_once_in_order() -> None:
    records = [record(offset) for offset in range(2 * PIECE_MESSAGES + 1)]
    pieces = pieces_of(records)
    assert [len(piece) for piece in pieces] == [PIECE_MESSAGES, PIECE_MESSAGES, 1]
    assert [one for piece in pieces for one in piece] == records


def test_a_piece_ends_when_it_has_enough_bytes_and_a_larger_message_is_not_cut() -> None:
    sizes = (1, PIECE_BYTES + 1, 1, PIECE_BYTES - 1, 1)
    pieces = pieces_of([record(offset, b"x" * size) for offset, size in enumerate(sizes)])
    assert [[one.offset for one in piece] for piece in pieces] == [[0, 1], [2, 3], [4]]


def test_nothing_fetched_is_no_piece() -> None:
    assert pieces_of([]) == []


def test_a_small_message_counts_for_the_room_that_it_takes() -> None:
    assert weight_of(record(0, None)) == weight_of(record(0)) == LEAST_BYTES
    assert weight_of(record(0, b"x" * 10_000)) == 10_000


def test_an_answer_about_topics_that_nobody_expects_is_told_once_in_a_while_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def topic_ids(names: object) -> dict[str, bytes]:
        raise TypeError(names and "'NoneType' object is not iterable")

    application: Any = SimpleNamespace(settings=Settings(), tables=SimpleNamespace(changelog_topics=set()))
    logs: Any = SimpleNamespace(app=application)
    brokers: Any = SimpleNamespace(topic_ids=topic_ids)
    bases = Bases(logs, brokers, LogChanges(application))
    for _ in range(3):
        asyncio.run(bases.look_at_topics())
    (line,) = caplog.records
    assert line.levelname == "WARNING"
    assert "TypeError(" in line.getMessage()
    assert line.exc_info is None


def test_the_first_progress_of_a_start_is_committed_at_once_and_then_as_usual() -> None:
    consumer = bare_consumer()
    slow, quick = TP("events", 0), TP("events", 1)
    commits: list[set[TP]] = []

    async def commit(tps: set[TP]) -> bool:
        commits.append(tps)
        consumer._committed_offset |= {tp: consumer.ledger.committable(tp) for tp in tps}
        return True

    consumer.commit = commit
    consumer.ledger = OffsetLedger()
    consumer._committed_offset = {slow: 10, quick: 20}
    consumer._starting = {slow: 10, quick: 20}
    consumer.ledger.rebase(slow, 10)
    consumer.ledger.rebase(quick, 20)
    for offset in range(20, 23):
        asyncio.run(consumer._commit_first_progress())
        consumer.ledger.done(quick, offset)
    assert commits == [{quick}]
    consumer.ledger.done(slow, 10)
    for _ in range(2):
        asyncio.run(consumer._commit_first_progress())
    assert commits == [{quick}, {slow}]


def test_the_oldest_message_that_is_not_done_is_known_by_its_time() -> None:
    consumer, tp, reading = bare_consumer(), TP("source", 1), object()
    consumer.app = SimpleNamespace(consumer_generation_id=7)
    consumer.ledger = OffsetLedger()
    consumer.ledger.rebase(tp, 5)
    consumer._reading, consumer._bytes = {tp: reading}, Counter({"source": 30})
    consumer._in_flight = {tp: {5: (10, 1500), 6: (20, 2500)}}
    assert consumer.oldest_in_flight(tp) == 1.5
    consumer.acknowledge(tp, 7, reading, 5)
    assert (consumer.oldest_in_flight(tp), consumer._bytes["source"]) == (2.5, 20)
    consumer.acknowledge(tp, 7, reading, 5)
    consumer.acknowledge(tp, 7, reading, 6)
    assert (consumer.oldest_in_flight(tp), consumer._bytes["source"]) == (None, 0)
    assert consumer.oldest_in_flight(TP("other", 0)) is None
