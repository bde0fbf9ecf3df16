"""An event loop in a thread of its own, so that tests are plain functions while clients keep working."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["Background"]

T = TypeVar("T")

LONGEST = 120.0  # seconds that one call may take
CANCEL_AGAIN = 1.0


class Background:
    """Runs coroutines for whoever is not in an event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="background-loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout: float = LONGEST) -> T:
        """Run it and return its result."""
        return self.submit(work).result(timeout)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start it and return its result to come."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start it and return at once."""

        async def begin() -> asyncio.Task[None]:
            return asyncio.get_running_loop().create_task(work)

        return self.run(begin())

    def cancel(self, task: asyncio.Task[None]) -> None:
        """End a task and wait until it has ended."""

        async def end() -> None:
            # aiokafka may swallow a cancellation: a task that goes on is told again.
            while not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=CANCEL_AGAIN)

        self.run(end())

    def close(self) -> None:
        """End the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LONGEST)
        self._loop.close()
