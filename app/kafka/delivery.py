"""Delivery of messages from a Faust stream to the pipeline.

An agent's body must never raise: Faust would acknowledge the event. So the body only puts messages into an intake, and
a task of ours does the work. Whatever that raises stops the worker, with the messages unacknowledged.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from aiokafka.structs import ConsumerRecord

from app.messages.message import Delivery
from tables.model.fast_dataclass import fast_dataclass

CHUNK_MESSAGES = 500
CHUNK_BYTES = 8 * 1024 * 1024
WAITING_MESSAGES = 2_000  # in an intake, before it takes no more
PIECE_MESSAGES = 100
PIECE_BYTES = 1024 * 1024
LEAST_BYTES = 4 * 1024  # that a message counts for: small ones take room too


@fast_dataclass(frozen=True, slots=True, eq=False)
class Fetched:
    """Messages of one partition that were read together, in order. A value of an agent's stream is a list of these.

    `generation` is the group's when they were read.
    """

    deliveries: Sequence[Delivery]
    generation: int


def pieces_of(records: Sequence[ConsumerRecord]) -> list[Sequence[ConsumerRecord]]:
    """Cut what was fetched of a partition, between messages."""
    pieces: list[Sequence[ConsumerRecord]] = []
    start = size = 0
    for index, record in enumerate(records):
        if index - start >= PIECE_MESSAGES or size >= PIECE_BYTES:
            pieces.append(records[start:index])
            start, size = index, 0
        size += len(record.value or b"")
    if records:
        pieces.append(records[start:])
    return pieces


def weight_of(record: ConsumerRecord) -> int:
    """Bytes that a message counts for while it is in flight."""
    return max(LEAST_BYTES, len(record.value or b""))


class Intake:
    """A queue of messages that one task works off, many messages at once."""

    def __init__(
        self,
        handle: Callable[[Sequence[Delivery]], Awaitable[None]],
        is_current: Callable[[Fetched], bool],
        on_error: Callable[[BaseException], None],
    ) -> None:
        """An empty intake.

        Args:
            handle: gets the messages that have piled up, one call at a time.
            is_current: says whether messages belong to the assignment that this worker has now: what was on its way
                when the partitions were taken away is another worker's.
            on_error: gets what `handle` raises, and must end the worker.
        """
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

        Ending is better than cancelling: what the producer has been given goes out all the same. After the partitions
        have a new owner, it would be a zombie's.
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

    def _take_chunk(self) -> list[Delivery]:
        chunk: list[Delivery] = []
        size = 0
        while self._queue and len(chunk) < CHUNK_MESSAGES and size < CHUNK_BYTES:
            deliveries = self._queue.popleft().deliveries
            chunk += deliveries
            size += sum([delivery.message.size for delivery in deliveries])
        self._waiting -= len(chunk)
        if self._waiting < WAITING_MESSAGES // 2:
            self._room.set()
        return chunk
