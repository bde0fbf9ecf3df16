"""Only what is done is acknowledged: no hole, nothing of an earlier assignment; and a zombie sends nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from app.kafka.consumer import AggregatorConsumer
from app.kafka.fetching import FetchingConsumer
from app.kafka.offset_ledger import OffsetLedger
from app.kafka.producer import KafkaSender
from app.kafka.transport import AggregatorProducer
from app.messages.message import OutMessage
from app.settings import Settings

SETTINGS = Settings(source_topics=("PLANT",))
OWN, PLANT = TP(SETTINGS.batch_events_topic, 1), TP("PLANT", 0)


def consumer_of(*tps: TP) -> Any:
    """A consumer without a worker around it, whose partitions are read from offset 10 on."""
    consumer: Any = AggregatorConsumer.__new__(AggregatorConsumer)
    consumer.ledger = OffsetLedger()
    consumer.holes = []
    consumer.gaps = []
    consumer.app = SimpleNamespace(settings=SETTINGS, consumer_generation_id=3, count_gap=consumer.gaps.append)
    consumer._thread = SimpleNamespace(log_starts={}, last_heartbeat=0.0, assigned=lambda: None)
    consumer._changes = SimpleNamespace(not_delivered=lambda *hole: consumer.holes.append(hole))
    consumer._in_flight, consumer._bytes, consumer._reading = {}, Counter(), {}
    consumer._users = SimpleNamespace(clear=lambda: None)
    for tp in tps:
        consumer.ledger.rebase(tp, 10)
        consumer._reading[tp] = object()
    return consumer


def test_a_hole_in_a_topic_of_ours_is_not_acknowledged_and_one_in_a_plants_is_passed() -> None:
    consumer = consumer_of(OWN, PLANT)
    for tp in (OWN, PLANT):
        consumer._on_hole(tp, 10, 13)
        consumer.ledger.done(tp, 13)
    assert consumer.ledger.committable(OWN) == 10
    assert consumer.holes == [(OWN, 10, 13)]
    assert consumer.ledger.committable(PLANT) == 14
    assert consumer.gaps == [3]


def test_what_faust_takes_for_a_gap_acknowledges_nothing() -> None:
    consumer = consumer_of(OWN)
    asyncio.run(consumer._add_gap(OWN, 10, 20))
    assert consumer.ledger.committable(OWN) == 10


def test_an_acknowledgement_of_an_earlier_assignment_or_of_another_log_counts_for_nothing() -> None:
    consumer = consumer_of(OWN)
    consumer.acknowledge(OWN, 2, consumer._reading[OWN], 10)
    consumer.acknowledge(OWN, 3, object(), 10)
    assert consumer.ledger.committable(OWN) == 10
    consumer.acknowledge(OWN, 3, consumer._reading[OWN], 10)
    assert consumer.ledger.committable(OWN) == 11


def test_a_buffer_that_has_room_resumes_no_partition_that_a_recovery_has_paused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resumed: list[TP] = []
    monkeypatch.setattr(FetchingConsumer, "on_buffer_drop", lambda _, tp: resumed.append(tp), raising=False)
    consumer = consumer_of(OWN, PLANT)
    consumer._paused_partitions = {OWN}
    for tp in (OWN, PLANT):
        consumer.on_buffer_drop(tp)
    assert resumed == [PLANT]


def test_a_worker_that_may_own_nothing_any_more_sends_nothing() -> None:
    class HeldBackError(Exception):
        """As long as the group has not answered."""

    async def fence() -> None:
        raise HeldBackError

    def producer() -> Any:
        pytest.fail("it must not be asked for")

    sender = KafkaSender(SETTINGS, producer, fence, on_sent=lambda *_: None, one_by_one=())
    with pytest.raises(HeldBackError):
        asyncio.run(sender.send([OutMessage("OUT", b"{}", b"key")]))


def test_nothing_can_be_delivered_while_a_recovery_seeks(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    async def seek_to_committed(_: Any) -> dict[TP, int]:
        steps.append("sought")
        return {}

    async def begin(_: object) -> tuple[int, ...]:
        return ()

    monkeypatch.setattr(FetchingConsumer, "seek_to_committed", seek_to_committed, raising=False)
    consumer = consumer_of()
    consumer._seeks, consumer._starting = 0, {}
    consumer._bases = SimpleNamespace(moved={})
    consumer._acked, consumer._acked_index = {}, {}
    consumer._start_noted, consumer._unacked_messages = asyncio.Event(), set()
    consumer.notes = SimpleNamespace(begin=begin)
    consumer.assignment = set
    consumer.stop_flow = lambda: steps.append("consumer closed")
    consumer.app.flow_control = SimpleNamespace(suspend=lambda: steps.append("streams closed"))
    asyncio.run(consumer.perform_seek())
    assert steps == ["consumer closed", "streams closed", "sought"]
    assert consumer.has_bases(3)


@pytest.mark.parametrize("owned", [[], [OWN]])
def test_a_subscription_that_changes_while_partitions_are_ours_gives_up_what_is_in_flight_first(
    owned: list[TP], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream of the user's has begun: aiokafka takes all partitions away with the subscription before."""
    steps: list[str] = []

    async def subscribe(_: object, topics: set[str]) -> None:
        steps.append(f"subscribed to {', '.join(topics)}")

    async def wait_empty() -> None:
        steps.append("given up")

    monkeypatch.setattr(FetchingConsumer, "subscribe", subscribe)
    consumer = consumer_of()
    consumer.owned, consumer.wait_empty = lambda: owned, wait_empty
    consumer.stop_flow = lambda: steps.append("closed")
    consumer.app.flow_control = SimpleNamespace(suspend=lambda: None, clear=lambda: steps.append("cleared"))
    asyncio.run(consumer.subscribe({"users"}))
    assert steps == [*(["closed", "cleared", "given up"] if owned else []), "subscribed to users"]


class Sent:
    """A producer of the user's messages, each of which is out when a test says so; it is never flushed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out: dict[str, asyncio.Future[None]] = {}
        self.known = asyncio.Event()
        self.buffers = 0
        monkeypatch.setattr(driver.Producer, "send", lambda _, topic: self._send(topic))
        producer: Any = AggregatorProducer.__new__(AggregatorProducer)
        self.producer = producer
        producer.__dict__["_topics"] = SimpleNamespace(choose_from=self._choose_from)
        producer.buffer, producer._unconfirmed = SimpleNamespace(flush=self._flush_buffer), set()
        producer.flush = lambda: pytest.fail("it must not be flushed")

    async def _send(self, topic: str) -> asyncio.Future[None]:
        self.out[topic] = asyncio.get_running_loop().create_future()
        return self.out[topic]

    async def _choose_from(self, topic: str) -> None:
        if topic == "unknown":
            await self.known.wait()
        if topic == "nowhere":
            raise KeyError(topic)

    async def _flush_buffer(self) -> None:
        self.buffers += 1


async def ends(task: asyncio.Future[Any]) -> bool:
    await asyncio.sleep(0.01)
    return task.done()


def test_what_the_users_code_has_sent_is_waited_for_from_its_first_step_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        sent = Sent(monkeypatch)
        producer = sent.producer
        unknown = asyncio.ensure_future(producer.send("unknown"))
        taken = await producer.send("mine")
        failing = await producer.send("theirs")
        with pytest.raises(KeyError):
            await producer.send("nowhere")
        waiting = asyncio.ensure_future(producer.confirmed())
        assert not await ends(waiting)
        taken.cancel()  # who sent it waits no longer; it is on its way all the same
        sent.out["theirs"].set_exception(ConnectionError())
        with pytest.raises(ConnectionError):
            await failing
        sent.known.set()
        await unknown
        assert not await ends(waiting)
        sent.out["unknown"].set_result(None)
        assert not await ends(waiting)
        sent.out["mine"].set_result(None)
        await waiting
        assert (sent.buffers, producer._unconfirmed) == (1, set())
        await producer.confirmed()

    asyncio.run(main())


def test_a_commit_waits_for_what_the_users_code_has_sent_and_for_nothing_of_the_pipelines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`flush` waits for both: a topic of ours that is gone held all commits up."""

    async def main() -> None:
        sent = Sent(monkeypatch)
        await sent.producer.send("mine")
        asked: list[dict[TP, int]] = []
        told: list[str] = []

        async def commit(offsets: dict[TP, int]) -> bool:
            asked.append(offsets)
            return len(asked) > 1

        consumer = consumer_of(OWN, PLANT)
        consumer._commit, consumer.assignment = commit, lambda: {OWN}
        consumer._committed_offset = {}
        consumer.app.producer = sent.producer
        consumer.app.tables = SimpleNamespace(on_commit=lambda _: told.append("tables"))
        consumer.app.monitor = SimpleNamespace(on_tp_commit=lambda _: told.append("monitor"))
        committing = asyncio.ensure_future(consumer._commit_offsets({OWN: 12, PLANT: 13}))
        assert not await ends(committing)
        sent.out["mine"].set_result(None)
        assert await committing is False
        assert (asked, consumer._committed_offset, told) == ([{OWN: 12}], {}, [])  # tried again with the next commit
        assert await consumer._commit_offsets({OWN: 12}) is True
        assert (consumer._committed_offset, told) == ({OWN: 12}, ["tables", "monitor"])
        assert await consumer._commit_offsets({PLANT: 13}) is False
        assert len(asked) == 2

    asyncio.run(main())
