"""An event loop in a thread of its own, so that tests are plain functions while clients keep working."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["Background"]

T = TypeVar("T")

LONGEST = 240.0  # seconds that one call may take
PATIENCE = 60.0


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

    def ended(self, task: asyncio.Task[None]) -> None:
        """Wait until a task has ended, which has been told to by whoever knows how; what it raised is of no interest.

        It is cancelled only when it does not end, since aiokafka swallows the cancellation of a task of its own now and
        then and waits for it: what a client has opened when it is cancelled in its first requests is closed by nobody.
        """

        async def end() -> None:
            while not (await asyncio.wait([task], timeout=PATIENCE))[0]:
                task.cancel()

        self.run(end())

    def close(self) -> None:
        """End the loop, and first whatever still runs on it."""
        self.run(self._end_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LONGEST)
        self._loop.close()

    async def _end_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
