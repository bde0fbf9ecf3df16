"""What a worker has in memory and not in its changelogs is not kept over a rebalance that leaves it its partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from app.application import create_app
from app.kafka.state_store import TableState
from app.messages.frames import event_frames
from app.messages.message import Delivery, ForgottenError, InMessage, OutMessage
from app.pipeline.aggregation.aggregator import Aggregator
from app.pipeline.build import rules_of
from app.settings import Settings
from tables.faust_tables import PartitionStore
from tables.model.enums import Code
from tables.model.events import Arrived, BatchEvent, Open, Source
from tables.storage.records import Table

SETTINGS = Settings(partitions=1, batch_timeout=60.0)
SOURCE = Source("IN", 0, 0)
OPEN = Open("b1", SOURCE, 1000.0, 1060.0, ("A", "B"))
ARRIVED = Arrived("b1", SOURCE, 1000.0, ["A"], Code.RESULT.value, ['{"result":1}'], {})


class Changelog:
    """Takes what is sent to it, unless the group has forgotten the worker or the send is cancelled."""

    def __init__(self) -> None:
        self.log: list[OutMessage] = []
        self.is_forgotten = False
        self.hangs = False

    async def send(self, messages: Sequence[OutMessage]) -> list[int]:
        await asyncio.sleep(1e9 if self.hangs else 0)
        if self.is_forgotten:
            raise ForgottenError
        self.log += messages
        return list(range(len(self.log) - len(messages), len(self.log)))


class Worker:
    """The aggregator of one partition over the real tables, which are recovered from a changelog."""

    def __init__(self, changelog: Changelog) -> None:
        self._changelog = changelog
        self._app: Any = create_app(SETTINGS)
        self.acknowledged: list[int] = []
        sender: Any = changelog
        backend: Any = SimpleNamespace(
            store=TableState(self._app.state_tables, sender), sender=sender, find_sources=None
        )
        nothing: Any = SimpleNamespace(
            recovered=list, carry_out=lambda _: [], progressed=list, recover=list, release=list, own=list, clear=list,
            closed=list,
        )  # fmt: skip
        nothing.cancel = lambda: asyncio.sleep(0)
        self.aggregator = Aggregator(
            SETTINGS, backend, rules=rules_of(SETTINGS), publisher=nothing, effects=nothing, open_batches=nothing,
            clock=lambda: 1000.0 + 10.0 * len(self.acknowledged),
        )  # fmt: skip

    @property
    def store(self) -> PartitionStore:
        store: PartitionStore = self._app.state_tables[Table.BATCHES].store
        return store

    async def take_over(self) -> None:
        """Go through a rebalance that leaves it the partition, or gives it to it."""
        changelog = self.store.table.changelog_topic.get_topic_name()
        self._app.assignor.assigned_actives = lambda: {TP(changelog, 0)}
        await self.store.on_rebalance(set(), set(), set())
        done = self.store.persisted_offset(TP(changelog, 0))
        for offset, message in enumerate(self._changelog.log):
            if message.topic == changelog and (done is None or offset > done):
                self.store.write(0, message.key or b"", message.value)
                self.store.loaded(0, offset)
        await self.store.on_recovery_completed({TP(changelog, 0)}, set())
        self.aggregator.recover([0])

    async def give_up(self) -> None:
        await self.aggregator.settle()
        await self.aggregator.cancel()

    async def read(self, *events: BatchEvent) -> None:
        frames = event_frames(SETTINGS.batch_events_topic, 0, list(events))
        topic = SETTINGS.batch_events_topic
        for offset, frame in enumerate(frames):
            message = InMessage(topic, 0, offset, 1000.0, None, frame.value or b"", ())
            await self.aggregator.handle([Delivery(message, partial(self.acknowledged.append, offset))])


def known_to_the_next(changelog: Changelog) -> list[tuple[str, list[str]]]:
    """Return the open batches of another worker that takes the partition over, with the stations they wait for."""

    async def taken_over() -> list[tuple[str, list[str]]]:
        other = Worker(changelog)
        await other.take_over()
        return [(batch_id, list(batch.waiting_for())) for batch_id, batch in other.aggregator.sets[0].open.items()]

    return asyncio.run(taken_over())


@pytest.mark.parametrize("fault", ["forgotten", "cancelled"])
def test_an_event_that_is_acknowledged_is_stored_though_its_first_store_had_failed(fault: str) -> None:
    changelog = Changelog()

    async def tried() -> None:
        worker = Worker(changelog)
        await worker.take_over()
        await worker.read(OPEN, ARRIVED)
        assert worker.acknowledged == []  # it is stored within a second
        changelog.is_forgotten, changelog.hangs = fault == "forgotten", fault == "cancelled"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("app.pipeline.aggregation.aggregator.SETTLE_SECONDS", 0.01)
            await worker.give_up()
        assert changelog.log == []
        changelog.is_forgotten = changelog.hangs = False
        await worker.take_over()
        await worker.read(OPEN, ARRIVED)  # again: they are not committed
        await worker.give_up()
        assert worker.acknowledged == [0]

    asyncio.run(tried())
    assert known_to_the_next(changelog) == [("b1", ["B"])]


def test_what_is_stored_is_not_read_again() -> None:
    changelog = Changelog()

    async def tried() -> bool:
        worker = Worker(changelog)
        await worker.take_over()
        await worker.read(OPEN, ARRIVED)
        await worker.give_up()
        records = worker.store.partition(0)
        await worker.take_over()
        return worker.store.partition(0) is records

    assert asyncio.run(tried())
