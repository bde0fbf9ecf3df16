"""Processes that an event loop can kill: each runs one call of the callback at a time, and is replaced when it dies.

Why no library. `concurrent.futures` and loky give up the whole pool when one process dies. Pebble (LGPL) kills what
takes too long, but gives up too when a process dies that was idle, its workers share one pipe under one lock, and their
number is fixed: a call in overtime would keep its place. deadpool-executor (Apache-2.0) has a pipe for each, but a
fixed number again, and it blocks the thread that submits, here the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from app.callbacks.executors.child_calls import Answer, ChildJob
from app.callbacks.executors.child_process import ChildProcess
from app.callbacks.loading import FunctionError
from app.callbacks.outcome import Outcome, OutcomeError
from tables.model.enums import Code

__all__ = ["ProcessExecutor", "available_cores"]

FINISH_SECONDS: Final = 0.5  # what a call that nobody awaits any more gets to end, which spares the process
LEAVE_SECONDS: Final = 0.5  # what idle processes get to end by themselves when the pool is closed
_ONE_CORE_LIBRARIES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class ProcessExecutor:
    """Runs one callback in processes; as many at once as there are calls of `function`. See `CallbackExecutor`."""

    encoded = True

    def __init__(self, job: ChildJob, *, keep: int, on_death: Callable[[str], None]) -> None:
        """No process is started before `start`.

        Args:
            job: what they are for.
            keep: processes that are there before they are needed; idle ones beyond this number end.
            on_death: told of a process that ended without a call in it.
        """
        self._job = job
        self.places = self._keep = keep
        self._on_death = on_death
        self._environment = dict.fromkeys(_ONE_CORE_LIBRARIES, str(max(1, available_cores() // keep)))
        self._open = False
        self._there: set[ChildProcess] = set()  # those that are not gone, whatever they do
        self._starting: set[ChildProcess] = set()
        self._idle: list[ChildProcess] = []
        self._busy: dict[ChildProcess, asyncio.Future[Answer] | None] = {}  # None: nobody awaits the answer any more
        self._awaited: dict[object, ChildProcess] = {}  # by what the task that awaits it waits for
        self._starts: deque[asyncio.Future[ChildProcess]] = deque()  # who waits for a process
        self._expected = 0  # calls that have not begun since there is no process for them
        self._failures: deque[FunctionError] = deque()  # one for each of these whose process could not start
        self._on_ready: Callable[[], None] = lambda: None
        self._all_gone: asyncio.Event | None = None

    @property
    def busy(self) -> int:
        """Calls that someone awaits."""
        return len(self._awaited)

    @property
    def calls(self) -> frozenset[object]:
        """Those calls, and processes on their start that calls wait for, an object for each."""
        waiting = self._expected or self._starts
        return frozenset(self._awaited).union(self._starting if waiting else ())

    @property
    def abandoned(self) -> int:
        """Processes that run something which nobody awaits any more."""
        return sum(answer is None for answer in self._busy.values())

    async def start(self, on_ready: Callable[[], None]) -> None:
        """Start the processes, and wait until they have imported the callback; see `CallbackExecutor`.

        Raises:
            FunctionError: one could not.
        """
        self._open = True
        self._on_ready = on_ready
        acquiring = [asyncio.ensure_future(self._acquire()) for _ in range(self._keep)]
        try:
            children = await asyncio.gather(*acquiring)
        except BaseException:
            for task in acquiring:
                task.cancel()
            await asyncio.wait(acquiring)
            self.close()
            raise
        for child in children:
            self._release(child)

    def expect(self, calls: int) -> bool:
        """See `CallbackExecutor`: whether there is an idle process, or a start has failed, which fails a call."""
        self._expected = 0
        while self._idle and not self._idle[-1].alive:
            self._idle[-1].clear_away()
        if not calls:
            self._failures.clear()
        if self._idle or self._failures:
            return True
        self._expected = calls
        # Abandoned ones come back, or are killed and replaced, sooner than another one would have started.
        for _ in range(calls + len(self._starts) - len(self._starting) - self.abandoned):
            self._begin()
        return False

    async def function(self, *args: Any, bare: frozenset[str] = frozenset()) -> Any:
        """Call the callback in a process that has nothing else to do; a new one if there is none.

        Outcomes of the stations in `bare` have what the callback has returned as it is, see `encode_result`. When the
        task that awaits this is cancelled, the process has a moment to finish, and is killed if it doesn't.

        Raises:
            OutcomeError: the callback raised, or the process died.
            FunctionError: a new process could not import the callback.
        """
        child = await self._acquire()
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        try:
            child.send((args, bare))
        except BaseException:
            self._release(child)
            raise
        self._busy[child] = answer
        self._awaited[answer] = child
        try:
            fine, value = await answer
        except asyncio.CancelledError:
            self._abandon(child)
            raise
        finally:
            del self._awaited[answer]
        if not fine:
            raise OutcomeError(value)
        return value

    def give_up(self, waiting: object) -> str | None:
        """Kill the process of a call that has run out of time; see `CallbackExecutor`."""
        child = self._awaited.get(waiting)
        if child is None or child not in self._busy:
            return "Waiting for another process to start.\n" if waiting in self._starts else None
        stack = child.stack()
        self._kill(child)
        return stack and f"The process was killed. It stood at (innermost line first):\n{stack}"

    def close(self) -> None:
        """Kill what is busy, and let the idle ones end."""
        self._open = False
        for child in self._idle:
            child.dismiss()
        for child in [*self._starting, *self._busy]:
            child.kill()
        self._idle.clear()

    async def closed(self) -> None:
        """Wait until every process is gone; what doesn't end by itself is killed."""
        self._all_gone = asyncio.Event()
        if self._there:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), LEAVE_SECONDS)
        for child in list(self._there):
            child.clear_away()
        await asyncio.sleep(0)  # the loop lets go of their connections

    # -- what processes tell -----------------------------------------------------------------------------------------

    def received(self, child: ChildProcess, message: Any) -> None:
        """A process is ready, or could not import the callback, or has done what it was to do."""
        if child in self._starting:
            fine, text = message
            if fine:
                self._starting.discard(child)
                self._release(child)
            else:
                self._start_failed(child, text)
        elif child in self._busy:
            answer = self._busy.pop(child)
            if answer is not None and not answer.done():
                answer.set_result(message)
            self._release(child)

    def ended(self, child: ChildProcess, how: str) -> None:
        """A process is gone."""
        self._there.discard(child)
        if not self._there and self._all_gone is not None:
            self._all_gone.set()
        if not self._open:
            return
        if child in self._starting:
            self._start_failed(child, f"{self._job.setting}={self._job.callback}: its process ended {how} at the start")
        elif child in self._busy:
            answer = self._busy.pop(child)
            if answer is not None and not answer.done():
                answer.set_exception(OutcomeError(_died(how)))
            self._refill()
        elif child in self._idle:
            self._idle.remove(child)
            self._on_death(f"an idle process for callbacks ended {how}")
            if child.served > 1:  # one that dies before it has done anything is not replaced for nobody, for ever
                self._refill()

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _acquire(self) -> ChildProcess:
        """A process that is ready and now the caller's, who gives it back by `_release`."""
        if self._idle:
            return self._idle.pop()
        if self._failures:
            raise self._failures.popleft()
        start: asyncio.Future[ChildProcess] = asyncio.get_running_loop().create_future()
        self._starts.append(start)
        if len(self._starting) < len(self._starts):
            self._begin()
        try:
            return await start
        except asyncio.CancelledError:
            if start in self._starts:
                self._starts.remove(start)
            elif not start.cancelled() and start.exception() is None:  # it has come in the very moment
                self._release(start.result())
            raise

    def _release(self, child: ChildProcess) -> None:
        """A process has nothing to do."""
        while self._starts and self._open:
            start = self._starts.popleft()
            if not start.done():
                start.set_result(child)
                return
        if not self._open:
            child.dismiss()
            return
        self._idle.append(child)
        if self._expected:
            self._on_ready()
        elif len(self._idle) > self._keep:
            self._idle.pop(0).dismiss()

    def _begin(self) -> None:
        child = ChildProcess(self, self._job.message(), self._environment)
        self._there.add(child)
        self._starting.add(child)

    def _start_failed(self, child: ChildProcess, text: str) -> None:
        self._starting.discard(child)
        child.kill()
        while self._starts:
            start = self._starts.popleft()
            if not start.done():
                start.set_exception(FunctionError(text))
                return
        if self._expected:
            self._failures.append(FunctionError(text))
            self._on_ready()
        else:
            self._on_death(text)

    def _abandon(self, child: ChildProcess) -> None:
        if child in self._busy:
            self._busy[child] = None
            asyncio.get_running_loop().call_later(FINISH_SECONDS, self._end_abandoned, child)

    def _end_abandoned(self, child: ChildProcess) -> None:
        if child in self._busy and self._busy[child] is None:
            self._kill(child)

    def _kill(self, child: ChildProcess) -> None:
        """Kill a process that has not come back, and start another one in its place."""
        del self._busy[child]
        child.kill()
        self._refill()

    def _refill(self) -> None:
        if self._open and len(self._starting) + len(self._idle) + len(self._busy) < self._keep:
            self._begin()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _died(how: str) -> Outcome:
    return Outcome(Code.FAILED, f"ProcessDiedError: the process in which the callback ran ended {how}")
