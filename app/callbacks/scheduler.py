"""The tasks that callbacks run in: one of them *leads*, and runs within itself each callback that is ready.

A callback that ends without waiting for anything costs no task, no timer and no future. One that suspends keeps its
task, and another task leads. With room for two callbacks, A to F ready, and only C and E waiting for something:

    task 1 starts and leads: A and B run to their ends, C suspends
    task 1 stays with C; task 2 starts and leads: D runs to its end, E suspends
    task 2 stays with E; both places are taken, so nobody leads and F waits
    C ends in task 1, which leads again as nobody else does: F runs to its end
    nothing is ready any more: task 1 ends
    E ends in task 2, which leads again, finds nothing ready, and ends
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, TypeVar

from app.callbacks.outcome import Outcome

_BURST = 0.005  # seconds of work, as the processor sees them, after which the event loop gets its turn
BURST_CALLS = 256  # the same for a clock that stands still
_CLOSE_ATTEMPTS = 10

Context = TypeVar("Context")


@dataclass(slots=True, eq=False)
class Call(Generic[Context]):
    """One station's turn.

    Attributes:
        station_id: calls of one station run one at a time, in the order of their submission.
        deadline: Unix seconds, the batch's as it was when its message was split; None where there is no batch.
        context: the caller's own; it is handed back untouched.
        bare: the outcome's value is to be what the callback has returned as it is, without the station's id.
        seconds: how long its callback ran; None until it has.
    """

    station_id: str
    deadline: float | None
    context: Context
    bare: bool = False
    seconds: float | None = None


class CallGroup(ABC, Generic[Context]):
    """Stations of one message; their turn comes as one, and most of them never are a `Call`.

    Attributes:
        count: stations.
        deadline: Unix seconds, of all of them.
        stations: ids; empty until the group is opened.
        records: what each station came with, in parallel.
        cursor: stations that have had their turn.
        is_open: it has been opened.
    """

    def __init__(self, count: int, deadline: float) -> None:
        self.count = count
        self.deadline = deadline
        self.stations: Sequence[str] = ()
        self.records: Sequence[Any] = ()
        self.cursor = 0
        self.is_open = False

    @abstractmethod
    def open(self) -> None:
        """Read the stations, once, when their turn has come. Those that can't be read are dealt with already."""

    @abstractmethod
    def inputs(self) -> Callable[[str, Any], dict[str, Any]]:
        """Return what makes the callback's second argument of a station and its records."""

    @abstractmethod
    def take(self, first: int, values: Sequence[str | None], times: Sequence[float]) -> None:
        """Take the results of stations in a row, the first of them at that index.

        A result is JSON text, or None where the callback had none. `times` are the `perf_counter` at the beginning of
        the first one's callback and at the end of each; there may be more of them.
        """

    @abstractmethod
    def call(self, index: int) -> Call[Context]:
        """Return a call of the station at that index, which needs one."""


@dataclass(slots=True, eq=False)
class Run(Generic[Context]):
    """A run of the callback that has suspended in its first step: awaiting this takes the other steps.

    Attributes:
        calls: what it is for: one station's call, or calls of many stations.
        deadline: Unix seconds, the earliest of the calls'; None where none has one.
        coroutine: the callback's.
        waiting: what it has yielded to the event loop last, mostly the future that it waits for.
        task: the task that it runs in.
        started: the loop's time when it began.
        live: nobody has settled its calls yet; what comes of it after that is ignored.
        killed: let the next cancellation end it whether it wants or not.
    """

    calls: Sequence[Call[Context]]
    deadline: float | None
    coroutine: Coroutine[Any, Any, Any]
    waiting: Any
    task: asyncio.Task[None]
    started: float
    live: bool = True
    killed: bool = False

    def cancel(self) -> None:
        """Cancel the callback; nobody is interested in it any more."""
        self.live = False
        self.task.cancel()

    def kill(self) -> None:
        """Cancel the callback, and if it doesn't listen close it where it stands."""
        self.killed = True
        self.task.cancel()

    def __await__(self) -> Generator[Any, Any, Any]:
        while True:
            thrown: BaseException | None = None
            sent = None
            try:
                sent = yield self.waiting
            except GeneratorExit:
                self._close()
                raise
            except BaseException as error:
                if self.killed:
                    self._close()
                    raise
                thrown = error
            try:
                self.waiting = self.coroutine.send(sent) if thrown is None else self.coroutine.throw(thrown)
            except StopIteration as stop:
                return stop.value

    def _close(self) -> None:
        for _ in range(_CLOSE_ATTEMPTS):  # one that ignores it is asked again: else the interpreter asks, and complains
            with contextlib.suppress(BaseException):
                self.coroutine.close()
                return


class Scheduler(ABC, Generic[Context]):
    """Sees to it that a task leads as long as something is ready and there is a place for it."""

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        """Nothing is ready. `on_error` gets errors of our own that a call may have been lost to; it ends the worker."""
        self._on_error = on_error
        self._ready: deque[Any] = deque()  # what waits for a place
        self._loop: asyncio.AbstractEventLoop | None = None  # what the tasks run on, between start and stop
        self._leader: asyncio.Task[None] | None = None  # the task that leads now
        self._tasks: dict[asyncio.Task[None], Run[Context] | None] = {}  # with the run that has suspended in each
        self._surroundings = contextvars.copy_context()
        self._until, self._left = 0.0, 0  # the end of the leader's burst: a `perf_counter`, and calls

    @abstractmethod
    def _may_begin(self) -> bool:
        """Return whether there is a place for one more."""

    @abstractmethod
    def _begin(self, task: asyncio.Task[None], now: float) -> Run[Context] | None:
        """Take the first step of what is ready, in that task, at that `perf_counter`.

        Return the run if it has suspended. Otherwise its calls are settled.
        """

    @abstractmethod
    def _finish(
        self, run: Run[Context], value: Any = None, error: BaseException | None = None
    ) -> Sequence[Outcome] | None:
        """Take what a run has returned or raised after its other steps.

        Return the outcomes of its calls; None if it was given up meanwhile.
        """

    @abstractmethod
    def _settle_all(self, calls: Sequence[Call[Context]], outcomes: Sequence[Outcome]) -> None:
        """Take these outcomes."""

    def _wake(self) -> None:
        """Start a task that leads, if none does and something can begin."""
        if self._leader is None and self._ready and self._may_begin() and self._loop is not None:
            # Not in the context of the callback that happens to run now; and not by `create_task`, whose task factory
            # may wrap what a function of the user's starts: each step would cost more.
            self._leader = asyncio.Task(
                self._lead(), loop=self._loop, name="callbacks", context=self._surroundings.copy()
            )
            self._tasks[self._leader] = None
            self._leader.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        """Have another task lead if this one has ended as the leader: cancelled by the runner, or by user code."""
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_error(error)  # a call that had begun may have no outcome
            return
        if self._leader is task:
            self._leader = None
            self._wake()

    def _new_burst(self) -> None:
        self._until, self._left = perf_counter() + _BURST, BURST_CALLS

    async def _lead(self) -> None:
        """Run what is ready; see the timeline at the top."""
        task = asyncio.current_task()
        assert task is not None, "a coroutine that runs in a task"  # noqa: S101 - for the type checker
        ready = self._ready
        self._new_burst()
        while self._leader is task and ready and self._may_begin() and not task.cancelling():
            now = perf_counter()
            if self._left <= 0 or now > self._until:
                await asyncio.sleep(0)
                self._new_burst()
                continue
            self._left -= 1
            run = self._begin(task, now)
            if run is not None:
                self._tasks[task], self._leader = run, None
                self._wake()
                try:
                    value = await run
                except BaseException as error:
                    # A future that the callback awaited may have raised it, and Python has closed the callback for
                    # that: a failure like others. Outside of the task's steps it is this coroutine that is closed.
                    if isinstance(error, GeneratorExit) and asyncio.current_task() is not task:
                        raise
                    outcomes = self._finish(run, error=error)
                else:
                    outcomes = self._finish(run, value)
                    del value  # it may be large, and the next run may take long
                if outcomes is None:
                    return
                self._tasks[task] = None
                if self._leader is None:
                    self._leader = task
                self._settle_all(run.calls, outcomes)
                self._new_burst()
        if self._leader is task:
            self._leader = None
            self._wake()
