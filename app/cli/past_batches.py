"""How batches went, as their log tells it: when each was opened, and when the outcome of each station came. Pure.

The log has what outputs have not: outcomes that came in time one by one, late ones whatever the late policy makes of
them, and batches whose payload is a result handler's own.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from math import inf
from typing import Final

from tables.model.enums import Action, Code
from tables.model.events import Arrived, BatchEvent, Command, Expire, Forget, Open, Source
from tables.model.policies import ReleasePolicy

KEPT: Final = 2_000_000  # stations of all batches: about 20 bytes each where the same come again, 150 where none does
_BATCH: Final = 20  # stations that a batch counts as besides its own, for what is kept of it itself
_ENDS: Final = frozenset({Action.COMPLETE, Action.DISCARD})


class Stations:
    """The stations that a message names, in its order, and the place of each; most messages name the same ones."""

    __slots__ = ("names", "places")

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.places = {name: place for place, name in enumerate(self.names)}


@dataclass(slots=True, eq=False)
class PastBatch:
    """One batch. Times are Unix seconds, but those in `came`.

    Attributes:
        given: seconds that it was given when it was opened.
        pending: stations whose outcome has not come.
        came: seconds from its opening to the outcome of each of `stations`; infinite where none has come.
        skipped: places of the stations whose callback was not run, since the deadline had passed before its turn came.
        deadline: as it is by now: an operator may have moved it.
        is_closed: whether what comes now is late.
        has_more: whether another message has supplemented it while it was open.
    """

    batch_id: str
    source: Source
    opened_at: float
    deadline: float
    given: float
    stations: Stations
    came: array[float]
    pending: int
    skipped: set[int] = field(default_factory=set)
    is_closed: bool = False
    has_more: bool = False


class History:
    """Takes the events of the log, each partition's in their order, and keeps the newest batches.

    Args:
        release: the rule by which batches close before their deadlines.
        kept: stations of all batches together that are kept at most; each batch counts as some more.
    """

    def __init__(self, release: ReleasePolicy, kept: int = KEPT) -> None:
        self.dropped = 0  # batches that were older than those that are kept
        self._release = release
        self._kept = kept
        self._size = 0
        self._remembered: dict[str, PastBatch] = {}
        self._oldest: list[tuple[float, int, PastBatch]] = []  # a heap
        self._numbers = count()
        self._stations = lru_cache(maxsize=64)(Stations)

    def batches(self) -> list[PastBatch]:
        """Return the batches that are kept, in the order in which they were opened."""
        return [batch for *_, batch in sorted(self._oldest)]

    def take(self, event: BatchEvent) -> None:
        """Take in an event; one that is read twice changes nothing."""
        if isinstance(event, Open):
            self._open(event)
            return
        batch = self._remembered.get(event.batch_id)
        if batch is None:
            return
        if isinstance(event, Arrived):
            self._arrive(batch, event)
        elif isinstance(event, Expire):
            batch.is_closed |= event.deadline >= batch.deadline
        elif isinstance(event, Forget):
            del self._remembered[event.batch_id]
        elif isinstance(event, Command):
            if event.action in _ENDS:
                batch.is_closed = True
            elif not batch.is_closed:
                batch.deadline += event.seconds

    def _open(self, event: Open) -> None:
        known = self._remembered.get(event.batch_id)
        if known is not None:
            known.has_more |= event.source != known.source and not known.is_closed
            return
        if event.replayed or not event.stations:
            return
        batch = PastBatch(
            event.batch_id,
            event.source,
            event.opened_at,
            event.deadline,
            event.deadline - event.opened_at,
            self._stations(event.stations),
            array("d", [inf]) * len(event.stations),
            len(event.stations),
        )
        self._remembered[batch.batch_id] = batch
        heapq.heappush(self._oldest, (batch.opened_at, next(self._numbers), batch))
        self._size += _BATCH + len(batch.came)
        while self._size > self._kept and len(self._oldest) > 1:
            self._drop()

    def _drop(self) -> None:
        *_, batch = heapq.heappop(self._oldest)
        self._size -= _BATCH + len(batch.came)
        self.dropped += 1
        if self._remembered.get(batch.batch_id) is batch:
            del self._remembered[batch.batch_id]

    def _arrive(self, batch: PastBatch, event: Arrived) -> None:
        if event.source != batch.source:
            return
        places, came, skipped = batch.stations.places, batch.came, batch.skipped
        seconds = max(0.0, event.at - batch.opened_at)  # the clocks of two workers may differ
        for station, code in zip(event.stations, event.codes, strict=True):
            place = places.get(station)
            if place is None or came[place] < inf or place in skipped:
                continue
            if code == Code.SKIPPED:
                skipped.add(place)
            else:
                came[place] = seconds
                batch.pending -= 1
        if batch.pending <= self._release.most_pending(len(came)):
            batch.is_closed |= required_at(batch, self._release) < inf


def released_at(batch: PastBatch, came: Sequence[float], policy: ReleasePolicy) -> float:
    """Return after how many seconds enough of a batch had come to close it before its deadline; infinite: never.

    `came` is the batch's, in ascending order.
    """
    total = len(came)
    pending = policy.most_pending(total)
    enough = came[total - pending - 1] if pending < total else 0.0
    return max(enough, required_at(batch, policy))


def required_at(batch: PastBatch, policy: ReleasePolicy) -> float:
    """Return after how many seconds all required stations of a batch had come, as far as it expects them."""
    places = batch.stations.places
    return max((batch.came[places[station]] for station in policy.required if station in places), default=0.0)
