"""Timeouts of batches: a fixed one, or one that follows the time that recent batches have needed. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from math import ceil, log
from typing import NamedTuple

from tables.model.enums import CompletedBy
from tables.model.fast_dataclass import fast_dataclass

WINDOW = 256  # observations that are kept
NEAREST = 32  # of these, the nearest in size that an estimate looks at
SHARE = 0.9  # of them that the estimate covers
MARGIN = 1.5
BACKOFF = 2.0
BACKOFF_BATCHES = 3  # for so many closings a batch that was cut off lengthens the timeout
STILL_COMING = 0.75  # of the time: an arrival after that shows that other stations were on their way
FRESH_SECONDS = 0.25  # an estimate up to this age still holds
SIZE_BITS = 4  # sizes that agree in their first bits share an estimate


@fast_dataclass(frozen=True, slots=True)
class Observation:
    """The course of a closed batch. Times are seconds after `since` (Unix seconds), when its last message was split.

    Attributes:
        stations: how many were expected.
        waited: until its deadline.
        needed: until the last arrival; None where nothing arrived.
        cut_off: whether it closed at its deadline while stations were still on their way.
    """

    batch_id: str
    stations: int
    since: float
    waited: float
    needed: float | None
    cut_off: bool

    def with_late(self, at: float) -> Observation:
        """Return it as it is when a missing station has answered at `at` (Unix seconds): others were on their way."""
        needed = max(self.needed or 0.0, at - self.since)
        return replace(self, needed=needed, cut_off=True) if needed > self.waited else self


def observe(
    batch_id: str,
    completed_by: CompletedBy,
    *,
    stations: int,
    since: float,
    deadline: float,
    arrived_at: float | None,
    skipped: bool,
) -> Observation:
    """Observe a batch that has closed.

    A batch that closed at its deadline was cut off if some stations had not even been started by then (`skipped`), or
    if the last arrival was so near to the deadline that others must have been on their way. If nothing has come for
    longer than that, the missing stations are taken for dead: waiting longer would not have brought them.
    """
    waited = max(0.0, deadline - since)
    needed = None if arrived_at is None else max(0.0, arrived_at - since)
    still_coming = needed is not None and needed > STILL_COMING * waited
    cut_off = completed_by is CompletedBy.TIMEOUT and (skipped or still_coming)
    return Observation(batch_id, stations, since, waited, needed, cut_off)


class FixedTimeout:
    """`AGG_BATCH_TIMEOUT`, whatever happens."""

    adaptive = False

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def seconds(self, stations: int, now: float) -> float:
        """Return the timeout of a batch of so many stations that is opened now (Unix seconds)."""
        del stations, now
        return self._seconds

    def usual(self, now: float) -> float:
        """Return the timeout of a batch with as many stations as the batch had that closed last."""
        del now
        return self._seconds

    def closed(self, observation: Observation) -> None:
        """Take in how a batch has gone: changes nothing."""

    def late(self, batch_id: str, at: float) -> None:
        """Take in that a result, or an empty one, came after its batch had closed: changes nothing."""

    def reset(self, observations: Iterable[Observation]) -> None:
        """Forget all but these observations, in the order of closing: changes nothing."""


class _Estimate(NamedTuple):
    """An estimate, the time when it was made, and the number of changes of the observations until then."""

    at: float
    change: int
    seconds: float


class AdaptiveTimeout:
    """A robust upper estimate of what batches need, with a back-off while they are cut off.

    For a batch of n stations (rounded up to four bits), over the 32 observations i nearest to n in size (by
    |log(n / n_i)|, the newer first where that is equal) among the last 256 closed batches:

        x_i = needed_i, or max(needed_i, waited_i) where it was cut off (a lower bound of what it needed)
        s_i = max(1, n / n_i)                              needs grow at most in proportion to the size
        T(n) = max(1.5 * Q90{s_i * x_i},  2 * max{s_j * waited_j : j cut off, among the 3 closed last})

    clamped to `shortest`..`longest`; `first`, clamped, while there are no observations. Q90 is the upper decile by the
    nearest rank (Hyndman and Fan 1996, type 1): a tenth of the batches may be arbitrarily slow without moving it. The
    second term is the exponential back-off of RFC 6298, 5.5: a batch that was cut off tells only that the time was too
    short (it is censored), so the next ones get twice the time until one comes in whole.

    A batch that closed without stations that had been silent for long does not lengthen anything (see `observe`). Nor
    does one in which nothing arrived at all: a dead plant must not cost the living ones more time. If a silent station
    answers later, its batch counts as cut off, with the time until that answer.
    """

    adaptive = True

    def __init__(self, first: float, shortest: float, longest: float) -> None:
        self._shortest = shortest
        self._longest = longest
        self._first = self._clamped(first)
        self._recent: OrderedDict[str, Observation] = OrderedDict()
        self._change = 0
        self._estimates: dict[int, _Estimate] = {}  # by size

    def seconds(self, stations: int, now: float) -> float:
        """Return the timeout; an estimate of a moment ago is not made again."""
        size = _rounded_up(stations)
        known = self._estimates.get(size)
        if known is None or not (known.change == self._change or 0.0 <= now - known.at < FRESH_SECONDS):
            known = self._estimates[size] = _Estimate(now, self._change, self._estimate(size))
        return known.seconds

    def usual(self, now: float) -> float:
        """Return the timeout of a batch as large as the one that closed last; `first`, clamped, while there is none."""
        newest = next(reversed(self._recent.values()), None)
        return self._first if newest is None else self.seconds(newest.stations, now)

    def closed(self, observation: Observation) -> None:
        """Take in how a batch has gone."""
        self._change += 1
        self._recent.pop(observation.batch_id, None)
        self._recent[observation.batch_id] = observation
        while len(self._recent) > WINDOW:
            self._recent.popitem(last=False)

    def late(self, batch_id: str, at: float) -> None:
        """Take in that a station which was missing has answered."""
        known = self._recent.get(batch_id)
        if known is not None:
            self._change += 1
            self._recent[batch_id] = known.with_late(at)

    def reset(self, observations: Iterable[Observation]) -> None:
        """Begin with the observations of the closed batches that are remembered."""
        self._recent.clear()
        self._estimates.clear()
        for observation in observations:
            self.closed(observation)

    def _estimate(self, stations: int) -> float:
        newest_first = [seen for seen in reversed(self._recent.values()) if seen.needed is not None or seen.cut_off]
        near = sorted(newest_first, key=lambda seen: abs(log(max(1, seen.stations) / stations)))[:NEAREST]
        if not near:
            return self._first
        needs = sorted(_scale(seen, stations) * _need(seen) for seen in near)
        latest = set(newest_first[:BACKOFF_BATCHES])
        cut_off = [_scale(seen, stations) * seen.waited for seen in near if seen.cut_off and seen in latest]
        covered = needs[ceil(SHARE * len(needs)) - 1]
        return self._clamped(max(MARGIN * covered, BACKOFF * max(cut_off, default=0.0)))

    def _clamped(self, seconds: float) -> float:
        return min(max(seconds, self._shortest), self._longest)


TimeoutPolicy = FixedTimeout | AdaptiveTimeout
"""The source of each message's timeout (`AGG_TIMEOUT_MODE`)."""


def _need(seen: Observation) -> float:
    needed = seen.needed or 0.0
    return max(needed, seen.waited) if seen.cut_off else needed


def _rounded_up(stations: int) -> int:
    """Round a size up to its first bits: an eighth more at most."""
    step = 1 << max(0, stations.bit_length() - SIZE_BITS)
    return max(1, -(-stations // step) * step)


def _scale(seen: Observation, stations: int) -> float:
    return max(1.0, stations / max(1, seen.stations))
