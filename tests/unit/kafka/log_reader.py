"""A consumer that reads a plant's topic, without a worker and without a Kafka around it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP

from app.kafka.bases import Bases
from app.kafka.consumer import AggregatorConsumer
from app.kafka.log_changes import LogChanges
from app.kafka.offset_ledger import OffsetLedger
from app.kafka.positions import Base
from app.settings import Settings
from app.settings.enums import Language

__all__ = ["OWN", "SOURCE", "FakeApplication", "Reader"]

SOURCE, OWN = TP("yard", 1), TP("app-station-events", 0)


class FakeApplication:
    """What is counted of a worker."""

    def __init__(self, language: Language = Language.EN) -> None:
        self.settings = Settings(app_id="app", source_topics=("yard",), log_language=language)
        self.url = ""
        self.gaps = self.lost = self.restarts = 0
        self.consumer_generation_id = 1
        self.flow_control = SimpleNamespace(suspend=lambda: None)
        self.tables = SimpleNamespace(changelog_topics={"changelog"})
        self.assignor = SimpleNamespace(members=lambda topic: {"": {0}} if topic in {"yard", OWN.topic} else {})

    def count_gap(self, offsets: int) -> None:
        self.gaps += offsets

    def count_lost(self, offsets: int) -> None:
        self.lost += offsets

    def count_restart(self) -> None:
        self.restarts += 1

    def fenced(self) -> None:
        """Nobody has its name."""

    def denied(self, error: KafkaError) -> None:
        """Its broker allows everything."""

    async def give_up_work(self) -> None:
        """Nothing is in flight."""

    @property
    def counted(self) -> tuple[int, int, int]:
        return self.gaps, self.lost, self.restarts


def record(offset: int) -> ConsumerRecord:
    return ConsumerRecord("yard", 1, offset, 1762218000_500, 0, b"key", b"{}", None, 3, 2, ())


class FakeThread:
    """Where logs start, what topics are there, and what was sought."""

    def __init__(self) -> None:
        self.log_starts: dict[TP, int] = {}
        self.ids: dict[str, bytes] = {"yard": b"1"}
        self.sought: list[tuple[TP, int]] = []
        self.fetched: int | None = None
        self.last_heartbeat = 0.0
        self.assign(SOURCE)
        self.texts: dict[str, dict[int, str | None]] = {
            "yard": dict.fromkeys(range(4)),
            "app-batch-events": dict.fromkeys(range(4)),
        }

    def assign(self, *tps: TP) -> None:
        """Give aiokafka's consumer another assignment."""
        self.tps = frozenset(tps)
        self._assignment = object()

    def assigned(self) -> object:
        return self._assignment

    async def commit_texts(self, topics: Collection[str]) -> dict[str, dict[int, str | None]]:
        return {topic: self.texts[topic] for topic in topics}

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, bytes]:
        return {name: topic_id for name, topic_id in self.ids.items() if name in topics}

    def fetched_to(self, tp: TP) -> int | None:
        assert tp == SOURCE
        return self.fetched


class Reader:
    """A consumer that has read yard[1] up to offset 10, of which 8 and 9 are in flight."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.application = FakeApplication()
        self.thread = FakeThread()
        self.committed: list[dict[TP, int]] = []
        self.fetches: list[dict[TP, list[ConsumerRecord]]] = []
        self.first, self.end = 0, 10
        self.commits = True  # whether the group takes them
        self.meanwhile: Callable[[], object] = lambda: None  # happens while it asks for commits, or fetches
        consumer: Any = AggregatorConsumer.__new__(AggregatorConsumer)
        self.consumer = consumer
        consumer.app = self.application
        consumer._thread = self.thread
        consumer._changes = LogChanges(self.application)
        self.bases = Bases(consumer, self.thread, consumer._changes)
        self.bases._ids.look(self.thread.ids)
        consumer._bases = self.bases
        consumer.ledger = OffsetLedger()
        consumer._in_flight, consumer._reading, consumer._next = {}, {}, {}
        consumer._read_offset, consumer._committed_offset = {}, {}
        consumer._bytes = Counter()
        consumer._based, consumer._seeks, consumer._commit_fut = 1, 0, None
        consumer._based_on = self.thread.assigned()
        consumer._acked, consumer._acked_index, consumer._unacked_messages = {}, {}, set()
        consumer._starting, consumer._start_noted = {}, asyncio.Event()
        consumer._users = SimpleNamespace(clear=lambda: None, is_full=lambda _: False)
        consumer.assignment = lambda: set(self.thread.tps)
        consumer.stop_flow = lambda: None
        consumer.highwater = lambda _: self.end

        async def commit(offsets: dict[TP, int]) -> bool:
            if self.commits:
                self.committed.append(offsets)
            return self.commits

        async def seek(tp: TP, offset: int) -> None:
            self.thread.sought.append((tp, offset))

        async def fetch(*_: Any) -> dict[TP, list[ConsumerRecord]]:
            self.meanwhile()
            return self.fetches.pop(0)

        async def begin(_: object) -> tuple[int, ...]:
            return ()

        async def seek_to_committed(_: Any) -> dict[TP, int | None]:
            committed: dict[TP, int | None] = dict.fromkeys(self.thread.tps, 5)
            self.meanwhile()
            return committed

        async def first(*tps: TP) -> dict[TP, int]:
            return dict.fromkeys(tps, self.first)

        async def ends(*tps: TP) -> dict[TP, int]:
            return dict.fromkeys(tps, self.end)

        consumer._commit, consumer._seek = commit, seek
        consumer.notes = SimpleNamespace(begin=begin)
        consumer.earliest_offsets, consumer.highwaters = first, ends
        monkeypatch.setattr(Consumer, "_getmany", fetch)
        monkeypatch.setattr(Consumer, "seek_to_committed", seek_to_committed)
        consumer._begin(SOURCE, 8)
        self.old = self.deliver(8, 9)

    def find_bases(self, committed: Mapping[TP, int | None], *tps: TP) -> dict[TP, Base]:
        """Find the bases of partitions, as a seek does."""
        consumer = self.consumer
        return asyncio.run(self.bases.find(tps, committed, consumer._committed_offset, consumer._next))

    def deliver(self, *offsets: int) -> list[Any]:
        """Fetch and deliver; returns the deliveries."""
        self.fetches.append({SOURCE: [record(offset) for offset in offsets]})
        fetched = asyncio.run(self.consumer._getmany(None, 1.0))
        pieces = [self.consumer._to_message(tp, piece) for tp, cut in fetched.items() for piece in cut]
        return [delivery for message in pieces for delivery in message.value[0].deliveries]
