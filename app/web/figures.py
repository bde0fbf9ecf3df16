"""The figures of a range of time, from the closed batches that are remembered: a worker's death changes none of them.

A batch counts when it has closed for the first time in the range, however it is revised later.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

from app.observability.counters import MINUTE, Histogram
from app.web.cluster import DEADLINE
from app.web.paging import SLICE, Turns
from app.web.state import WorkerState
from app.web.topics import NotReadable
from tables.closed_batches import ClosedBatch, line_of_decision
from tables.looks import late_kept
from tables.model.enums import CompletedBy, Status
from tables.working_set import WorkingSet

K = TypeVar("K")
V = TypeVar("V")

SHARE_OF_TIME: Final = 50  # an answer is used again for so many times as long as it took to make
ASK_AGAIN: Final = 3.0  # seconds for which counts of topics are used again
_KEPT: Final = 16  # answers of different ranges

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


async def figures_of(sets: Mapping[int, WorkingSet], since: float, until: float) -> Figures:
    """Add up the batches of these partitions that closed between `since` and `until` (Unix seconds)."""
    figures, turns = Figures(), Turns()
    for working_set in list(sets.values()):  # partitions may be taken away meanwhile
        lines: Sequence[ClosedBatch] = [*working_set.closed.values(), *_closing(working_set)]
        for start in range(0, len(lines), SLICE // 5):
            figures.add(lines[start : start + SLICE // 5], since, until)
            await turns.rest()
        for batch_id in working_set.with_late():
            figures.late += sum([count for at, count in late_kept(working_set, batch_id) if since <= at < until])
            await turns.rest()
    return figures


def _closing(working_set: WorkingSet) -> list[ClosedBatch]:
    """Return lines of the batches whose first output is not out."""
    decisions = [batch.decision for batch in working_set.closing.values()]
    return [line_of_decision(decision, decision.closed_at) for decision in decisions if decision is not None]


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
        """Return the counts from `since` to `until` (Unix seconds); see `OwnFigures.of` for `asked`."""
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


class OwnFigures:
    """The figures of one worker's partitions, made anew so seldom that they take a fiftieth of its time at most.

    A page asks every second, and a worker may remember 100,000 batches.
    """

    def __init__(self) -> None:
        self._made: Fresh[_Key, Figures] = Fresh()

    async def of(self, sets: Mapping[int, WorkingSet], asked: tuple[str, str], since: float, until: float) -> Figures:
        """Return the figures of a range; `asked` is how it was asked for: `15m` is another range the next second."""
        key = asked, frozenset((number, id(working_set)) for number, working_set in sets.items())
        figures = self._made.get(key)
        if figures is None:
            started = time.monotonic()
            figures = await figures_of(sets, since, until)
            self._made.keep(key, figures, SHARE_OF_TIME * (time.monotonic() - started))
        return figures
