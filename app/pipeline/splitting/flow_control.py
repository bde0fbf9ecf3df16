"""The bound on open batches: reading waits while as many as may be open are not known to be closed.

A worker counts the batches that its splitter has opened. Those of its own partitions count until their output is out,
which it sees itself. Those of other workers count until their deadline: nothing flows back from their owners.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
from collections.abc import Container, Mapping
from contextlib import suppress

from app.messages.message import Clock
from app.messages.partitioner import Partitioner
from app.observability.log_lines import Line, Throttle, tell
from app.settings.enums import Language

__all__ = ["OpenBatches"]

logger = logging.getLogger(__name__)

TELL_SECONDS = 60.0  # between two lines that say that reading waits
LOOK_SECONDS = 1.0  # between two looks at the clock, which may be put forward or back while a deadline is waited for


class OpenBatches:
    """Counts the batches that a worker has opened, and has who would open another one wait for room.

    Attributes:
        limit: batches that may be open (`AGG_MAX_OPEN_BATCHES`).
        waiting: whether somebody waits for room now.
    """

    def __init__(self, limit: int, *, partitioner: Partitioner, clock: Clock, language: Language) -> None:
        self.limit = limit
        self.waiting = False
        self._partition_of = partitioner
        self._clock = clock
        self._language = language
        self._own: Mapping[int, Container[str]] = {}
        self._counted: dict[str, float] = {}  # until when (Unix seconds); an own one until it is closed: for ever
        self._deadlines: list[tuple[float, str]] = []  # a heap with an entry for each that counts until its deadline
        self._freed = asyncio.Event()
        self._throttle = Throttle(TELL_SECONDS)

    def __len__(self) -> int:
        """Batches that are not known to be closed."""
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
        """These partitions are the worker's, as long as they stand here; each holds the batches that it knows."""
        self._own = partitions

    def own_partitions(self) -> Container[int]:
        """The partitions that are the worker's."""
        return self._own

    def opened(self, batch_id: str, deadline: float) -> None:
        """A message has been split that opens this batch if it is not known; `deadline` is Unix seconds."""
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
        """The output of a batch of an own partition is out."""
        if self._counted.get(batch_id) == math.inf:
            del self._counted[batch_id]
            self._freed.set()

    def clear(self) -> None:
        """The partitions are being taken away, and with them all that is known about their batches."""
        self._counted.clear()
        self._deadlines.clear()
        self._freed.set()

    def has_room(self, batch_id: str) -> bool:
        """Whether a message of this batch may be split: a supplement and what is late open nothing, so they always."""
        if len(self) < self.limit or batch_id in self._counted:
            return True
        return batch_id in self._own.get(self._partition_of(batch_id), ())

    async def room(self, batch_id: str) -> None:
        """Wait until a message of this batch may be split."""
        self.waiting = True
        try:
            while not self.has_room(batch_id):
                self._tell()
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

    def _tell(self) -> None:
        if self._throttle.passes(self._clock()):
            tell(logger, logging.WARNING, self._language, Line.READING_WAITS, count=len(self._counted))
