"""An event loop whose clock only moves when it is told to, and that stops when nothing is left to do until then."""

from __future__ import annotations

import asyncio
import math
import selectors
import time
from collections.abc import Callable, Coroutine, Set
from typing import Any

RESOLUTION = 1e-9  # seconds; the event loop's own: a timer that is due within it is due
# A callback that polls with `sleep(0)` would stop the clock for ever: after so many turns of the loop without a rest,
# and then after every thousand, time passes all the same.
SPINS = 10_000
SPINS_AGAIN = 1_000
SPIN_SECONDS = 0.01


class _JumpingSelector(selectors.DefaultSelector):
    """The selector in which the loop waits. Where it would wait for a timer, the clock jumps there instead.

    Attributes:
        now: the virtual time, seconds.
        until: the clock never jumps beyond this.
        patience: real seconds that each piece of real work is waited for before time goes on without it.
        real_work: what runs outside the loop now, in threads; equal objects are the same piece of work.
        on_idle: called when there is nothing left to do before `until`.
    """

    def __init__(self, now: float, patience: float) -> None:
        super().__init__()
        self.now = now
        self.until = now
        self.patience = patience
        self.real_work: Callable[[], Set[object]] = frozenset
        self.on_idle: Callable[[], None] = lambda: None
        self._waited: dict[object, float] = {}  # real work -> the real time at which patience with it ends
        self._turns_left = SPINS

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        spinning = timeout is not None and timeout <= 0
        if spinning and self._turns_left:
            self._turns_left -= 1
            return ready
        self._turns_left = SPINS_AGAIN if spinning else SPINS
        if ready:
            return ready
        patience = self._patience_left()
        if patience > 0:
            return super().select(patience)
        if spinning:
            timeout = SPIN_SECONDS
        due = math.inf if timeout is None else self.now + timeout
        if due <= self.until + RESOLUTION:
            self.now = min(due, self.until)
        else:
            self.on_idle()
        return ready

    def _patience_left(self) -> float:
        work = self.real_work()
        if not work:
            return 0.0
        now = time.monotonic()
        self._waited = {
            piece: self._waited.get(piece, now + max(self.patience, getattr(piece, "patience", 0.0))) for piece in work
        }
        return max(self._waited.values()) - now


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time.

    `asyncio.sleep(3)` and every other timer take no real time. Work in threads does: it is waited for, with the clock
    standing still, but no longer than `patience`; what hangs longer runs on while the virtual clock moves.
    """

    def __init__(self, now: float, *, patience: float) -> None:
        """A loop whose clock stands at `now`; `patience` is in real seconds."""
        self._jumping = _JumpingSelector(now, patience)
        self._jumping.real_work = self._real_work
        self._jumping.on_idle = self.stop
        self._in_executor: set[asyncio.Future[Any]] = set()
        self.worker_calls: Callable[[], Set[object]] = frozenset
        super().__init__(self._jumping)

    def time(self) -> float:
        """The virtual time in seconds."""
        return self._jumping.now

    def run_until_idle(self, until: float) -> None:
        """Do all that can happen up to that virtual time; the clock stops at the last timer that was due."""
        self._jumping.until = max(until, self._jumping.now)
        self.run_forever()

    def move_to(self, now: float) -> None:
        """Put the clock forward; nothing may be due before that time."""
        self._jumping.now = max(now, self._jumping.now)

    def run_in_executor(  # type: ignore[override]  # the stub's names for a variadic generic
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """As ever; what runs there (`asyncio.to_thread`) is waited for like any other thread."""
        future = super().run_in_executor(executor, func, *args)
        self._in_executor.add(future)
        future.add_done_callback(self._in_executor.discard)
        return future

    def dispose(self, stopping: Coroutine[Any, Any, None]) -> None:
        """Run that coroutine with the clock jumping freely and waiting for no thread, cancel what is left, close."""
        self._jumping.until = math.inf
        self._jumping.real_work = frozenset
        try:
            self._run_to_end(stopping)
            self._run_to_end(self._cancel_everything())
            self._run_to_end(self.shutdown_asyncgens())
        finally:
            self.close()

    def _run_to_end(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.create_task(work)
        task.add_done_callback(lambda _: self.stop())
        self.run_forever()  # stops too when there is nothing left that could end the task
        if task.done():
            task.result()

    async def _cancel_everything(self) -> None:
        tasks = asyncio.all_tasks(self) - {asyncio.current_task(self)}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    def _real_work(self) -> Set[object]:
        return self.worker_calls() | self._in_executor
