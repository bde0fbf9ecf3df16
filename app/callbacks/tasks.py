"""Tools that asyncio lacks: an owner of background tasks, and questions about tasks and coroutines."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from contextvars import Context, ContextVar, copy_context
from types import CoroutineType, FrameType, GeneratorType
from typing import Any


class TaskSet:
    """Owns the background tasks of one part: holds them while they run, and ends them."""

    def __init__(self, on_error: Callable[[BaseException], None] | None = None) -> None:
        """No task.

        Args:
            on_error: gets what a task has raised, and a cancellation that nobody has asked for. None: what is started
                handles its own errors.
        """
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_error = on_error

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run the coroutine in a task on the loop that runs now."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._on_error is None or (task.cancelled() and task.cancelling()):
            return
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            self._on_error(error)

    async def cancel(self, grace: float = 0.0, *, patience: float | None = None) -> None:
        """Let the tasks end by themselves, cancel those that don't, and wait until they are gone.

        The task that calls this is left alone. Tasks that are started meanwhile are ended, too, those of the last
        moment excepted if the patience is over.

        Args:
            grace: seconds for ending by themselves; 0: all are cancelled at once.
            patience: seconds that cancelled tasks get, as one may ignore it; None: for as long as it takes.
        """
        if grace:
            await ended(self._tasks, grace)
        own = asyncio.current_task()
        while tasks := self._tasks - {own}:
            for task in tasks:
                task.cancel()
            await ended(tasks, patience)
            if patience is not None:
                return


async def ended(tasks: Iterable[asyncio.Task[Any]], seconds: float | None) -> None:
    """Wait until the tasks have ended, but no longer than that many seconds, and never for the own task."""
    others = [task for task in tasks if task is not asyncio.current_task()]
    if others:
        await asyncio.wait(others, timeout=seconds)


def is_from_outside(error: BaseException) -> bool:
    """Return whether an exception ends the current task because somebody else wants that; then it is to be passed on.

    That is a CancelledError in a task that was asked to cancel, and the GeneratorExit of a coroutine that is closed.
    Any other CancelledError comes from what the task awaits: a library or a user's function ended itself.
    """
    kind = type(error)  # an exception of the user's may lie about its `__class__`
    if issubclass(kind, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return issubclass(kind, GeneratorExit)


_EXITS = (SystemExit, KeyboardInterrupt, GeneratorExit)

_in_user_code: ContextVar[bool] = ContextVar("in_user_code", default=False)


def user_context() -> Context:
    """Return a copy of the context, for tasks that call functions of the user's; see `contain_exits`."""
    context = copy_context()
    context.run(_in_user_code.set, True)
    return context


def contain_exits(loop: asyncio.AbstractEventLoop) -> None:
    """Have tasks that a function of the user's starts never end the loop, as by `gather` or a `TaskGroup`.

    A task that raises SystemExit or KeyboardInterrupt raises it into the loop, too, which ends a worker as if it were
    done; and one that raises GeneratorExit closes the coroutines that await it, which then can't catch it. In tasks
    that come from a `user_context` each is a RuntimeError. Costs other tasks about 0.2 µs.
    """
    before = loop.get_task_factory()
    if before is not None and getattr(before, "contains_exits", False):
        return

    def make(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        if _in_user_code.get():
            coroutine = _Contained(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options) if before is None else before(loop, coroutine, **options)

    make.contains_exits = True  # type: ignore[attr-defined]
    loop.set_task_factory(make)


def user_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop for functions of the user's alone; see `contain_exits`."""
    loop = asyncio.new_event_loop()
    contain_exits(loop)
    return loop


class _Contained(Coroutine[Any, Any, Any]):
    """A coroutine step by step, which raises nothing that ends more than its task.

    `throw` is called by the task alone; who throws the coroutine away calls `close`.
    """

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        """Show the frame and the name of the coroutine to whoever prints the task."""
        return getattr(self._inner, name)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def send(self, value: Any) -> Any:
        try:
            return self._inner.send(value)
        except _EXITS as error:
            raise _not_an_exit(error) from error

    def throw(self, *given: Any) -> Any:
        try:
            return self._inner.throw(*given)
        except _EXITS as error:
            raise _not_an_exit(error) from error

    def close(self) -> None:
        self._inner.close()


def _not_an_exit(error: BaseException) -> RuntimeError:
    return RuntimeError(f"a task raised {type(error).__name__}: {error}, which must not end the worker")


async def awaited(awaitable: Awaitable[Any]) -> Any:
    """Make a coroutine of whatever can be awaited."""
    return await awaitable


def coroutine_of(awaitable: Awaitable[Any]) -> Coroutine[Any, Any, Any]:
    """Return what a function of the user's has returned as a coroutine, the same where it is one."""
    return awaitable if type(awaitable) is CoroutineType else awaited(awaitable)


def stack_of(coroutine: Coroutine[Any, Any, Any]) -> str:
    """Return where a suspended coroutine stands, printed like a traceback."""
    frames: list[tuple[FrameType, int]] = []
    inner: Any = coroutine
    while isinstance(inner, (CoroutineType, GeneratorType)):
        frame: FrameType | None
        frame, following = (
            (inner.cr_frame, inner.cr_await)
            if isinstance(inner, CoroutineType)
            else (inner.gi_frame, inner.gi_yieldfrom)
        )
        if frame is not None:
            frames.append((frame, frame.f_lineno or frame.f_code.co_firstlineno))
        inner = following
    return "".join(["Waiting at (most recent call last):\n", *traceback.StackSummary.extract(iter(frames)).format()])
