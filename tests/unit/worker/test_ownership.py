"""A worker acts only on partitions that it owns and has recovered, and ends with the exit code of what stops it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from app.kafka.delivery import Fetched
from app.messages.message import SendError
from app.settings import Settings
from app.worker import app as worker_app
from app.worker.app import AggregatorApp
from app.worker.shutdown import EXIT_BROKER, EXIT_BUG
from tables.storage.checks import NewerFormatError
from tables.storage.records import UnreadableRecordError

EVENTS = Settings().batch_events_topic


class Owner:
    """What a worker's methods look at: a group's generation, a recovery, a consumer."""

    def __init__(self, *, generation: int = 7, recovering: int = 7, since: int | None = 7) -> None:
        self.settings = Settings()
        self.has_bases = True
        self.consumer_generation_id = generation
        self.tables = SimpleNamespace(recovery=SimpleNamespace(_generation_id=recovering))
        self.consumer = SimpleNamespace(assignment=lambda: {TP(EVENTS, 4), TP(EVENTS, 1), TP("plant", 2)})
        self.reader = SimpleNamespace(has_bases=lambda _: self.has_bases)
        self.pipeline = SimpleNamespace(
            aggregator=SimpleNamespace(tick=self._tick, recover=self._recover),
            silence=SimpleNamespace(tell=lambda _: None),
        )
        self._owner_since = since
        self.forgotten = False
        self.error: Exception | None = None
        self.ticks = 0
        self.recovered: list[list[int]] = []
        self.failures: list[BaseException] = []

    def ready(self) -> bool:
        return AggregatorApp.ready(self)  # type: ignore[arg-type]

    def _may_be_forgotten(self) -> bool:
        return self.forgotten

    def fail(self, error: BaseException) -> None:
        self.failures.append(error)

    async def _tick(self) -> None:
        self.ticks += 1
        if self.error is not None:
            raise self.error

    def _recover(self, partitions: list[int]) -> None:
        if self.error is not None:
            raise self.error
        self.recovered.append(partitions)


def run(method: Any, owner: Owner) -> None:
    asyncio.run(method(owner))


def test_deadlines_are_looked_at_by_a_worker_that_is_in_the_group_and_recovered() -> None:
    owner = Owner()
    run(AggregatorApp.tick, owner)
    assert owner.ticks == 1


@pytest.mark.parametrize("lacks", ["owner", "generation", "bases", "heartbeat"])
def test_a_worker_that_may_own_nothing_any_more_looks_at_no_deadline(lacks: str) -> None:
    owner = Owner(since=None if lacks == "owner" else 7, generation=8 if lacks == "generation" else 7)
    owner.has_bases, owner.forgotten = lacks != "bases", lacks == "heartbeat"
    run(AggregatorApp.tick, owner)
    assert owner.ticks == 0
    assert not owner.ready()


def test_a_timer_that_goes_wrong_ends_the_worker() -> None:
    owner = Owner()
    owner.error = ValueError("a bug")
    run(AggregatorApp.tick, owner)
    assert owner.failures == [owner.error]


def test_what_was_read_before_the_assignment_that_a_worker_has_now_is_not_its_own() -> None:
    def is_current(generation: int, since: int | None) -> bool:
        return AggregatorApp.is_current(Owner(since=since), Fetched([], generation))  # type: ignore[arg-type]

    assert is_current(7, 7)
    assert not is_current(6, 7)
    assert not is_current(7, None)


def test_a_worker_takes_over_the_batches_of_the_partitions_that_it_has_been_given() -> None:
    owner = Owner(since=None)
    run(AggregatorApp.take_over, owner)
    assert owner.recovered == [[1, 4]]
    assert owner.ready()


def test_a_recovery_that_another_rebalance_has_overtaken_makes_nobody_an_owner() -> None:
    owner = Owner(since=None, recovering=6)
    run(AggregatorApp.take_over, owner)
    assert owner.recovered == []
    assert not owner.ready()


def test_records_that_can_not_be_read_end_the_worker_that_takes_them_over() -> None:
    owner = Owner(since=None)
    owner.error = UnreadableRecordError("table batches, partition 1: it has format version 2")
    run(AggregatorApp.take_over, owner)
    assert owner.failures == [owner.error]


class Ended(BaseException):
    """The process has ended."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SendError("OUT[0]: a message was not taken"), EXIT_BROKER),
        (KafkaConnectionError("OUT[0] can't be read"), EXIT_BROKER),
        (NewerFormatError("events[0]@7: it has format version 2"), EXIT_BROKER),
        (UnreadableRecordError("table batches, partition 1: the record of key b'b'"), EXIT_BROKER),
        (ValueError("a bug"), EXIT_BUG),
    ],
)
def test_what_stops_a_worker_decides_its_exit_code_and_only_a_bug_has_a_traceback(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    ends: list[tuple[int, str, BaseException | None]] = []

    def stop(number: int, text: str, cause: BaseException | None = None) -> None:
        ends.append((number, text, cause))
        raise Ended

    monkeypatch.setattr(worker_app, "stop_at_once", stop)
    with pytest.raises(Ended):
        AggregatorApp.fail(Owner(), error)  # type: ignore[arg-type]
    ((found, text, cause),) = ends
    assert found == code
    assert str(error) in text
    assert cause is (error if code == EXIT_BUG else None)
