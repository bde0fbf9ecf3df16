"""The event loop's time that looks take: it is the pipeline's, so all looks of a web together have a third of it.

A look works for two milliseconds and rests for four. Looks that run side by side do not rest at the same time, to work
one right after the other: a message of the pipeline passes the loop a dozen times, and would wait for all of them each
time. So whoever rests has its next turn booked behind those of the others.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Final

TURN: Final = 0.002  # seconds of work without a rest
RESTS: Final = 2.0  # seconds of rest for a second of work
HURRIED: Final = 0.5  # the same for a search, which finds but what it has time for
LONGEST_REST: Final = 0.02  # seconds, of a turn that a busy machine has made long
LONGEST_WAIT: Final = 0.2  # seconds until a request is let in, however many have come: its answer has a deadline
REQUEST: Final = 0.002  # seconds, about, that it takes to read a request and to write its answer


class Pace:
    """When the looks of one web have their turns."""

    def __init__(
        self, clock: Callable[[], float] = perf_counter, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        """`clock` tells seconds from any beginning, `sleep` waits for some."""
        self.clock = clock
        self._sleep = sleep
        self._booked_until = -math.inf  # the end of the last turn that somebody has

    async def enter(self) -> None:
        """Let a request in: at once when nothing is under way, else behind the turns that are booked, but soon."""
        now = self.clock()
        starts_at = min(max(now, self._booked_until), now + LONGEST_WAIT)
        self._booked_until = max(self._booked_until, starts_at + REQUEST * (1 + RESTS))
        if starts_at > now:
            await self._sleep(starts_at - now)

    async def rest(self, seconds: float) -> None:
        """Rest for so long, and have the next turn, behind those that are booked."""
        now = self.clock()
        starts_at = max(now, self._booked_until) + min(seconds, LONGEST_REST)
        self._booked_until = starts_at + TURN
        await self._sleep(starts_at - now)


class Turns:
    """The turns of one look."""

    def __init__(self, pace: Pace, rests: float = RESTS) -> None:
        """The first turn begins now.

        Args:
            pace: of all looks of the web.
            rests: seconds of rest for a second of work.
        """
        self._pace = pace
        self._rests = rests
        self._worked = 0.0  # in the turns before this one
        self._since = self._pace.clock()

    async def rest(self) -> None:
        """Let others go first, if that is due."""
        worked = self._pace.clock() - self._since
        if worked > TURN:
            self._worked += worked
            await self._pace.rest(self._rests * worked)
            self._since = self._pace.clock()

    def worked(self) -> float:
        """Return the seconds of all turns so far, without rests."""
        return self._worked + self._pace.clock() - self._since
