"""The changelogs are read in bulk while another worker may still write to them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from faust.types import TP

from app.kafka import state_store
from app.kafka.state_store import BulkRecovery
from tables.faust_tables import BatchTable

CHANGELOG = TP("batches-changelog", 2)


class Store:
    """Where the records go."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.loaded_to = -1

    def write(self, _partition: int, key: bytes, _value: bytes) -> None:
        self.records.append(key)

    def loaded(self, _partition: int, offset: int) -> None:
        self.loaded_to = offset


def loading(monkeypatch: pytest.MonkeyPatch, store: Store) -> tuple[Any, Counter[TP]]:
    """A recovery of 40 records into a store, and the offsets that it keeps."""

    @asynccontextmanager
    async def reading(*_: object, **__: object) -> AsyncIterator[None]:
        yield None

    async def read_batches(*_: object, **__: object) -> AsyncIterator[tuple[TopicPartition, list[Any]]]:
        yield TopicPartition(*CHANGELOG), [SimpleNamespace(key=b"%d" % n, value=b"", offset=n) for n in range(40)]

    monkeypatch.setattr(state_store, "reading", reading)
    monkeypatch.setattr(state_store, "read_batches", read_batches)
    recovery: Any = BulkRecovery.__new__(BulkRecovery)
    recovery.app = SimpleNamespace(settings=None)
    recovery.tp_to_table = {CHANGELOG: BatchTable.__new__(BatchTable)}
    recovery.tp_to_table[CHANGELOG]._data = store
    recovery.active_highwaters = Counter({CHANGELOG: 37})
    return recovery, Counter({CHANGELOG: -1})


def test_what_a_zombie_writes_during_the_recovery_is_read_and_does_not_end_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store()
    recovery, offsets = loading(monkeypatch, store)
    asyncio.run(recovery._load({CHANGELOG}, offsets))
    assert (len(store.records), store.loaded_to, offsets[CHANGELOG]) == (40, 39, 39)
    # Faust's check: an offset above the highwater raises ConsistencyError.
    assert recovery.active_highwaters[CHANGELOG] == 39


def test_the_event_loop_has_its_turn_while_large_records_are_read_and_a_cancelled_recovery_knows_where_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store()
    recovery, offsets = loading(monkeypatch, store)
    monkeypatch.setattr(state_store, "perf_counter", lambda: 0.5 * state_store.TURN_SECONDS * len(store.records))

    async def cancelled() -> None:
        task = asyncio.ensure_future(recovery._load({CHANGELOG}, offsets))
        while len(store.records) < 10:  # noqa: ASYNC110 - turns of the loop are what is asked about
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(cancelled())
    assert 10 <= len(store.records) < 20
    assert offsets[CHANGELOG] == store.loaded_to == len(store.records) - 1


def waiting() -> Any:
    """A recovery in the middle of a step."""
    recovery: Any = BulkRecovery.__new__(BulkRecovery)
    recovery._loop = asyncio.get_running_loop()
    recovery._stopped, recovery._crashed, recovery._signal_recovery_start = (asyncio.Event() for _ in range(3))
    return recovery


def test_a_step_during_which_a_broker_is_away_for_long_ends_no_recovery() -> None:
    async def slow_step() -> list[str]:
        done: list[str] = []

        async def step() -> None:
            await asyncio.sleep(0.05)
            done.append("step")

        await waiting()._wait(step(), timeout=0.001)  # Faust raises ServiceStopped, and nobody recovers any more
        return done

    assert asyncio.run(slow_step()) == ["step"]


def test_a_step_ends_with_the_next_rebalance_and_with_the_worker() -> None:
    async def interrupted(by: str) -> None:
        recovery = waiting()
        asyncio.get_running_loop().call_soon(getattr(recovery, by).set)
        await recovery._wait(asyncio.sleep(600), timeout=600.0)

    with pytest.raises(RebalanceAgain):
        asyncio.run(interrupted("signal_recovery_start"))
    with pytest.raises(ServiceStopped):
        asyncio.run(interrupted("_stopped"))


@pytest.mark.parametrize("is_given_up", [False, True])
def test_a_recovery_whose_partitions_are_being_taken_away_makes_no_owner(
    is_given_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group's generation stays the same from there until the next assignment, a session later at most."""
    recovery: Any = BulkRecovery.__new__(BulkRecovery)
    recovery._generation_id = 7
    completed: list[int] = []

    async def on_recovery_completed(_: object, generation_id: int) -> None:
        completed.append(generation_id)

    monkeypatch.setattr(Recovery, "on_recovery_completed", on_recovery_completed)
    if is_given_up:
        recovery.given_up()
    asyncio.run(recovery.on_recovery_completed(7))
    assert completed == ([] if is_given_up else [7])
