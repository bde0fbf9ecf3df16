"""The figures of a range of time, from the closed batches that are remembered: a worker's death changes none of them.

A batch counts when it has closed for the first time in the range, however it is revised later.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, Generic, NamedTuple, TypeVar

from app.observability.counters import MINUTE, Histogram
from app.web.cluster import DEADLINE
from app.web.state import WorkerState
from app.web.topics import NotReadable
from app.web.turns import Pace, Turns
from tables.closed_batches import Block, ClosedBatch, line_of_decision
from tables.looks import late_kept
from tables.model.enums import CompletedBy, Status
from tables.working_set import WorkingSet

K = TypeVar("K")
V = TypeVar("V")

SHARE_OF_TIME: Final = 50  # an answer is used again for so many times as long as it took to make
ASK_AGAIN: Final = 3.0  # seconds for which counts of topics are used again
_KEPT: Final = 16  # answers of different ranges


class Span(NamedTuple):
    """A range of time (Unix seconds): `since` is in it, `until` is not.

    `asked` is how it was asked for: `15m` is another range the next second.
    """

    since: float
    until: float
    asked: tuple[str, str] = ("", "")

    def has(self, at: float) -> bool:
        """Say whether a time is in it."""
        return self.since <= at < self.until


_Key = tuple[tuple[str, str], frozenset[tuple[int, int]]]  # how it was asked for; partitions, and their owners' objects


@dataclass(slots=True)
class Figures:
    """What the batches that closed in a range add up to.

    Attributes:
        completed_by: batches by the rule that closed them.
        discarded: of these.
        late: outcomes that came after their batch had closed, and to which the late topic is closed: by AGG_LATE_POLICY
            they were revised with or dropped.
        arrived: stations that arrived in those that closed in the last minute of the range, as of the latest revision.
        durations: from the opening to the closing.
    """

    completed_by: Counter[CompletedBy] = field(default_factory=Counter)
    discarded: int = 0
    late: int = 0
    arrived: int = 0
    durations: Histogram = field(default_factory=Histogram)

    def add(self, lines: Iterable[ClosedBatch], since: float, until: float) -> None:
        """Count lines of batches."""
        lines = [line for line in lines if since <= line.first_closed_at < until]
        self.completed_by.update([line.first_completed_by for line in lines])
        self.discarded += [line.status for line in lines].count(Status.DISCARDED)
        self.arrived += sum([line.arrived_count for line in lines if line.first_closed_at >= until - MINUTE])
        self.durations.observe_all([line.first_closed_at - line.opened_at for line in lines])

    def merge(self, other: Figures) -> None:
        """Add the figures of batches that closed in the range, but not in its last minute."""
        self.completed_by.update(other.completed_by)
        self.discarded += other.discarded
        self.durations.merge(other.durations)


def sum_of(block: Block) -> Figures:
    """Return the figures of all batches of a block, which is summed up once."""
    if not isinstance(block.summed, Figures):
        block.summed = figures = Figures()
        figures.add(block.lines, -math.inf, math.inf)
        return figures
    return block.summed


def rules_of(block: Block) -> Set[CompletedBy] | None:
    """Return the rules that have closed the batches of a block, None where it has not been summed up."""
    return block.summed.completed_by.keys() if isinstance(block.summed, Figures) else None


async def figures_of(sets: Mapping[int, WorkingSet], span: Span, turns: Turns) -> Figures:
    """Add up the batches of these partitions that closed in a range."""
    figures = Figures()
    for working_set in list(sets.values()):  # partitions may be taken away meanwhile
        for block in list(working_set.closed_blocks):
            if block.lines:
                sum_of(block)
            await turns.rest()
        _add_up(working_set, span.since, span.until, figures)
        await turns.rest()
        for batch_id in working_set.with_late():
            figures.late += sum([count for at, count in late_kept(working_set, batch_id) if span.has(at)])
            await turns.rest()
    return figures


def _add_up(working_set: WorkingSet, since: float, until: float, figures: Figures) -> None:
    """Add the figures of a partition as of one moment; only at the ends of the range batches are looked at singly."""
    figures.add(closing_of(working_set), since, until)
    for block in working_set.closed_blocks:
        first, last = block.lines[0].first_closed_at, block.lines[-1].first_closed_at
        if since <= first and last < until - MINUTE:
            figures.merge(sum_of(block))
        elif first < until and last >= since:
            figures.add(block.lines, since, until)


def closing_of(working_set: WorkingSet) -> list[ClosedBatch]:
    """Return lines of the batches whose first output is not out, in the order of closing."""
    decisions = [batch.decision for batch in working_set.closing.values()]
    lines = [line_of_decision(decision, decision.closed_at) for decision in decisions if decision is not None]
    return sorted(lines, key=attrgetter("first_closed_at"))


class Written(NamedTuple):
    """Messages that were written to the late and to the dead-letter topic; None: Kafka has not told."""

    late: int | None
    dead_letters: int | None


_NOT_TOLD: Final = Written(None, None)


class Fresh(Generic[K, V]):
    """Answers that are used again for a while; the oldest goes when there are too many."""

    def __init__(self) -> None:
        self._made: dict[K, tuple[float, V]] = {}  # until when they are fresh

    def get(self, key: K) -> V | None:
        """Return an answer that is fresh; None where there is none."""
        fresh_until, answer = self._made.get(key, (0.0, None))
        return answer if time.monotonic() < fresh_until else None

    def keep(self, key: K, answer: V, seconds: float) -> None:
        """Keep an answer for so long."""
        self._made.pop(key, None)
        self._made[key] = (time.monotonic() + seconds, answer)
        while len(self._made) > _KEPT:
            del self._made[next(iter(self._made))]


class TopicCounts:
    """Counts of the late and the dead-letter topic in a range of time, asked of Kafka every few seconds at most."""

    def __init__(self, state: WorkerState) -> None:
        self._state = state
        self._known: Fresh[tuple[str, str], Written] = Fresh()  # by range as it was asked for
        self._asking = asyncio.Lock()

    async def of(self, asked: tuple[str, str], since: float, until: float) -> Written:
        """Return the counts from `since` to `until` (Unix seconds); see `Span` for `asked`."""
        try:
            async with asyncio.timeout(DEADLINE), self._asking:
                written = self._known.get(asked)
                if written is None:
                    written = await self._count(since, until)
                    self._known.keep(asked, written, ASK_AGAIN)
                return written
        except TimeoutError:
            return _NOT_TOLD

    async def _count(self, since: float, until: float) -> Written:
        late, dead_letters = self._state.settings.late_topic, self._state.settings.dead_letter_topic
        try:
            counts = await self._state.topics.count([late, dead_letters], since, until)
        except NotReadable:
            return _NOT_TOLD
        return Written(counts[late], counts[dead_letters])


class Seldom(Generic[V]):
    """Figures of one worker's partitions, made anew so seldom that they take a fiftieth of its time at most.

    A page asks every second, and a worker may remember 100,000 batches. Rests are not counted.
    """

    def __init__(
        self,
        make: Callable[[Mapping[int, WorkingSet], Span, Turns], Awaitable[V]],
        pace: Pace,
        is_whole: Callable[[V], bool] = lambda _: True,
    ) -> None:
        """`make` makes them of partitions and a range, in turns; what is not whole is made anew each time."""
        self._make = make
        self._pace = pace
        self._is_whole = is_whole
        self._made: Fresh[_Key, V] = Fresh()

    async def of(self, sets: Mapping[int, WorkingSet], span: Span) -> V:
        """Return the figures of a range."""
        key = span.asked, frozenset((number, id(working_set)) for number, working_set in sets.items())
        figures = self._made.get(key)
        if figures is None:
            turns = Turns(self._pace)
            figures = await self._make(sets, span, turns)
            if self._is_whole(figures):
                self._made.keep(key, figures, SHARE_OF_TIME * turns.worked())
        return figures
