"""When messages come to a topic, on a topic in memory that answers as a broker does."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndTimestamp
from hypothesis import given
from hypothesis import strategies as st

from app.kafka.arrivals import arrivals_of

HOUR = 3600.0
NOW = 30 * 24 * HOUR


class Topic:
    """A topic whose partitions hold messages of these times (Unix seconds), in order."""

    def __init__(self, *partitions: Iterable[float]) -> None:
        self._times = [[round(at * 1000) for at in times] for times in partitions]
        self.asked = 0

    def partitions_for_topic(self, _: str) -> set[int]:
        return set(range(len(self._times)))

    async def end_offsets(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: len(self._times[tp.partition]) for tp in tps}

    async def offsets_for_times(
        self, times: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        self.asked += 1
        found: dict[TopicPartition, OffsetAndTimestamp | None] = {}
        for tp, at in times.items():
            held = self._times[tp.partition]
            place = bisect_left(held, at)
            found[tp] = OffsetAndTimestamp(place, held[place]) if place < len(held) else None
        return found


def arrivals(topic: Any, now: float = NOW) -> tuple[float | None, float | None]:
    return asyncio.run(arrivals_of(topic, "IN", now))


def test_a_topic_without_messages_has_neither() -> None:
    assert arrivals(Topic([], [])) == (None, None)


def test_a_single_message_is_the_last_and_no_gap_is_usual() -> None:
    assert arrivals(Topic([], [NOW - 77.0])) == (NOW - 77.0, None)


@pytest.mark.parametrize(
    ("times", "gap"),
    [
        ([NOW - 300.0 * n for n in range(2000)], 300.0),
        ([NOW - HOUR * n for n in range(300)], HOUR),
        ([NOW - 24 * HOUR * n for n in range(20)], 24 * HOUR),
        # A hundred plants, all within ten seconds at the hour: the gap is not that between two of them.
        ([NOW - HOUR * n - 0.1 * plant for n in range(48) for plant in range(100)], HOUR),
        # By day every minute, by night nothing: the night is not what is usual.
        ([NOW - 60.0 * n for n in range(10_000) if n // 60 % 24 < 16], 60.0),
        ([NOW - 0.05 * n for n in range(1000)], 0.05),
    ],
    ids=["every five minutes", "hourly", "daily", "bursts", "by day", "20 a second"],
)
def test_the_usual_gap_is_that_between_bursts(times: list[float], gap: float) -> None:
    ordered = sorted(times)
    topic = Topic(ordered[::2], ordered[1::2])
    last, usual = arrivals(topic, NOW + 5.0)
    assert last == pytest.approx(NOW, abs=0.05)
    assert usual == pytest.approx(gap, rel=0.5, abs=0.01)
    assert topic.asked < 60


@given(st.lists(st.lists(st.floats(0, NOW), max_size=30).map(sorted), min_size=1, max_size=3))
def test_the_last_message_is_found_wherever_it_is(partitions: list[list[float]]) -> None:
    topic = Topic(*partitions)
    last, usual = arrivals(topic)
    times = sorted({at for times in partitions for at in times})
    assert (last is None) == (not times)
    if last is not None:
        assert times[-1] - 0.06 < last <= times[-1] + 0.001
    if usual is not None:
        assert 0 <= usual <= 2 * max((later - before for before, later in pairwise(times)), default=0.0) + 0.1
    assert topic.asked < 80


def test_a_message_of_a_clock_that_is_ahead_is_the_last() -> None:
    assert arrivals(Topic([NOW - 9.0, NOW + 1000.0]))[0] == NOW + 1000.0
