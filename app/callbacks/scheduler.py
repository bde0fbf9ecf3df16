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
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar

from app.callbacks.outcome import Outcome

__all__ = ["BURST_CALLS", "Call", "Context", "Leader", "Run", "Work"]

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
    """

    station_id: str
    deadline: float | None
    context: Context
    bare: bool = False

    @property
    def calls(self) -> tuple[Call[Context]]:
        """Itself: see `Work`."""
        return (self,)


class Work(Protocol[Context]):
    """The calls that one run of the callback is for: one, or many at once."""

    @property
    def deadline(self) -> float | None:
        """Unix seconds, from which on it is in overtime; None: never."""

    @property
    def calls(self) -> Sequence[Call[Context]]:
        """The calls that it makes outcomes of."""


@dataclass(slots=True, eq=False)
class Run(Generic[Context]):
    """A run of the callback that has suspended in its first step: awaiting this takes the other steps.

    Attributes:
        call: what it is the callback of.
        coroutine: the callback's.
        waiting: what it has yielded to the event loop last, mostly the future that it waits for.
        task: the task that it runs in.
        started: the loop's time when it began.
        live: nobody has settled its call yet; what comes of it after that is ignored.
        killed: let the next cancellation end it whether it wants or not.
    """

    call: Work[Context]
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


class Leader(Generic[Context]):
    """Sees to it that a task leads as long as something is ready and there is a place for it.

    Attributes:
        loop: what the tasks run on; None before the start and after the end.
        task: the one that leads now; None when none does.
        tasks: all of them, each with the run that has suspended in it.
    """

    def __init__(
        self,
        ready: Collection[Any],
        *,
        may_begin: Callable[[], bool],
        begin: Callable[[asyncio.Task[None], float], Run[Context] | None],
        finish: Callable[[Run[Context]], Awaitable[Sequence[Outcome] | None]],
        settle: Callable[[Work[Context], Sequence[Outcome]], None],
    ) -> None:
        """A leader without tasks.

        Args:
            ready: the calls that wait for a place.
            may_begin: returns whether there is a place for one more.
            begin: takes the first step of what is ready, in that task, at that `perf_counter`. Returns the run if it
                has suspended; otherwise its calls are settled.
            finish: takes the other steps of a run. Returns the outcomes of its calls; None if the run has been given up
                meanwhile.
            settle: takes these outcomes.
        """
        self.loop: asyncio.AbstractEventLoop | None = None
        self.task: asyncio.Task[None] | None = None
        self.tasks: dict[asyncio.Task[None], Run[Context] | None] = {}
        self._ready = ready
        self._may_begin = may_begin
        self._begin = begin
        self._finish = finish
        self._settle = settle
        self._surroundings = contextvars.copy_context()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make tasks on this loop from now on, in the `contextvars` context of who calls this."""
        self.loop = loop
        self._surroundings = contextvars.copy_context()

    def wake(self) -> None:
        """Start a task that leads, if none does and something can begin."""
        if self.task is None and self._ready and self._may_begin() and self.loop is not None:
            # Not in the context of the callback that happens to run now.
            self.task = self.loop.create_task(self._lead(), name="callbacks", context=self._surroundings.copy())
            self.tasks[self.task] = None
            self.task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        """Have another task lead if this one has ended as the leader: cancelled by the runner, or by user code."""
        del self.tasks[task]
        if self.task is task:
            self.task = None
            self.wake()

    async def _lead(self) -> None:
        """Run what is ready; see the timeline at the top."""
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
