"""What the `open` events of one worker tell of its clock, where its web can't be asked for the time. Pure.

An event that comes from the future proves that its sender's clock is ahead. One that was due already when it was
appended suggests that the clock is behind, or that the worker is that slow: so it has to be all of them for a while.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

MOST_APART: Final = 1.0  # seconds by which clocks may differ
LEAST_EVENTS: Final = 3
LEAST_SECONDS: Final = 10.0


class OpenTime(NamedTuple):
    """The times of an `open` event, Unix seconds.

    `opened` and `deadline` are by the clock of its sender, and so is `sent`, its message's timestamp, unless the broker
    puts its own. Ours are `appended_after`, a time at which it did not stand in the log yet, and `now`.
    """

    opened: float
    sent: float
    deadline: float
    appended_after: float
    now: float


class OpenTimes:
    """The `open` events of one worker."""

    def __init__(self) -> None:
        self._late_since = math.inf
        self._late = 0
        self._least = math.inf

    @property
    def is_late(self) -> bool:
        """Whether the latest event that tells anything was due when it was appended."""
        return self._late > 0

    def take(self, event: OpenTime) -> float | None:
        """Take an event; returns the seconds by which the sender's clock is ahead, negative where it is behind.

        0.0: no more than a second; None: this event does not tell.
        """
        if event.opened - event.now > MOST_APART:
            self._forget_late()
            return event.opened - event.now
        if event.now - event.sent <= MOST_APART:
            self._forget_late()
            return 0.0
        behind = event.appended_after - event.sent
        if behind <= MOST_APART or event.deadline > event.appended_after:
            return None
        self._late += 1
        self._late_since = min(self._late_since, event.now)
        self._least = min(self._least, behind)
        lasts = event.now - self._late_since >= LEAST_SECONDS
        return -self._least if lasts and self._late >= LEAST_EVENTS else None

    def _forget_late(self) -> None:
        self._late_since = self._least = math.inf
        self._late = 0
