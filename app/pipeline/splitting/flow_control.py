"""Flow control of the splitter: by open batches, and by the pace of this worker's callbacks."""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
from collections import Counter, deque
from collections.abc import Collection, Container, Iterable, Mapping
from contextlib import suppress
from itertools import chain
from typing import Final, NamedTuple, Protocol

from app.messages.message import Clock
from app.messages.partitioner import Partitioner
from app.observability.log_lines import Line, Throttle, tell
from app.settings import Settings

logger = logging.getLogger(__name__)

TELL_SECONDS: Final = 60.0  # between two lines that say that reading waits
LOOK_SECONDS: Final = 1.0  # between two looks at the clock, which may be set while a deadline is waited for

WINDOW_SECONDS: Final = 1.0  # the pace is that of the last one to two of these
WINDOW_CALLS: Final = 4.0  # and at least as long as so many callbacks, one after the other
SHORTEST_CALL: Final = 1e-6  # seconds: against a division by 0
LEAST_SECONDS: Final = 0.001  # that a window has: in none at all nobody can have left

LOST_SECONDS: Final = 1.0  # after which a frame in flight is no longer expected

SHARE_STATIONS: Final = 4_000  # that are stored together, about; then what they lead to gets its turn
# Seconds: what is done within these, at the pace of the callbacks, is done soon. If callbacks are suddenly slower, so
# much of the work at the old pace is open. It is twice the time that it takes to store a share, within these bounds.
LEAST_LAG: Final = 0.05
MOST_LAG: Final = 0.5
PACE_SHARE: Final = 0.5  # of its timeout in which a message shall be done at that pace
PACE_DEPTH: Final = 0.75  # of it in which two calls of a station shall be done, one after the other
PACE_SECONDS: Final = 5.0  # that a message waits at most, or its timeout where that is longer
HANGS_CALLS: Final = 4.0  # a call that has run for as long as so many, and for PACE_SHARE of a message's time, hangs
PACE_LOOK: Final = 0.005


class OpenBatches:
    """The bound on open batches: reading waits while as many as may be open are not known to be closed.

    A worker counts the batches that its splitter has opened. Those of its own partitions count until their output is
    out, which it sees itself, and so do those that it has found open there when it took the partitions over. Those of
    other workers count until their deadline: nothing flows back from their owners.

    Attributes:
        limit: batches that may be open (`AGG_MAX_OPEN_BATCHES`).
        waiting: true while the splitter waits for room, or for callbacks.
    """

    def __init__(self, settings: Settings, partitioner: Partitioner, clock: Clock) -> None:
        self.limit = settings.max_open_batches
        self.waiting = False
        self._partition_of = partitioner
        self._clock = clock
        self._language = settings.log_language
        self._own: Mapping[int, Container[str]] = {}
        self._counted: dict[str, float] = {}  # until when (Unix seconds); an own one until it is closed: for ever
        self._recovered: set[str] = set()
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
        return len(self._counted) + len(self._recovered)

    def recovered(self, batch_ids: Iterable[str]) -> None:
        """Count batches that are open in own partitions which have just been taken over."""
        self._recovered.update(batch_ids)

    def own(self, partitions: Mapping[int, Container[str]]) -> None:
        """Take these partitions for the worker's, as long as they stand there; each holds the batches that it knows."""
        self._own = partitions

    def is_own(self, partition: int) -> bool:
        """Return whether the partition is the worker's."""
        return partition in self._own

    def is_own_station(self, station_id: str) -> bool:
        """Return whether the station's events come to this worker: they have the partitions that batches have."""
        return self._partition_of(station_id) in self._own

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
        elif batch_id in self._recovered:
            self._recovered.remove(batch_id)
            self._freed.set()

    def clear(self) -> None:
        """Forget all batches: the partitions are being taken away."""
        self._counted.clear()
        self._recovered.clear()
        self._deadlines.clear()
        self._freed.set()

    def has_room(self, batch_id: str) -> bool:
        """Return whether a message of this batch may be split; a supplement and what is late always may."""
        if len(self) < self.limit or batch_id in self._counted:
            return True
        return batch_id in self._own.get(self._partition_of(batch_id), ())

    def has_opened(self, batch_id: str | None) -> bool:
        """Return whether a message of this batch supplements one that this worker has opened, and does not know closed.

        Of a batch that another worker has opened, or this one before it was started again, nothing is said.
        """
        return batch_id in self._counted

    async def room(self, batch_id: str) -> None:
        """Wait until a message of this batch may be split."""
        self.waiting = True
        try:
            while not self.has_room(batch_id):
                if self._throttle.passes(self._clock()):
                    tell(logger, logging.WARNING, self._language, Line.READING_WAITS, count=len(self))
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


class Load(NamedTuple):
    """The work that callbacks of this worker have before them, in stations.

    Attributes:
        pending: without an outcome, those on their way here too.
        ahead: of these, those that run or wait for a place. The others wait for a call of their own station.
        arriving: of these, those on their way here.
        places: that can run at once.
        rate: callbacks that end in a second while others wait; 0 where that is unknown.
        duration: seconds that one takes; 0 where that is unknown.
        lag: seconds within which something is done soon.
    """

    pending: float
    ahead: float
    arriving: float
    places: int
    rate: float
    duration: float
    lag: float

    def is_short(self, share: int, size: int) -> bool:
        """Return whether all that is pending is done soon, at a pace that is known: there nothing has to be counted.

        A share begins when `lag` is left, and brings about as much: a message at a time would make small frames.
        """
        soon = self.rate * self.lag
        return self.pending + share + size <= 2 * soon if share else soon > 0 and self.pending <= soon

    def has_room(self, share: int, size: int, timeout: float) -> bool:
        """Return whether a message of so many stations may follow a share of so many; `timeout` is its batch's.

        It may where nothing is ahead or all can begin at once. Otherwise up to twice as many as can run at once are
        opened, or be done soon; at a pace that is known also one to fill places that are free, and none that would not
        be done in half of its time.
        """
        ahead = self.ahead + share
        if not ahead or ahead + size <= self.places:
            return True
        if self.rate and ahead + size > self.rate * timeout * PACE_SHARE:
            return False
        return ahead + size <= 2 * self.places or self.is_short(share, size) or (self.rate > 0 and ahead < self.places)

    def depth(self, timeout: float) -> int:
        """Return how many calls a station may have: one that runs and one that waits, if both are done in time."""
        return 2 if 2 * self.duration <= PACE_DEPTH * timeout else 1


class Pace:
    """The pace of callbacks, from looks at how many have ended, and how many seconds they took in all.

    Attributes:
        duration: seconds that one took lately; 0: unknown.
        rate: how many ended in a second while others waited; 0: unknown.
    """

    def __init__(self, places: int) -> None:
        """Nothing is known of callbacks of which so many run at once."""
        self.rate = self.duration = 0.0
        self._places = places
        # Times (Unix seconds) at which a window began, each with the callbacks, and their seconds, that had ended.
        self._since = self._next = (math.inf, 0, 0.0)
        self._waiting = (math.inf, 0)  # since when stations wait, and the callbacks that had ended
        self._busy = -math.inf  # when stations were pending last
        self._idle = (math.inf, 0)  # when nothing was pending last, and the callbacks that had ended

    def look(self, pending: float, waiting: float, ended: tuple[int, float], now: float) -> None:
        """Take in that so many stations are pending now, of which so many wait, and what has ended since the start.

        The rate is that of the last one or two windows in which stations waited all the time, and holds on while none
        waits. Callbacks that begin together end together, so a window has to be as long as a few of them; until then
        each place is taken for busy. Where nothing is pending at two looks, all that has ended began between them. All
        is forgotten when nothing has been pending for a while: callbacks may be others then.
        """
        idle, done = self._idle
        if pending or ended[0] > done or now < self._busy:
            self._busy = now
        elif now - self._busy >= WINDOW_SECONDS:
            self.rate = self.duration = 0.0
            self._since = self._next = (now, *ended)
        if now < self._next[0]:  # at first, and where the clock was put back
            self._since = self._next = (now, *ended)
            self._waiting = (math.inf, 0)
        least = WINDOW_CALLS * self.duration
        if now - self._next[0] >= max(WINDOW_SECONDS, least):
            self._since, self._next = self._next, (now, *ended)
        if ended[0] > self._since[1]:
            self.duration = max(0.0, ended[1] - self._since[2]) / (ended[0] - self._since[1])
        if waiting > 0 and now >= self._waiting[0]:
            began, before = max(self._waiting, self._since[:2])
            self._measure(ended[0] - before, max(LEAST_SECONDS, now - began), least)
            return
        self._waiting = (now, ended[0])
        if not pending:
            self._idle = self._waiting
            if ended[0] > done and now >= idle:
                self.rate = min(self._most(), max(self.rate, (ended[0] - done) / max(LEAST_SECONDS, now - idle)))

    def _most(self) -> float:
        return self._places / max(self.duration, SHORTEST_CALL)

    def _measure(self, ended: int, seconds: float, least: float) -> None:
        most = self._most()
        if seconds >= (least if ended else WINDOW_SECONDS):
            self.rate = min(most, max(1, ended) / seconds)  # where none has ended, as if one just had
        elif ended:
            self.rate = min(most, self.rate or most)


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

    def are_expected(self, now: float) -> bool:
        """Return whether a frame is in flight, be it sent at this moment."""
        self._give_up(now)
        return any(self._sent.values())

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


class Calls(Protocol):
    """The calls of callbacks in this worker."""

    def load(self, lag: float) -> Load:
        """Return what there is to do now; what is done within `lag` seconds is done soon."""

    def queued(self, station_id: str) -> int:
        """Return how many calls a station has that have no outcome yet."""

    def lasting(self, seconds: float) -> Collection[str]:
        """Return the stations whose call has run for longer than that."""


class Named:
    """The stations that messages name which are to be stored together."""

    __slots__ = ("count", "stations")

    def __init__(self) -> None:
        self.stations: list[Collection[str]] = []
        self.count = 0

    def add(self, stations: Collection[str]) -> None:
        """Add those of a message."""
        self.stations.append(stations)
        self.count += len(stations)


class FlowControl:
    """Has the splitter open what can begin soon, and no more: a deadline runs from the opening.

    Without it a backlog would be opened as fast as it is read, and run into its deadlines before its callbacks can
    begin. The rule: **open twice what can run at once, so that something is there when it ends, or what is done soon at
    the pace of the callbacks, if that is more.** A place takes one call and so does a station: a message waits, too,
    while most of its stations have a call that waits already (most, and those that hang do not count).

    A worker knows its own load only, which the splitters of all workers add to. So it counts the stations of a message
    as if all were its own: together, workers that all split open as much as all of them can do.

    A supplement of a batch that is open does not wait: that batch would close without it meanwhile. So a batch that
    comes in many messages is opened like one that comes in one.
    """

    def __init__(self, open_batches: OpenBatches, in_flight: FramesInFlight, calls: Calls, clock: Clock) -> None:
        self.open_batches = open_batches
        self._in_flight = in_flight
        self._calls = calls
        self._clock = clock
        self._order = asyncio.Lock()  # small messages of another topic shall not take all room before a large one
        self._began = math.inf  # when the last share did (Unix seconds)
        self._lag = LEAST_LAG

    def sent(self, partition: int, offset: int, stations: float) -> None:
        """Note that a frame of about so many stations stands at that offset; other workers' are not seen again."""
        now = self._clock()
        # Callbacks must not run out of work while a share is on its way to them, be it as long again.
        self._lag = min(MOST_LAG, max(LEAST_LAG, 2 * (now - self._began)))
        if self.open_batches.is_own(partition):
            self._in_flight.sent(partition, offset, stations, now)

    async def turn(self, stations: Collection[str], within: float | None, *, supplements: bool = False) -> Load:
        """Wait until a message with these stations may begin a share; `within`, `supplements`: see `may_follow`.

        Returns the load, for `may_follow`. It waits for its timeout, or PACE_SECONDS, at most: what is ahead is due by
        then, and other workers may go on and on adding to it.
        """
        if supplements:
            self._began = self._clock()
            return self._calls.load(self._lag)
        async with self._order:
            load = self._calls.load(self._lag)
            until = self._clock() + max(within or 0.0, PACE_SECONDS)
            while not self._may_begin(load, stations, within or PACE_SECONDS) and self._clock() < until:
                await self._look_again(holds_batches_up=within is not None)
                load = self._calls.load(self._lag)
            self._began = self._clock()
            return load

    async def _look_again(self, *, holds_batches_up: bool) -> None:
        batches = self.open_batches
        batches.waiting = batches.waiting or holds_batches_up
        try:
            await asyncio.sleep(PACE_LOOK)
        finally:
            batches.waiting = batches.waiting and not holds_batches_up

    def _may_begin(self, load: Load, stations: Collection[str], timeout: float) -> bool:
        if not load.pending:
            return True
        if not load.has_room(0, len(stations), timeout):
            return False
        if load.is_short(0, len(stations)):
            return True
        return not load.arriving and not self._is_crowded(load, Named(), stations, timeout)

    def may_follow(
        self, load: Load, share: Named, stations: Collection[str], within: float | None, *, supplements: bool = False
    ) -> bool:
        """Return whether a message may be stored together with others, whose stations `share` names.

        `load` is that before the share, `within` in seconds the timeout of the message's batch; None: its stations pass
        through, and are to be done as if they had PACE_SECONDS. `supplements`: its batch is open.
        """
        timeout = within or PACE_SECONDS
        count, size = share.count, len(stations)
        if supplements:
            return count < SHARE_STATIONS
        if count >= SHARE_STATIONS or not load.has_room(count, size, timeout):
            return False
        return load.is_short(count, size) or not self._is_crowded(load, share, stations, timeout)

    def _is_crowded(self, load: Load, share: Named, stations: Collection[str], timeout: float) -> bool:
        """Return whether most of the stations that are this worker's, and don't hang, have their calls already."""
        depth = load.depth(timeout)
        hanging = self._calls.lasting(max(HANGS_CALLS * load.duration, min(PACE_SHARE * timeout, PACE_SECONDS)))
        soon = share.count + len(stations) <= load.rate * load.lag
        named = Counter[str]() if soon else Counter(chain.from_iterable(share.stations))
        own = crowded = 0
        for station_id in stations:
            if station_id not in hanging and self.open_batches.is_own_station(station_id):
                own += 1
                calls = self._calls.queued(station_id) + named[station_id]
                crowded += calls >= depth
        return 2 * crowded > own
