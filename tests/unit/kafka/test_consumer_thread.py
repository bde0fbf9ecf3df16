"""What is noted of where logs end, and commits of partitions that have been taken away meanwhile."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import IllegalStateError, KafkaTimeoutError, NodeNotReadyError
from aiokafka.util import commit_structure_validate
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from app.kafka.consumer_thread import ConsumerThread, Looks, _closing, note_ends

TOPIC = "app-batch-events"
TP0 = TP(TOPIC, 0)


def fetched(end: int, *, topic: str = TOPIC, error: int = 0, key: int = 1) -> Any:
    return SimpleNamespace(API_KEY=key, API_VERSION=5, topics=[(topic, [(0, error, end, end, 0, [], b"")])])


def looks(*responses: tuple[float, Any]) -> dict[TP, Looks]:
    ends: dict[TP, Looks] = {}
    for asked, response in responses:
        note_ends(response, TOPIC, asked, ends)
    return ends


def test_the_end_of_a_log_is_noted_once_a_second() -> None:
    ends = looks((10.0, fetched(5)), (10.5, fetched(6)), (11.0, fetched(7)))
    assert ends == {TP0: ((10.0, 5), (11.0, 7))}


def test_the_latest_looks_are_kept() -> None:
    ends = looks(*((float(number), fetched(number)) for number in range(100)))
    assert ends[TP0] == tuple((float(number), number) for number in range(84, 100))


def test_answers_that_tell_nothing_are_passed_over() -> None:
    assert looks((1.0, fetched(5, topic="other")), (2.0, fetched(5, error=1)), (3.0, fetched(5, key=12))) == {}


def test_after_a_clock_was_put_back_what_was_noted_is_void() -> None:
    assert looks((10.0, fetched(5)), (4.0, fetched(6))) == {TP0: ((4.0, 6),)}


@pytest.mark.parametrize(("offset", "expected"), [(4, None), (5, 10.0), (6, 10.0), (7, 11.0), (99, 11.0)])
def test_a_message_came_after_the_last_look_at_which_the_log_ended_before_it(
    offset: int, expected: float | None
) -> None:
    thread = ConsumerThread.__new__(ConsumerThread)
    thread.ends = looks((10.0, fetched(5)), (11.0, fetched(7)))
    assert thread.appended_after(TP0, offset) == expected
    assert thread.appended_after(TP(TOPIC, 1), offset) is None


class Consumer:
    """An aiokafka consumer that owns some partitions."""

    def __init__(self, *owned: TP) -> None:
        self.owned = {TopicPartition(*tp) for tp in owned}
        self.committed: list[dict[TP, int]] = []

    def assignment(self) -> set[TopicPartition]:
        return self.owned

    def highwater(self, partition: TopicPartition) -> int:
        assert partition in self.owned, "Partition is not assigned"
        return 9

    async def commit(self, offsets: Any) -> None:
        self.committed.append({TP(*tp): one.offset for tp, one in commit_structure_validate(offsets).items()})


def thread_of(consumer: Consumer) -> Any:
    thread: Any = ConsumerThread.__new__(ConsumerThread)
    thread._consumer, thread.tp_last_committed_at, thread.crashed_with = consumer, {}, []

    async def crash(error: BaseException) -> None:
        thread.crashed_with.append(error)

    thread.crash, thread.consumer = crash, SimpleNamespace(in_transaction=False)
    thread.log = SimpleNamespace(exception=lambda *_: None)
    return thread


def test_partitions_that_have_been_taken_away_before_their_commit_are_the_next_owners() -> None:
    consumer = Consumer()
    thread = thread_of(consumer)
    assert asyncio.run(thread._commit({TP0: 5})) is False
    assert asyncio.run(thread._commit({})) is False
    assert (thread.crashed_with, consumer.committed) == ([], [])


def test_what_is_still_owned_is_committed() -> None:
    consumer = Consumer(TP0)
    thread = thread_of(consumer)
    assert asyncio.run(thread._commit({TP0: 5, TP(TOPIC, 1): 7})) is True
    assert (thread.crashed_with, consumer.committed) == ([], [{TP0: 5}])


def test_where_the_log_of_a_partition_ends_that_has_been_taken_away_is_not_known() -> None:
    thread = thread_of(Consumer(TP0))
    assert (thread.highwater(TopicPartition(*TP0)), thread.highwater(TopicPartition(TOPIC, 1))) == (9, 0)


@pytest.mark.parametrize("asked", ["earliest_offsets", "highwaters", "seek_wait"])
def test_where_aiokafka_gives_up_after_30_s_it_is_asked_again(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([KafkaTimeoutError(), TimeoutError(), {TP0: 5}])

    async def answer(*_: object) -> object:
        told = next(answers)
        if isinstance(told, Exception):
            raise told
        return told

    monkeypatch.setattr(AIOKafkaConsumerThread, asked, answer)
    thread: Any = ConsumerThread.__new__(ConsumerThread)
    told = asyncio.run(getattr(thread, asked)({TP0: 5} if asked == "seek_wait" else TP0))
    assert (told, next(answers, None)) == (None if asked == "seek_wait" else {TP0: 5}, None)


def test_another_error_is_no_matter_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(*_: object) -> object:
        raise IllegalStateError

    monkeypatch.setattr(AIOKafkaConsumerThread, "seek_wait", answer)
    thread: Any = ConsumerThread.__new__(ConsumerThread)
    with pytest.raises(IllegalStateError):
        asyncio.run(thread.seek_wait({TP0: 5}))


def test_a_fetch_that_waits_to_be_tried_again_does_not_end_the_close() -> None:
    async def main() -> None:
        tried = asyncio.Event()

        async def send(*_: object) -> None:
            tried.set()
            raise NodeNotReadyError

        subscriptions, request = SubscriptionState(), SimpleNamespace(topics=[])
        subscriptions.subscribe({TOPIC})
        client = AIOKafkaClient()
        client.send = send
        fetcher = Fetcher(client, subscriptions, retry_backoff_ms=1_000_000)
        await asyncio.sleep(0)  # it waits for an assignment
        waiting = asyncio.create_task(fetcher._proc_fetch_request(None, 0, request))
        fetcher._pending_tasks.add(waiting)
        await tried.wait()
        await _closing(fetcher.close)()
        assert waiting.cancelled()

    asyncio.run(main())
