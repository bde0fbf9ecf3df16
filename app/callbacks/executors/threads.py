"""Threads that an event loop can walk away from, each with an event loop of its own where that is wanted.

A `ThreadPoolExecutor` joins its threads when the interpreter exits, so one hung function keeps a worker from stopping.
The threads here are daemons: what has hung is left behind and replaced. How many there are is up to whoever calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
import threading
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from queue import SimpleQueue
from types import CoroutineType
from typing import Any

from app.callbacks.executors.base import CallbackExecutor
from app.callbacks.tasks import stack_of, user_context, user_loop


@dataclass(slots=True, eq=False)
class _Job:
    """One call on its way from the queue `todo` through a thread; `returned` is set on the loop at its end.

    `task` is what an awaitable that the function has returned runs in, on the thread's own loop.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    todo: SimpleQueue[_Job | None]
    returned: asyncio.Future[None]
    thread: int | None = None
    value: Any = None
    error: BaseException | None = None
    task: asyncio.Task[Any] | None = None
    abandoned: bool = False

    async def on_own_loop(self, awaitable: Awaitable[Any]) -> Any:
        self.task = asyncio.current_task()
        if self.abandoned:
            _throw_away(awaitable)
            return None
        return await awaitable

    def abandon(self) -> None:
        self.abandoned = True
        if self.task is not None:
            with contextlib.suppress(RuntimeError):  # the thread's loop is closed
                self.task.get_loop().call_soon_threadsafe(self.task.cancel)


class ThreadPool:
    """Runs functions in daemon threads; as many at once as there are calls of `run`.

    It serves one event loop at a time. Only `_work` runs in the threads; all counts are the loop's.
    """

    def __init__(self, name: str, *, keep: int, own_loops: bool = False) -> None:
        """A pool without threads.

        Args:
            name: of its threads, as it shows in a debugger.
            keep: idle threads beyond this number end.
            own_loops: an awaitable that a function returns is awaited in its thread, on an event loop that the thread
                has for itself. Otherwise it is what `run` returns.
        """
        self._name = name
        self._keep = keep
        self._own_loops = own_loops
        self._awaited: dict[object, _Job] = {}  # by what the task that awaits it waits for
        self._threads = 0
        self._idle = 0  # of these
        self._todo: SimpleQueue[_Job | None] = SimpleQueue()  # another one after `close`, with other threads
        self._done: deque[_Job] = deque()
        self._collecting = False  # a `_collect` is on its way to the loop

    @property
    def calls(self) -> frozenset[object]:
        """The calls that someone awaits, an object for each, to tell one from another; abandoned ones don't count."""
        return frozenset(self._awaited)

    def stack_of(self, waiting: object) -> str | None:
        """Return where a thread, or the coroutine on its loop, stands, printed like a traceback.

        Args:
            waiting: what a task waits for in `run`; None is returned when it is anything else.
        """
        job = self._awaited.get(waiting)
        if job is None:
            return None
        coroutine = None if job.task is None else job.task.get_coro()
        if isinstance(coroutine, CoroutineType) and not coroutine.cr_running:
            return stack_of(coroutine)
        frame = None if job.thread is None else sys._current_frames().get(job.thread)
        return None if frame is None else "".join(traceback.format_stack(frame))

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call the function in a thread and return or raise what it does, be it a SystemExit.

        When the task that awaits this is cancelled the thread is abandoned: whatever comes of it is thrown away. What
        runs on the thread's own loop is cancelled.
        """
        job = _Job(function, args, self._todo, asyncio.get_running_loop().create_future())
        if self._idle:
            self._idle -= 1
        else:
            threading.Thread(target=self._work, args=(self._todo,), name=self._name, daemon=True).start()
            self._threads += 1
        self._awaited[job.returned] = job
        self._todo.put(job)
        try:
            await job.returned
        except BaseException:
            if self._awaited.pop(job.returned, None) is None:  # it has come back in the very moment
                _throw_away(job.value)
            job.abandon()
            raise
        if job.error is not None:
            raise job.error
        return job.value

    def close(self) -> None:
        """Let the idle threads end, and the others when they come back. Joins none; a later `run` starts anew."""
        for _ in range(self._threads):
            self._todo.put(None)
        self._threads = self._idle = 0
        self._todo = SimpleQueue()

    # -- in the threads ----------------------------------------------------------------------------------------------

    def _work(self, todo: SimpleQueue[_Job | None]) -> None:
        if not self._own_loops:
            self._work_off(todo, lambda _, value: value)
            return
        with contextlib.closing(
            asyncio.Runner(loop_factory=user_loop)
        ) as runner:  # its loop is made when there is something to await

            def finish(job: _Job, value: Any) -> Any:
                if not inspect.isawaitable(value):
                    return value
                return runner.run(job.on_own_loop(value), context=user_context())

            self._work_off(todo, finish)

    def _work_off(self, todo: SimpleQueue[_Job | None], finish: Callable[[_Job, Any], Any]) -> None:
        while (job := todo.get()) is not None:
            job.thread = threading.get_ident()
            try:
                job.value = finish(job, job.function(*job.args))
            except BaseException as error:  # noqa: BLE001 - it is raised where the call is awaited
                job.error = error
            loop = job.returned.get_loop()
            self._done.append(job)
            del job  # an idle thread holds on to nobody's data
            # One wake-up of the loop for all that returns before it comes to it. `_collect` lowers the flag before it
            # looks, so what was appended before the flag was seen raised is found.
            if not self._collecting:
                self._collecting = True
                try:
                    loop.call_soon_threadsafe(self._collect)
                except RuntimeError:  # the loop is closed
                    self._collecting = False
                    return

    # -- on the loop -------------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        self._collecting = False
        while self._done:
            job = self._done.popleft()
            if job.todo is self._todo:  # otherwise its thread ends, as the pool has been closed
                if self._idle < self._keep:
                    self._idle += 1
                else:
                    self._threads -= 1
                    self._todo.put(None)
            # Cancelled and yet awaited: the task that awaits it has still to hear of the cancellation.
            if self._awaited.pop(job.returned, None) is None or job.returned.cancelled():
                _throw_away(job.value)
            else:
                job.returned.set_result(None)


class ThreadExecutor(ThreadPool, CallbackExecutor):
    """Calls the callback in the threads of a pool."""

    def __init__(self, callback: Callable[..., Any], *, workers: int, own_loops: bool) -> None:
        """No thread is started before the first call.

        Args:
            callback: a `def`, or an `async def` if there are own loops.
            workers: calls at once.
            own_loops: see `ThreadPool`; otherwise the callback's awaitable is awaited on the loop that runs now.
        """
        super().__init__("callback", keep=workers, own_loops=own_loops)
        self._callback = callback
        self.places = workers

    async def function(self, *args: Any) -> Any:
        """Call the callback in a thread."""
        value = await self.run(self._callback, *args)
        return await value if inspect.isawaitable(value) else value

    def give_up(self, waiting: object, tell: Callable[[str | None], None]) -> None:
        """See `CallbackExecutor`; the thread is abandoned by the cancellation."""
        tell(self.stack_of(waiting))


def _throw_away(value: object) -> None:
    """Close what an abandoned function returned, if it is a coroutine: it would complain that nobody awaits it."""
    if inspect.iscoroutine(value):
        value.close()
