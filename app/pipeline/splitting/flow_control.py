"""Flow control of the splitter: by open batches, and by the pace of this worker's callbacks."""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
from collections import deque
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from app.messages.message import Clock
from app.messages.partitioner import Partitioner
from app.observability.log_lines import Line, Throttle, tell
from app.settings import Settings

logger = logging.getLogger(__name__)

TELL_SECONDS: Final = 60.0  # between two lines that say that reading waits
LOOK_SECONDS: Final = 1.0  # between two looks at the clock, which may be set while a deadline is waited for

WINDOW_SECONDS: Final = 1.0  # the pace is that of the last one to two of these
LEAST_SECONDS: Final = 0.001  # that a window has: in none at all nobody can have left

LOST_SECONDS: Final = 1.0  # after which a frame in flight is no longer expected

SHARE_STATIONS: Final = 4_000  # that are stored together, about; then what they lead to gets its turn
PACE_LAG: Final = 0.5  # seconds by which callbacks may lag behind; with more, splitting waits for them
PACE_SECONDS: Final = 1.0  # the longest that a share waits
PACE_LOOK: Final = 0.005


class OpenBatches:
    """The bound on open batches: reading waits while as many as may be open are not known to be closed.

    A worker counts the batches that its splitter has opened. Those of its own partitions count until their output is
    out, which it sees itself. Those of other workers count until their deadline: nothing flows back from their owners.

    Attributes:
        limit: batches that may be open (`AGG_MAX_OPEN_BATCHES`).
        waiting: true while the splitter waits for room.
    """

    def __init__(self, settings: Settings, partitioner: Partitioner, clock: Clock) -> None:
        self.limit = settings.max_open_batches
        self.waiting = False
        self._partition_of = partitioner
        self._clock = clock
        self._language = settings.log_language
        self._own: Mapping[int, Container[str]] = {}
        self._counted: dict[str, float] = {}  # until when (Unix seconds); an own one until it is closed: for ever
        self._deadlines: list[tuple[float, str]] = []  # a heap with an entry for each that counts until its deadline
        self._freed = asyncio.Event()
        self._throttle = Throttle(TELL_SECONDS)

    def __len__(self) -> int:
        """Return how many batches are not known to be closed."""
        now = self._clock()
        while self._deadlines and self._deadlines[0][0] <= now:
            batch_id = heapq.heappop(self._deadlines)[1]
            deadline = self._counted[batch_id]
            if deadline > now:  # a supplement has moved it
                heapq.heappush(self._deadlines, (deadline, batch_id))
            else:
                del self._counted[batch_id]
        return len(self._counted)

    def own(self, partitions: Mapping[int, Container[str]]) -> None:
        """Take these partitions for the worker's, as long as they stand there; each holds the batches that it knows."""
        self._own = partitions

    def is_own(self, partition: int) -> bool:
        """Return whether the partition is the worker's."""
        return partition in self._own

    def opened(self, batch_id: str, deadline: float) -> None:
        """Count the batch of a message that has been split, unless it is known; `deadline` is Unix seconds."""
        known = self._own.get(self._partition_of(batch_id))
        if known is not None:
            if batch_id not in known:
                self._counted[batch_id] = math.inf
        elif batch_id not in self._counted:
            self._counted[batch_id] = deadline
            heapq.heappush(self._deadlines, (deadline, batch_id))
        else:
            self._counted[batch_id] = max(deadline, self._counted[batch_id])

    def closed(self, batch_id: str) -> None:
        """Count a batch of an own partition no more: its output is out."""
        if self._counted.get(batch_id) == math.inf:
            del self._counted[batch_id]
            self._freed.set()

    def clear(self) -> None:
        """Forget all batches: the partitions are being taken away."""
        self._counted.clear()
        self._deadlines.clear()
        self._freed.set()

    def has_room(self, batch_id: str) -> bool:
        """Return whether a message of this batch may be split; a supplement and what is late always may."""
        if len(self) < self.limit or batch_id in self._counted:
            return True
        return batch_id in self._own.get(self._partition_of(batch_id), ())

    async def room(self, batch_id: str) -> None:
        """Wait until a message of this batch may be split."""
        self.waiting = True
        try:
            while not self.has_room(batch_id):
                if self._throttle.passes(self._clock()):
                    tell(logger, logging.WARNING, self._language, Line.READING_WAITS, count=len(self._counted))
                self._freed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._next_look()):
                        await self._freed.wait()
        finally:
            self.waiting = False

    def _next_look(self) -> float:
        if not self._deadlines:
            return LOOK_SECONDS
        return min(LOOK_SECONDS, max(0.0, self._deadlines[0][0] - self._clock()))


class Pace(NamedTuple):
    """Seconds by which a queue lags behind, and how many leave it in a second; infinite where none waits."""

    lag: float
    rate: float


NO_BACKLOG: Final = Pace(0.0, math.inf)


class Backlog:
    """The pace of a queue, from looks at its length, and at how many have left since the start, however they did."""

    def __init__(self) -> None:
        # Times (Unix seconds) at which a window began, each with the count of those who had left by then.
        self._since = self._next = (math.inf, 0)

    def pace(self, queued: float, left: int, now: float) -> Pace:
        """Return the pace since the queue was last empty, or lately where that is long ago, and the lag.

        With L waiting and r leaving in a second the last one waits L / r seconds (Little's law). Where none has left
        yet, it is as if one just had.
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


class FramesInFlight:
    """Frames of station events that this worker has sent to its own partitions and not taken in yet.

    Only hints are made of it: when to split more, and how long to wait for outcomes that could travel together.
    """

    def __init__(self) -> None:
        # Partition -> the offset of each frame, when it was sent (Unix seconds), and how many stations it has, about.
        self._sent: dict[int, deque[tuple[int, float, float]]] = {}
        self._taken: dict[int, int] = {}  # partition -> up to which offset

    def sent(self, partition: int, offset: int, stations: float, now: float) -> None:
        """Expect a frame of about so many stations at that offset, unless it has been taken in already."""
        if offset > self._taken.get(partition, -1):
            self._sent.setdefault(partition, deque()).append((offset, now, stations))

    def taken(self, partition: int, offset: int) -> None:
        """Expect nothing up to that offset any more: the station agent has come to it."""
        self._taken[partition] = offset
        frames = self._sent.get(partition)
        while frames and frames[0][0] <= offset:
            frames.popleft()

    def age(self, now: float) -> float:
        """Return for how many seconds the oldest frame has been in flight, 0 where none is expected."""
        self._give_up(now)
        return now - min([frames[0][1] for frames in self._sent.values() if frames], default=now)

    def stations(self, now: float) -> float:
        """Return about how many stations are in flight."""
        self._give_up(now)
        return sum([stations for frames in self._sent.values() for _, _, stations in frames])

    def _give_up(self, now: float) -> None:
        for frames in self._sent.values():
            while frames and not 0.0 <= now - frames[0][1] < LOST_SECONDS:
                frames.popleft()

    def clear(self) -> None:
        """Expect nothing: the partitions are being taken away."""
        self._sent.clear()
        self._taken.clear()


class FlowControl:
    """Has the splitter wait for room among the open batches, and for this worker's callbacks.

    Without the latter a backlog would be opened as fast as it is read, and run into its deadlines before its callbacks
    can begin. `pace` gives that of the callbacks as it is now.
    """

    def __init__(
        self, open_batches: OpenBatches, in_flight: FramesInFlight, pace: Callable[[], Pace], clock: Clock
    ) -> None:
        self.open_batches = open_batches
        self._in_flight = in_flight
        self._pace = pace
        self._clock = clock

    def sent(self, partition: int, offset: int, stations: float) -> None:
        """Note that a frame of about so many stations stands at that offset; other workers' are not seen again."""
        if self.open_batches.is_own(partition):
            self._in_flight.sent(partition, offset, stations, self._clock())

    async def next_share(self) -> int:
        """Wait until more may be split; returns how many stations, about: a share, but no more than fit into PACE_LAG.

        It does not hold reading up for long: other workers may have callbacks to run that do not lag.
        """
        pace = self._pace()
        for _ in range(round(PACE_SECONDS / PACE_LOOK)):
            if max(pace.lag, self._in_flight.age(self._clock())) <= PACE_LAG:
                break
            await asyncio.sleep(PACE_LOOK)
            pace = self._pace()
        return round(min(SHARE_STATIONS, max(1.0, pace.rate * PACE_LAG)))
