"""A rebalance that ends while a worker seeks or fetches: nothing is taken for uncommitted, nothing for truncated."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faust.types import TP

from app.kafka.fetching import FetchingConsumer
from app.kafka.positions import Base, Cause
from tests.unit.kafka.log_reader import SOURCE, Reader

OTHER = TP("yard", 2)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    return Reader(monkeypatch)


def test_a_partition_that_is_assigned_while_a_worker_seeks_is_not_read_from_its_beginning(reader: Reader) -> None:
    # After its start a broker may know one topic before another: the first assignment has nothing of it.
    reader.meanwhile = lambda: reader.thread.assign(SOURCE, OTHER)
    asyncio.run(reader.consumer.perform_seek())
    assert reader.thread.sought == [(SOURCE, 5)]
    assert reader.consumer.ledger.committable(OTHER) is None
    reader.meanwhile = lambda: None
    reader.thread.sought.clear()
    asyncio.run(reader.consumer.perform_seek())
    assert sorted(reader.thread.sought) == [(SOURCE, 5), (OTHER, 5)]


def test_what_a_new_assignment_begins_with_is_no_log_that_has_become_shorter(
    reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    reader.meanwhile = lambda: reader.thread.assign(SOURCE, OTHER)
    reader.deliver(5, 6, 7)
    assert (caplog.messages, reader.committed, reader.application.counted) == ([], [], (0, 0, 0))


def test_a_log_that_goes_back_while_a_seek_begins_is_read_from_its_base(
    reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    bases: Any = reader.bases
    look = bases.look_at_topics

    async def seek_first() -> None:
        bases.look_at_topics = look
        await reader.consumer.perform_seek()

    bases.look_at_topics = seek_first
    assert reader.deliver(3, 4) == []
    assert (caplog.messages, reader.committed, reader.thread.sought) == ([], [], [(SOURCE, 5)])


def test_a_group_that_knows_of_no_commit_is_asked_for_nothing_that_the_worker_knows_better(reader: Reader) -> None:
    bases = reader.find_bases({SOURCE: None, OTHER: None}, SOURCE, OTHER)
    assert [(bases[tp].offset, bases[tp].cause) for tp in (SOURCE, OTHER)] == [
        (8, Cause.COMMITTED),
        (0, Cause.FRESH),
    ]


def test_a_base_that_was_not_committed_is_forgotten_with_its_partition(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be another worker's for hours, and come back."""

    async def on_partitions_assigned(*_: object) -> None:
        """Faust goes on."""

    monkeypatch.setattr(FetchingConsumer, "on_partitions_assigned", on_partitions_assigned)
    reader.bases.moved = {SOURCE: Base(0, Cause.SHORTER), OTHER: Base(0, Cause.SHORTER)}
    asyncio.run(reader.consumer.on_partitions_assigned({OTHER}, 8))
    assert reader.bases.moved.keys() == {OTHER}
    assert reader.find_bases({SOURCE: 5}, SOURCE) == {SOURCE: Base(5, Cause.COMMITTED)}
