"""Other timeouts held against what has happened: how the same batches would have closed with them. Pure.

What a timeout would have made of a batch follows from the times at which its outcomes came, and the rules. What these
times can't tell is counted apart:

- A station that was skipped, because the deadline had passed before its callback's turn came, would have run with a
  longer timeout: nobody knows for how long.
- A batch that another message has supplemented is left out: stations that it names again were awaited anew.

The callbacks take the time that they took. That a longer timeout has workers run more of them is not seen.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from app.cli.past_batches import PastBatch, released_at
from tables.model.policies import PartialPolicy, ReleasePolicy

SHARES: Final = (0.5, 0.9, 0.95, 0.99, 1.0)


class Closing(NamedTuple):
    """The end that a timeout would have made of a batch.

    Attributes:
        at: seconds after the opening; at most, where a skipped station may have come.
        missing: stations without an outcome by then.
        unsure: of these, the ones that were skipped for an earlier deadline.
        is_published: False where the rules discard the batch.
    """

    at: float
    missing: int
    unsure: int
    is_published: bool


@dataclass(frozen=True, slots=True)
class Prospect:
    """All batches with one timeout.

    Attributes:
        timeout: in seconds; None: the one that each batch had.
        complete: batches without a missing station.
        partial: published without some; `discarded`: not published.
        unsure: batches which nothing but skipped stations keeps from being complete.
        missing: stations of all batches together; `unsure_missing`: of these, skipped ones.
        median: seconds from the opening to the end; 95 % of the batches took at most `p95`.
    """

    timeout: float | None
    complete: int
    partial: int
    discarded: int
    unsure: int
    missing: int
    unsure_missing: int
    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class StationPast:
    """One station in all batches.

    Attributes:
        batches: those that expected it.
        last: those of several stations to which it came last, and alone; or in which it alone had not come.
        sooner: by how many seconds such a batch would have been complete without it, in the middle of those; None:
            it came to none of them.
        missed: batches that closed without it, with the timeout that they had.
        skipped, never: those in which it was not run, and those in which it has not come until now.
        median, p95: seconds from a batch's opening until it came; None: it never did.
    """

    station_id: str
    batches: int
    last: int
    sooner: float | None
    missed: int
    skipped: int
    never: int
    median: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Advice:
    """What the past says of timeouts.

    Attributes:
        batches: those that were looked at; there is one at least.
        opened_from, opened_until: the openings of the first and the last of them, Unix seconds.
        supplemented, under_way: batches that were left out.
        prospects: one for each timeout, ascending; before them that of the timeouts that the batches had.
        needed: share of the batches -> the timeout (s) with which so many would have been complete; None: no timeout.
        incomplete: batches with a station that has not come, or was skipped.
        stations: those first to which batches wait most often.
    """

    batches: int
    opened_from: float
    opened_until: float
    supplemented: int
    under_way: int
    prospects: list[Prospect]
    needed: list[tuple[float, float | None]]
    incomplete: int
    stations: list[StationPast]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of closing besides the timeout."""

    release: ReleasePolicy
    partial: PartialPolicy


# -- one batch ---------------------------------------------------------------------------------------------------------


def closing(batch: PastBatch, came: Sequence[float], timeout: float, rules: Rules) -> Closing:
    """Return how a batch would have closed with a timeout (s). `came` is the batch's, in ascending order."""
    total = len(came)
    at = min(timeout, released_at(batch, came, rules.release))
    missing = total - bisect_right(came, at)
    unsure = min(missing, len(batch.skipped)) if timeout > batch.given else 0
    return Closing(at, missing, unsure, at < timeout or _is_published(batch, at, missing, rules.partial))


def _is_published(batch: PastBatch, at: float, missing: int, policy: PartialPolicy) -> bool:
    """Decide at the deadline, as the state machine does."""
    total, places = len(batch.came), batch.stations.places
    if (total - missing) / total < policy.min_ratio:
        return False
    return all(batch.came[places[station]] <= at for station in policy.required if station in places)


# -- all of them -------------------------------------------------------------------------------------------------------


def advise(batches: Iterable[PastBatch], rules: Rules, timeouts: Iterable[float], now: float) -> Advice | None:
    """Hold timeouts (s) against batches; None where there is no batch to be looked at.

    A batch that is still waited for, and for which one of them has not passed at `now` (Unix seconds), is left out.
    """
    candidates = sorted(set(timeouts))
    longest = candidates[-1]
    tallies = [_Tally(None), *map(_Tally, candidates)]
    stations: dict[str, _StationTally] = {}
    complete_at: list[float] = []
    opened: list[float] = []
    supplemented = under_way = 0
    for batch in batches:
        if batch.has_more:
            supplemented += 1
        elif batch.pending and batch.opened_at + max(longest, batch.given) > now:
            under_way += 1
        else:
            came = sorted(batch.came)
            opened.append(batch.opened_at)
            complete_at.append(came[-1])
            for tally in tallies:
                timeout = batch.given if tally.timeout is None else tally.timeout
                tally.add(closing(batch, came, timeout, rules))
            _add_stations(stations, batch, came, closing(batch, came, batch.given, rules).at)
    if not opened:
        return None
    complete_at.sort()
    found = [tally.told(station_id) for station_id, tally in stations.items()]
    return Advice(
        len(opened),
        min(opened),
        max(opened),
        supplemented,
        under_way,
        [tally.told() for tally in tallies],
        [(share, finite(quantile(complete_at, share))) for share in SHARES],
        sum(at == math.inf for at in complete_at),
        sorted(found, key=_weight, reverse=True),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest of these numbers, in ascending order, that so many of them do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def finite(seconds: float) -> float | None:
    """Return the number, or None for an infinite one."""
    return seconds if seconds < math.inf else None


def _weight(station: StationPast) -> tuple[float, ...]:
    return station.last, station.missed, station.p95 or 0.0


@dataclass(slots=True)
class _Tally:
    """Counts the batches with one timeout; they may be many, so their ends are all that is kept of them."""

    timeout: float | None
    complete: int = 0
    partial: int = 0
    discarded: int = 0
    unsure: int = 0
    missing: int = 0
    unsure_missing: int = 0
    took: array[float] = field(default_factory=lambda: array("d"))

    def add(self, closed: Closing) -> None:
        self.took.append(closed.at)
        self.missing += closed.missing
        self.unsure_missing += closed.unsure
        if not closed.missing:
            self.complete += 1
        elif closed.missing == closed.unsure:
            self.unsure += 1
        elif closed.is_published:
            self.partial += 1
        else:
            self.discarded += 1

    def told(self) -> Prospect:
        took = sorted(self.took)
        return Prospect(
            self.timeout,
            self.complete,
            self.partial,
            self.discarded,
            self.unsure,
            self.missing,
            self.unsure_missing,
            median=quantile(took, 0.5),
            p95=quantile(took, 0.95),
        )


@dataclass(slots=True)
class _StationTally:
    """Counts the batches of one station."""

    batches: int = 0
    last: int = 0
    missed: int = 0
    skipped: int = 0
    never: int = 0
    came: array[float] = field(default_factory=lambda: array("d"))
    gains: array[float] = field(default_factory=lambda: array("d"))

    def told(self, station_id: str) -> StationPast:
        came, gains = sorted(self.came), sorted(self.gains)
        return StationPast(
            station_id,
            self.batches,
            self.last,
            quantile(gains, 0.5) if gains else None,
            self.missed,
            self.skipped,
            self.never,
            quantile(came, 0.5) if came else None,
            quantile(came, 0.95) if came else None,
        )


def _add_stations(
    stations: dict[str, _StationTally], batch: PastBatch, came: Sequence[float], closed_at: float
) -> None:
    last = came[-1] if len(came) > 1 and came[-1] > came[-2] else None
    for place, (station_id, seconds) in enumerate(zip(batch.stations.names, batch.came, strict=True)):
        tally = stations.get(station_id)
        if tally is None:
            tally = stations[station_id] = _StationTally()
        tally.batches += 1
        tally.missed += seconds > closed_at
        if seconds < math.inf:
            tally.came.append(seconds)
        elif place in batch.skipped:
            tally.skipped += 1
        else:
            tally.never += 1
        if seconds == last:
            tally.last += 1
            if seconds < math.inf:
                tally.gains.append(seconds - came[-2])
