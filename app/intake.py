"""Between a Faust stream and the pipeline: takes what has piled up, hands it over, acknowledges when it is stored.

An agent's body must never raise: Faust would acknowledge the event. So the body only puts events here, and tasks of
ours do the work; whatever they raise stops the worker, with the events unacknowledged.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from app.transport import InMessage

__all__ = ["ChunkIntake", "Event", "EventIntake", "Intake", "in_message"]

Event = Any  # faust.Event, whose type says nothing about raw keys and values

CHUNK_MESSAGES = 500
CHUNK_BYTES = 8 * 1024 * 1024
WAITING_MESSAGES = 2_000  # in an intake, at most


def in_message(event: Event) -> InMessage:
    """A Faust event as the pipeline knows messages."""
    message = event.message
    headers = message.headers or ()
    if isinstance(headers, dict):
        headers = list(headers.items())
    return InMessage(
        message.topic, message.partition, message.offset, message.timestamp, message.key, message.value, headers
    )


class Intake(ABC):
    """A queue of events that one task works off.

    `is_current` tells whether an event belongs to the assignment that this worker has now: one that was on its way when
    the partitions were taken away is another worker's.
    """

    def __init__(self, is_current: Callable[[Event], bool], on_error: Callable[[BaseException], None]) -> None:
        self._is_current = is_current
        self._on_error = on_error
        self._events: deque[Event] = deque()
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None
        self._stopping: set[asyncio.Task[None] | None] = set()

    async def feed(self, events: AsyncIterator[Event]) -> None:
        """Put a stream's events into the queue, for as long as the stream lasts."""
        async for event in events:
            if not self._is_current(event):
                continue
            self._events.append(event)
            self._filled.set()
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._guard())
            if len(self._events) >= WAITING_MESSAGES:
                self._room.clear()
                await self._room.wait()

    async def cancel(self, grace: float) -> None:
        """Drop what waits, and let what is being done end within `grace` seconds; then it is cancelled.

        Ending is better than cancelling: what has been handed to the producer goes out all the same, and after the
        partitions have a new owner it would come from a zombie.
        """
        self._events.clear()
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
                while self._events:
                    await self._work()
                    if len(self._events) < WAITING_MESSAGES // 2:
                        self._room.set()
                self._filled.clear()
        except Exception as error:  # noqa: BLE001 - whatever it is: unacknowledged, and the worker ends
            self._on_error(error)

    @abstractmethod
    async def _work(self) -> None:
        """Take some of the events that wait and work them off."""


class EventIntake(Intake):
    """One event at a time; `handle` gets each with the function that acknowledges it, for whenever it is stored."""

    def __init__(
        self,
        handle: Callable[[InMessage, Callable[[], None]], Awaitable[None]],
        is_current: Callable[[Event], bool],
        on_error: Callable[[BaseException], None],
    ) -> None:
        super().__init__(is_current, on_error)
        self._handle = handle

    async def _work(self) -> None:
        event = self._events.popleft()
        await self._handle(in_message(event), event.ack)


class ChunkIntake(Intake):
    """Many events at once, acknowledged together when `handle` returns."""

    def __init__(
        self,
        handle: Callable[[Sequence[InMessage]], Awaitable[None]],
        is_current: Callable[[Event], bool],
        on_error: Callable[[BaseException], None],
    ) -> None:
        super().__init__(is_current, on_error)
        self._handle = handle

    async def _work(self) -> None:
        events: list[Event] = []
        size = 0
        while self._events and len(events) < CHUNK_MESSAGES and size < CHUNK_BYTES:
            event = self._events.popleft()
            size += len(event.message.value or b"")
            events.append(event)
        await self._handle([in_message(event) for event in events])
        for event in events:
            event.ack()
