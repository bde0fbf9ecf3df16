"""One task at a time takes callbacks that are ready and runs each within itself: the *leader*.

A callback that ends without waiting for anything costs no task, no timer and no future. When one suspends, its task
stays behind with it, and another becomes the leader.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Collection, Sequence
from time import perf_counter
from typing import Any

from app.callbacks.limits import Run, Work
from app.callbacks.outcome import Outcome

__all__ = ["BURST_CALLS", "Leader"]

_BURST = 0.005  # seconds of work, as the processor sees them, after which the event loop gets its turn
BURST_CALLS = 256  # the same for a clock that stands still


class Leader:
    """Sees to it that somebody leads as long as there is something to do and a place to do it in.

    Attributes:
        loop: what the tasks run on; None before the start and after the end.
        task: the one that leads now; None when none does.
        tasks: all of them, each with the callback that has suspended in it.
    """

    def __init__(
        self,
        ready: Collection[Any],
        *,
        may_begin: Callable[[], bool],
        begin: Callable[[asyncio.Task[None], float], Run | None],
        finish: Callable[[Run], Awaitable[Sequence[Outcome] | None]],
        settle: Callable[[Work, Sequence[Outcome]], None],
    ) -> None:
        """A leader of nobody: there is no task yet.

        Args:
            ready: what waits for its turn.
            may_begin: whether there is a place for one more.
            begin: takes the first step of the next that is ready, in that task, at that `perf_counter`, and settles it;
                returned is what has suspended instead.
            finish: takes the other steps of what has suspended. What it returns is what came of it; None when it has
                been given up meanwhile.
            settle: takes what came of it.
        """
        self.loop: asyncio.AbstractEventLoop | None = None
        self.task: asyncio.Task[None] | None = None
        self.tasks: dict[asyncio.Task[None], Run | None] = {}
        self._ready = ready
        self._may_begin = may_begin
        self._begin = begin
        self._finish = finish
        self._settle = settle
        self._surroundings = contextvars.copy_context()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tasks may be made on this loop, in the context of who calls this."""
        self.loop = loop
        self._surroundings = contextvars.copy_context()

    def wake(self) -> None:
        """See to it that there is a leader if there is something to do and a place to do it in."""
        if self.task is None and self._ready and self._may_begin() and self.loop is not None:
            # Not in the context of the callback that happens to run now.
            self.task = self.loop.create_task(self._lead(), name="callbacks", context=self._surroundings.copy())
            self.tasks[self.task] = None
            self.task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        """A task has ended: of itself, by our cancellation, or because the user's code cancelled it."""
        del self.tasks[task]
        if self.task is task:
            self.task = None
            self.wake()

    async def _lead(self) -> None:
        """Run what is ready. A callback that suspends keeps this task, which then leads again if no other does."""
        task = asyncio.current_task()
        assert task is not None, "a coroutine that runs in a task"  # noqa: S101 - for the type checker
        ready = self._ready
        since, left = perf_counter(), BURST_CALLS
        while self.task is task and ready and self._may_begin() and not task.cancelling():
            left -= 1
            now = perf_counter()
            if left == 0 or now - since > _BURST:
                await asyncio.sleep(0)
                since, left = perf_counter(), BURST_CALLS
                continue
            run = self._begin(task, now)
            if run is not None:
                self.tasks[task], self.task = run, None
                self.wake()
                outcomes = await self._finish(run)
                if outcomes is None:
                    return
                self.tasks[task] = None
                if self.task is None:
                    self.task = task
                self._settle(run.call, outcomes)
                since, left = perf_counter(), BURST_CALLS
        if self.task is task:
            self.task = None
            self.wake()
