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
from dataclasses import asdict
from typing import Any, Final

from app.callbacks.executors.base import CallbackExecutor
from app.callbacks.executors.child_calls import Answer, ChildJob
from app.callbacks.executors.child_process import ChildProcess
from app.callbacks.loading import FunctionError
from app.callbacks.outcome import Outcome, OutcomeError
from app.callbacks.tasks import TaskSet
from tables.model.enums import Code

FINISH_SECONDS: Final = 0.5  # what a call that nobody awaits any more gets to end, which spares the process
LEAVE_SECONDS: Final = 0.5  # what idle processes get to end by themselves when the pool is closed
_ONE_CORE_LIBRARIES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class ProcessExecutor(CallbackExecutor):
    """Runs one callback in processes; as many at once as there are calls of `function`.

    Every process is *living* until it is gone. It is *starting* until it has imported the callback, then *idle*, or
    *busy* with one call; a busy one is *abandoned* when nobody awaits its call any more. It is *dying* from the end of
    its call's time until it has said where it stands. One that was killed, or asked to end, is none of these.

    `keep` processes are kept whether there are calls for them or not. More are started for calls that find all of them
    in use: *waiters*, which are in `function` already and wait for a process, and *announced* calls, which have not
    begun (see `expect`).
    """

    encoded = True

    def __init__(self, job: ChildJob, *, keep: int, on_death: Callable[[str], None]) -> None:
        """No process is started before `start`.

        Args:
            job: the callback, and how it is called.
            keep: see above; idle ones beyond this number end.
            on_death: called with a line when a process ended without a call in it.
        """
        self._job = job
        self.places = self._keep = keep
        self._on_death = on_death
        self._environment = dict.fromkeys(_ONE_CORE_LIBRARIES, str(max(1, available_cores() // keep)))
        self._open = False
        self._living: set[ChildProcess] = set()
        self._starting: set[ChildProcess] = set()
        self._idle: list[ChildProcess] = []
        self._busy: dict[ChildProcess, asyncio.Future[Answer] | None] = {}  # None: it is abandoned
        self._dying: set[ChildProcess] = set()
        self._killing = TaskSet()
        self._waiters: deque[asyncio.Future[ChildProcess]] = deque()
        self._announced = 0  # calls
        self._failed_starts: deque[FunctionError] = deque()  # of processes for announced calls: one fails each
        self._on_ready: Callable[[], None] = lambda: None
        self._all_gone: asyncio.Event | None = None

    @property
    def calls(self) -> frozenset[object]:
        """The calls that someone awaits; dying processes; and the starting ones, as long as calls wait for them."""
        answers = frozenset(answer for answer in self._busy.values() if answer is not None)
        return answers.union(self._dying, self._starting if self._announced or self._waiters else ())

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
        """See `CallbackExecutor`. A call can begin in an idle process, and if a start has failed: it fails, too."""
        self._announced = 0
        while self._idle and not self._idle[-1].alive:
            self._idle[-1].clear_away()
        if not calls:
            self._failed_starts.clear()
        if self._idle or self._failed_starts:
            return True
        self._announced = calls
        needed = calls + len(self._waiters)
        # Abandoned ones come back, or are killed and replaced, sooner than another one would have started.
        coming = len(self._starting) + list(self._busy.values()).count(None)
        for _ in range(needed - coming):
            self._begin()
        return False

    async def function(self, *args: Any, bare: frozenset[str] = frozenset()) -> Any:
        """Call the callback in an idle process, or a new one.

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
        try:
            fine, value = await answer
        except asyncio.CancelledError:
            if child in self._busy:
                self._busy[child] = None
                asyncio.get_running_loop().call_later(FINISH_SECONDS, self._end_abandoned, child)
            raise
        if not fine:
            raise OutcomeError(value)
        return value

    def give_up(self, waiting: object, tell: Callable[[str | None], None]) -> None:
        """Kill the process of a call that has run out of time, once it has said where it stands.

        On a busy machine that takes its time; another process is started meanwhile. See `CallbackExecutor`.
        """
        for child, answer in self._busy.items():
            if answer is not None and answer is waiting:
                del self._busy[child]
                self._dying.add(child)
                self._killing.start(self._kill_where_it_stands(child, tell))
                self._refill()
                return
        tell("Waiting for another process to start.\n" if waiting in self._waiters else None)

    async def _kill_where_it_stands(self, child: ChildProcess, tell: Callable[[str | None], None]) -> None:
        stack = None
        try:
            stack = await child.stack()
        finally:
            self._dying.discard(child)
            child.kill()
            tell(stack and f"The process was killed. It stood at (innermost line first):\n{stack}")

    def close(self) -> None:
        """Kill what is busy, and let the idle ones end."""
        self._open = False
        for child in self._idle:
            child.dismiss()
        for child in [*self._starting, *self._busy, *self._dying]:
            child.kill()
        self._idle.clear()

    async def closed(self) -> None:
        """Wait until every process is gone; what doesn't end by itself is killed."""
        self._all_gone = asyncio.Event()
        if self._living:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), LEAVE_SECONDS)
        for child in list(self._living):
            child.clear_away()
        await self._killing.cancel()
        await asyncio.sleep(0)  # the loop lets go of their connections

    # -- what processes tell -----------------------------------------------------------------------------------------

    def _received(self, child: ChildProcess, message: Answer) -> None:
        """Take a message: a process has imported the callback or failed to, or has done its call."""
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

    def _ended(self, child: ChildProcess, how: str) -> None:
        """Fail what a process that is gone was to do, and start another one if too few are left."""
        self._living.discard(child)
        if not self._living and self._all_gone is not None:
            self._all_gone.set()
        if not self._open:
            return
        if child in self._starting:
            self._start_failed(child, f"{self._job.setting}={self._job.callback}: its process ended {how} at the start")
        elif child in self._busy:
            answer = self._busy.pop(child)
            if answer is not None and not answer.done():
                text = f"ProcessDiedError: the process in which the callback ran ended {how}"
                answer.set_exception(OutcomeError(Outcome(Code.FAILED, text)))
            self._refill()
        elif child in self._idle:
            self._idle.remove(child)
            self._on_death(f"an idle process for callbacks ended {how}")
            if child.served > 1:  # one that dies before it has done anything is not replaced for nobody, for ever
                self._refill()

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _acquire(self) -> ChildProcess:
        """Take an idle process, or wait for one; who gets it gives it back by `_release`."""
        if self._idle:
            return self._idle.pop()
        if self._failed_starts:
            raise self._failed_starts.popleft()
        waiter: asyncio.Future[ChildProcess] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if len(self._starting) < len(self._waiters):
            self._begin()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif not waiter.cancelled() and waiter.exception() is None:  # it has come in the very moment
                self._release(waiter.result())
            raise

    def _release(self, child: ChildProcess) -> None:
        """Give a process that has nothing to do to a waiter, or let it be idle."""
        if not self._open:
            child.dismiss()
        elif waiter := self._next_waiter():
            waiter.set_result(child)
        else:
            self._idle.append(child)
            if self._announced:
                self._on_ready()
            elif len(self._idle) > self._keep:
                self._idle.pop(0).dismiss()

    def _begin(self) -> None:
        child = ChildProcess(asdict(self._job), self._environment, on_message=self._received, on_end=self._ended)
        self._living.add(child)
        self._starting.add(child)

    def _start_failed(self, child: ChildProcess, text: str) -> None:
        """Fail the call that the process was started for; without one it is reported."""
        self._starting.discard(child)
        child.kill()
        if waiter := self._next_waiter():
            waiter.set_exception(FunctionError(text))
        elif self._announced:
            self._failed_starts.append(FunctionError(text))
            self._on_ready()
        else:
            self._on_death(text)

    def _next_waiter(self) -> asyncio.Future[ChildProcess] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _end_abandoned(self, child: ChildProcess) -> None:
        if child in self._busy and self._busy[child] is None:
            self._kill(child)

    def _kill(self, child: ChildProcess) -> None:
        """Kill a busy process, and start another one in its place."""
        del self._busy[child]
        child.kill()
        self._refill()

    def _refill(self) -> None:
        if self._open and len(self._starting) + len(self._idle) + len(self._busy) < self._keep:
            self._begin()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
