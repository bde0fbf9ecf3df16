"""How long what waits for its turn still has to wait. Pure."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

__all__ = ["NO_BACKLOG", "Backlog", "Pace"]

WINDOW_SECONDS: Final = 1.0  # the pace is that of the last one to two of these
LEAST_SECONDS: Final = 0.001  # that a window has: in none at all nobody can have left


class Pace(NamedTuple):
    """By how many seconds a queue lags behind, and how many leave it in a second; infinite where none waits."""

    lag: float
    rate: float


NO_BACKLOG: Final = Pace(0.0, math.inf)


class Backlog:
    """A queue that is looked at now and then: its length, and how many have left since the start, however they did."""

    def __init__(self) -> None:
        # Times (Unix seconds) at which a window began, each with the count of those who had left by then.
        self._since = self._next = (math.inf, 0)

    def pace(self, queued: float, left: int, now: float) -> Pace:
        """The pace since the queue was last empty, or lately where that is long ago, and how long its last one waits.

        With L waiting and r leaving in a second that is L / r seconds (Little's law). Where none has left yet, it is as
        if one just had.
        """
        if not queued or now < self._next[0]:  # at first, too, and where the clock was put back
            self._since = self._next = (now, left)
        if not queued:
            return NO_BACKLOG
        if now - self._next[0] >= WINDOW_SECONDS:
            self._since, self._next = self._next, (now, left)
        began, before = self._since
        rate = max(1, left - before) / max(LEAST_SECONDS, now - began)
        return Pace(queued / rate, rate)
