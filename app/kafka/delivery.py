"""Between a Faust stream and the pipeline: takes what has piled up and hands it over.

An agent's body must never raise: Faust would acknowledge the event. So the body only puts messages here, and a task of
ours does the work; whatever it raises stops the worker, with the messages unacknowledged.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from app.messages.message import Delivery
from tables.model.fast_dataclass import dataclass

__all__ = ["Fetched", "Intake"]

CHUNK_MESSAGES = 500
CHUNK_BYTES = 8 * 1024 * 1024
WAITING_MESSAGES = 2_000  # in an intake, before it takes no more


@dataclass(frozen=True, slots=True, eq=False)
class Fetched:
    """Messages of one partition that were read together, in order. A value of an agent's stream is a list of these.

    `generation` is the group's when they were read.
    """

    deliveries: Sequence[Delivery]
    generation: int


class Intake:
    """A queue of messages that one task works off with `handle`, many messages at once.

    `is_current` tells whether messages belong to the assignment that this worker has now: what was on its way when the
    partitions were taken away is another worker's.
    """

    def __init__(
        self,
        handle: Callable[[Sequence[Delivery]], Awaitable[None]],
        is_current: Callable[[Fetched], bool],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._handle = handle
        self._is_current = is_current
        self._on_error = on_error
        self._queue: deque[Fetched] = deque()
        self._waiting = 0  # messages in it
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None
        self._stopping: set[asyncio.Task[None] | None] = set()

    async def feed(self, stream: AsyncIterator[Sequence[Fetched]]) -> None:
        """Put what a stream gives into the queue, for as long as it lasts."""
        async for together in stream:
            current = [fetched for fetched in together if self._is_current(fetched)]
            if not current:
                continue
            self._queue.extend(current)
            self._waiting += sum([len(fetched.deliveries) for fetched in current])
            self._filled.set()
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._guard())
            if self._waiting >= WAITING_MESSAGES:
                self._room.clear()
                await self._room.wait()

    async def cancel(self, grace: float) -> None:
        """Drop what waits, and let what is being done end within `grace` seconds; then it is cancelled.

        Ending is better than cancelling: what has been handed to the producer goes out all the same, and after the
        partitions have a new owner it would come from a zombie.
        """
        self._queue.clear()
        self._waiting = 0
        self._room.set()
        task, self._task = self._task, None
        if task is None:
            return
        self._stopping.add(task)
        self._filled.set()
        await asyncio.wait([task], timeout=grace)
        task.cancel()
        await asyncio.wait([task])
        self._stopping.discard(task)
        self._filled.clear()

    async def _guard(self) -> None:
        try:
            while asyncio.current_task() not in self._stopping:
                await self._filled.wait()
                while self._queue:
                    await self._handle(self._take_chunk())
                self._filled.clear()
        except Exception as error:  # noqa: BLE001 - whatever it is: unacknowledged, and the worker ends
            self._on_error(error)

    def _take(self) -> Fetched:
        fetched = self._queue.popleft()
        self._waiting -= len(fetched.deliveries)
        if self._waiting < WAITING_MESSAGES // 2:
            self._room.set()
        return fetched

    def _take_chunk(self) -> list[Delivery]:
        chunk: list[Delivery] = []
        size = 0
        while self._queue and len(chunk) < CHUNK_MESSAGES and size < CHUNK_BYTES:
            taken = self._take().deliveries
            chunk += taken
            size += sum([delivery.message.size for delivery in taken])
        return chunk
