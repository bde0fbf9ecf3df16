"""Which chunks of the log must be stored now, and which may be acknowledged."""

from __future__ import annotations

import math
from functools import partial

from app.messages.message import Delivery, InMessage
from app.pipeline.aggregation.aggregator import STORE_BYTES, STORE_SECONDS, DeferredAcks


def chunk(partition: int, *offsets: int, size: int = 10, acknowledged: list[int] | None = None) -> list[Delivery]:
    ack = (acknowledged if acknowledged is not None else []).append
    return [
        Delivery(InMessage("log", partition, offset, 0.0, None, b"x" * size), partial(ack, offset))
        for offset in offsets
    ]


def test_what_has_waited_long_enough_is_due_and_what_came_later_is_not() -> None:
    deferred = DeferredAcks()
    deferred.add(chunk(0, 4, 5), 100.0)
    deferred.add(chunk(1, 9), 100.5)
    assert deferred.due(100.0 + STORE_SECONDS / 2) == {}
    assert deferred.due(100.0 + STORE_SECONDS) == {0: 5}
    assert deferred.due(100.5 + STORE_SECONDS) == {0: 5, 1: 9}
    assert deferred.due(math.inf) == {0: 5, 1: 9}


def test_a_clock_that_was_put_back_makes_it_due() -> None:
    deferred = DeferredAcks()
    deferred.add(chunk(0, 4), 100.0)
    assert deferred.due(50.0) == {0: 4}


def test_of_too_many_bytes_the_oldest_are_due() -> None:
    deferred = DeferredAcks()
    for offset in range(4):
        deferred.add(chunk(0, offset, size=STORE_BYTES // 2), 100.0)
    assert deferred.due(100.0) == {0: 1}


def test_chunks_are_acknowledged_from_the_front_as_far_as_nothing_of_them_is_left() -> None:
    acknowledged: list[int] = []
    deferred = DeferredAcks()
    deferred.add(chunk(0, 4, 5, acknowledged=acknowledged), 100.0)
    deferred.add(chunk(1, 9, acknowledged=acknowledged), 100.0)
    assert deferred.count_stored({0: 5, 1: math.inf}) == 0
    assert deferred.count_stored({0: 6, 1: 9}) == 1
    deferred.stored(1)
    assert acknowledged == [4, 5]
    assert deferred.count_stored({0: math.inf, 1: math.inf}) == 1
    deferred.stored(1)
    assert acknowledged == [4, 5, 9]


def test_what_was_dropped_while_it_was_stored_is_not_acknowledged() -> None:
    acknowledged: list[int] = []
    deferred = DeferredAcks()
    deferred.add(chunk(0, 4, acknowledged=acknowledged), 100.0)
    deferred.drop()
    deferred.stored(1)
    assert acknowledged == []
    assert deferred.due(math.inf) == {}
