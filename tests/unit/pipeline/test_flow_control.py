"""The bound on open batches: who counts, for how long, and who waits."""

from __future__ import annotations

import asyncio
import logging

import pytest

from app.messages.partitioner import Partitioner
from app.pipeline.splitting.flow_control import OpenBatches
from app.settings.enums import Language
from tests.virtual_time import EPOCH, run_in_virtual_time, unix_now

PARTITIONER = Partitioner(2)
OWN, OTHER = 0, 1


def ids(partition: int, count: int) -> list[str]:
    """Batch ids of a partition."""
    return [f"b{n}" for n in range(100) if PARTITIONER(f"b{n}") == partition][:count]


def counting(limit: int = 2, *known: str) -> OpenBatches:
    """A count of a worker that owns one of the two partitions, which knows some batches."""
    batches = OpenBatches(limit, partitioner=PARTITIONER, clock=unix_now, language=Language.EN)
    batches.own({OWN: set(known)})
    return batches


async def waited(batches: OpenBatches, batch_id: str) -> float:
    """Seconds until there is room."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    await batches.room(batch_id)
    assert not batches.waiting
    return loop.time() - start


def test_own_batches_count_until_they_are_closed_however_late_that_is() -> None:
    async def main() -> None:
        batches, (one, two, three) = counting(), ids(OWN, 3)
        batches.opened(one, EPOCH + 5)
        assert batches.has_room(two)
        batches.opened(two, EPOCH + 5)
        assert not batches.has_room(three)
        asyncio.get_running_loop().call_later(77.0, batches.closed, one)
        assert await waited(batches, three) == 77.0
        assert len(batches) == 1

    run_in_virtual_time(main())


def test_other_workers_batches_count_until_their_deadline() -> None:
    async def main() -> None:
        batches, (one, two, three) = counting(), ids(OTHER, 3)
        batches.opened(one, EPOCH + 5)
        batches.opened(two, EPOCH + 6)
        batches.opened(one, EPOCH + 9)  # a supplement
        assert await waited(batches, three) == 6.0
        batches.opened(three, EPOCH + 20)
        assert await waited(batches, ids(OWN, 1)[0]) == 3.0

    run_in_virtual_time(main())


def test_a_supplement_of_a_batch_that_counts_already_never_waits() -> None:
    async def main() -> None:
        batches, (one, two) = counting(limit=1), ids(OWN, 2)
        batches.opened(one, EPOCH + 5)
        assert batches.has_room(one)
        assert not batches.has_room(two)
        batches.opened(one, EPOCH + 5)
        assert len(batches) == 1

    run_in_virtual_time(main())


def test_a_message_of_a_batch_that_its_owner_knows_opens_nothing_and_never_waits() -> None:
    async def main() -> None:
        late, one, two = ids(OWN, 3)
        batches = counting(1, late)
        batches.opened(late, EPOCH + 5)
        assert len(batches) == 0
        batches.opened(one, EPOCH + 5)
        assert batches.has_room(late)
        assert not batches.has_room(two)

    run_in_virtual_time(main())


def test_the_count_is_dropped_with_the_assignment_and_who_waits_goes_on() -> None:
    async def main() -> None:
        batches, (one, two) = counting(limit=1), ids(OWN, 2)
        batches.opened(one, EPOCH + 5)
        asyncio.get_running_loop().call_later(1.0, batches.clear)
        assert await waited(batches, two) == 1.0
        assert len(batches) == 0
        batches.own({})
        batches.opened(one, EPOCH + 5)  # another worker's now
        assert await waited(batches, two) == 4.0

    run_in_virtual_time(main())


def test_a_batch_that_is_closed_twice_or_was_never_counted_changes_nothing() -> None:
    async def main() -> None:
        batches, (one, two) = counting(), ids(OWN, 2)
        batches.closed(one)
        batches.opened(one, EPOCH)
        batches.closed(one)
        batches.closed(one)
        batches.closed(two)
        assert len(batches) == 0

    run_in_virtual_time(main())


def test_waiting_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def main() -> None:
        batches = counting(limit=1)
        for number, batch_id in enumerate(ids(OTHER, 20)):
            await batches.room(batch_id)
            batches.opened(batch_id, unix_now() + 5)
            assert len(batches) == 1, number

    run_in_virtual_time(main())
    assert caplog.text.count("Reading waits until batches close: 1 are open (AGG_MAX_OPEN_BATCHES)") == 2
