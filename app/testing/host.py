"""What a driver's workers run on: topics, spans and a virtual clock that outlive them; one worker at a time."""

from __future__ import annotations

import asyncio
from typing import Any

from app.callbacks.loading import UserFunctions
from app.settings import Settings
from app.testing.broker import MemoryBroker
from app.testing.spans import MemorySpans
from app.testing.virtual_loop import VirtualLoop
from app.testing.worker import CrashPoint, MemoryWorker

__all__ = ["WorkerHost"]

_UNHEARD = {"task", "future", "asyncgen"}  # in what a loop's exception handler gets: nobody awaits these
SETTLE_SECONDS = 0.01  # outcomes are gathered for 4 ms before they are sent (app/pipeline/stations/outcomes.py)


class WorkerHost:
    """Starts workers, lets them run in virtual time, and ends them.

    Attributes:
        broker: the topics.
        spans: of all workers.
        worker: the one that lives; None when none does.
    """

    def __init__(self, settings: Settings, functions: UserFunctions, *, start_time: float, patience: float) -> None:
        """A host without a worker.

        Args:
            settings: the workers'.
            functions: the user's own.
            start_time: where the clock stands at first, Unix seconds.
            patience: real seconds that work in threads is waited for while the clock stands still.
        """
        self._settings = settings
        self._functions = functions
        self._start_time = start_time
        self._patience = patience
        self.broker = MemoryBroker(settings, lambda: self.now)
        self.spans = MemorySpans(settings, lambda: self.now)
        self.worker: MemoryWorker | None = None
        self._errors: list[BaseException] = []
        self._crash: CrashPoint | None = None
        self._committed_at_start: dict[tuple[str, int], int] = {}
        self._loop = self._new_loop(0.0)
        self._closed = False

    @property
    def now(self) -> float:
        """The virtual time, Unix seconds."""
        return self._start_time + self._loop.time()

    def start_worker(self) -> None:
        """Start a worker, and let it recover."""
        self._crash, crash = None, self._crash
        self._committed_at_start = dict(self.broker.committed)
        self.worker = MemoryWorker(
            self._settings,
            self._functions,
            broker=self.broker,
            clock=lambda: self.now,
            crash=crash,
            on_end=self._on_end,
            traces=self.spans.traces,
        )
        self._loop.worker_calls = self.worker.worker_calls
        self.worker.start(self._loop)
        self.settle()

    def end_worker(self) -> None:
        """Kill the worker if one lives: all that it has in memory is gone, and the clock goes on."""
        worker, self.worker = self.worker, None
        if worker is None:
            return
        loop, self._loop = self._loop, self._new_loop(self._loop.time())
        loop.dispose(worker.stop())

    def lose_commits(self) -> None:
        """Have the last worker never have committed anything."""
        self.broker.committed = dict(self._committed_at_start)

    def crash_at(self, crash: CrashPoint | None) -> None:
        """Have the worker die there, or, when none lives, the next one."""
        if self.worker is None:
            self._crash = crash
        else:
            self.worker.crash = crash

    def close(self) -> None:
        """End the worker and the clock."""
        if not self._closed:
            self.end_worker()
            self._loop.close()
            self._closed = True

    def check_open(self) -> None:
        """Raise a RuntimeError when it is closed."""
        if self._closed:
            text = "the driver is closed"
            raise RuntimeError(text)

    def settle(self) -> None:
        """Let happen all that can happen without waiting; a few milliseconds pass."""
        self._run(self._loop.time() + SETTLE_SECONDS)

    def advance(self, seconds: float) -> None:
        """Move the clock; what becomes due on the way happens, each thing at its time."""
        target = self._loop.time() + seconds
        self._run(target)
        self._loop.move_to(target)

    def _run(self, until: float) -> None:
        self._loop.run_until_idle(until)
        if self.worker is not None and not self.worker.alive:
            self.end_worker()
        self._raise_error()

    def _raise_error(self) -> None:
        if self._errors:
            error = self._errors[0]
            self._errors.clear()
            raise error

    def _new_loop(self, now: float) -> VirtualLoop:
        loop = VirtualLoop(now, patience=self._patience)
        loop.set_exception_handler(self._on_loop_error)
        return loop

    def _on_end(self, error: BaseException | None) -> None:
        if error is not None:
            self._errors.append(error)
        self._loop.stop()

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What asyncio can tell nobody else. It is a bug of ours unless it is about a task that nobody awaits."""
        error = context.get("exception")
        if loop is self._loop and isinstance(error, Exception) and not _UNHEARD & context.keys():
            self._on_end(error)
        else:
            loop.default_exception_handler(context)
