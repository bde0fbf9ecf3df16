"""When source messages are split, and how many together: as callbacks get to what they become."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from app.messages.message import Clock
from app.pipeline.splitting.backlog import Pace
from app.pipeline.splitting.transit import Transit

__all__ = ["PACE_LAG", "PACE_SECONDS", "SHARE_STATIONS", "Pacer"]

SHARE_STATIONS = 4_000  # that are stored together, about; then what they lead to gets its turn
PACE_LAG = 0.5  # seconds by which callbacks may lag behind; with more, splitting waits for them
PACE_SECONDS = 1.0  # the longest that a share waits
PACE_LOOK = 0.005


class Pacer:
    """Has the splitter wait for this worker's callbacks.

    A backlog would else be opened as fast as it is read, and run into its deadlines before its callbacks can begin.
    `pace` tells that of the callbacks by now.
    """

    def __init__(self, pace: Callable[[], Pace], transit: Transit, clock: Clock) -> None:
        self._pace = pace
        self._transit = transit
        self._clock = clock

    async def next_share(self) -> int:
        """Wait until more may be split; returns how many stations, about: a share, but no more than fit into PACE_LAG.

        It does not hold reading up for long: other workers may have callbacks to run that do not lag.
        """
        pace = self._pace()
        for _ in range(round(PACE_SECONDS / PACE_LOOK)):
            if max(pace.lag, self._transit.age(self._clock())) <= PACE_LAG:
                break
            await asyncio.sleep(PACE_LOOK)
            pace = self._pace()
        return round(min(SHARE_STATIONS, max(1.0, pace.rate * PACE_LAG)))
