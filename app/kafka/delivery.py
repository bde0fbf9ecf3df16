"""Between a Faust stream and the pipeline: takes what has piled up, hands it over, acknowledges when it is stored.

An agent's body must never raise: Faust would acknowledge the event. So the body only puts messages here, and tasks of
ours do the work; whatever they raise stops the worker, with the messages unacknowledged.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from typing import Generic, TypeVar

from app.messages.message import InMessage
from tables.model.fast_dataclass import fast_dataclass

__all__ = ["ChunkIntake", "Fetched", "GradualIntake", "Intake", "MessageIntake"]

CHUNK_MESSAGES = 500
CHUNK_BYTES = 8 * 1024 * 1024
WAITING_MESSAGES = 2_000  # in an intake, before it takes no more

Handle = TypeVar("Handle", bound=Callable[..., Awaitable[None]])


@fast_dataclass(frozen=True, slots=True, eq=False)
class Fetched:
    """Messages of one partition that were read together, in order. A value of an agent's stream is a list of these.

    `generation` is the group's when they were read. `acknowledge` gets the offsets of those that are done.
    """

    messages: Sequence[InMessage]
    generation: int
    acknowledge: Callable[[Iterable[int]], None]


class Intake(ABC, Generic[Handle]):
    """A queue of messages that one task works off with `handle`.

    `is_current` tells whether messages belong to the assignment that this worker has now: what was on its way when the
    partitions were taken away is another worker's.
    """

    def __init__(
        self, handle: Handle, is_current: Callable[[Fetched], bool], on_error: Callable[[BaseException], None]
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
            self._waiting += sum([len(fetched.messages) for fetched in current])
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
                    await self._work()
                self._filled.clear()
        except Exception as error:  # noqa: BLE001 - whatever it is: unacknowledged, and the worker ends
            self._on_error(error)

    def _take(self) -> Fetched:
        fetched = self._queue.popleft()
        self._waiting -= len(fetched.messages)
        if self._waiting < WAITING_MESSAGES // 2:
            self._room.set()
        return fetched

    def _take_chunk(self) -> list[Fetched]:
        taken: list[Fetched] = []
        messages = size = 0
        while self._queue and messages < CHUNK_MESSAGES and size < CHUNK_BYTES:
            fetched = self._take()
            taken.append(fetched)
            messages += len(fetched.messages)
            size += sum([message.size for message in fetched.messages])
        return taken

    @abstractmethod
    async def _work(self) -> None:
        """Take some of what waits and work it off."""


class MessageIntake(Intake[Callable[[Sequence[tuple[InMessage, Callable[[], None]]]], Awaitable[None]]]):
    """Many messages at once; each comes with the function that acknowledges it, for whenever it is stored."""

    async def _work(self) -> None:
        await self._handle(
            [
                (message, partial(fetched.acknowledge, (message.offset,)))
                for fetched in self._take_chunk()
                for message in fetched.messages
            ]
        )


class ChunkIntake(Intake[Callable[[Sequence[InMessage]], Awaitable[None]]]):
    """Many messages at once, acknowledged together when `handle` returns."""

    async def _work(self) -> None:
        chunk = _Chunk(self._take_chunk())
        await self._handle(chunk.messages)
        chunk.done(len(chunk.messages))


class GradualIntake(Intake[Callable[[Sequence[InMessage], Callable[[int], None]], Awaitable[None]]]):
    """Many messages at once, acknowledged from the front: `handle` says how many more of them are done, whenever."""

    async def _work(self) -> None:
        chunk = _Chunk(self._take_chunk())
        await self._handle(chunk.messages, chunk.done)


class _Chunk:
    """Messages that are worked off together."""

    def __init__(self, taken: Sequence[Fetched]) -> None:
        self.messages = [message for fetched in taken for message in fetched.messages]
        self._left = ((fetched, message.offset) for fetched in taken for message in fetched.messages)

    def done(self, count: int) -> None:
        """Acknowledge so many more of them, from the front."""
        for fetched, places in groupby(islice(self._left, count), key=itemgetter(0)):
            fetched.acknowledge([offset for _, offset in places])
