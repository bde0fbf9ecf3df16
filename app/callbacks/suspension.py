"""A callback that is waiting for something, in the middle of its run."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Awaitable, Coroutine, Generator, Iterable
from dataclasses import dataclass
from types import CoroutineType, FrameType, GeneratorType
from typing import Any, Generic, TypeVar

__all__ = ["Suspended", "awaited", "ended", "stack_of"]

T = TypeVar("T")

_CLOSE_ATTEMPTS = 10


@dataclass(slots=True, eq=False)
class Suspended(Generic[T]):
    """A coroutine whose first step has been taken and has not ended it: awaiting this takes the others.

    Attributes:
        call: what it is the callback of.
        coroutine: the callback's.
        waiting: what it has yielded to the event loop last, mostly the future that it waits for.
        task: the task that it runs in.
        started: the loop's time when it began.
        live: nobody has settled its call yet; what comes of it after that is ignored.
        killed: let the next cancellation end it whether it wants or not.
    """

    call: T
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


def stack_of(coroutine: Coroutine[Any, Any, Any]) -> str:
    """Where a suspended coroutine stands, printed like a traceback."""
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
            frames.append((frame, frame.f_lineno))
        inner = following
    return "".join(["Waiting at (most recent call last):\n", *traceback.StackSummary.extract(iter(frames)).format()])


async def awaited(awaitable: Awaitable[Any]) -> Any:
    """A coroutine of whatever can be awaited."""
    return await awaitable


async def ended(tasks: Iterable[asyncio.Task[Any]], seconds: float) -> None:
    """Wait until the tasks have ended, but no longer than that many seconds, and never for the own task."""
    others = [task for task in tasks if task is not asyncio.current_task()]
    if others:
        await asyncio.wait(others, timeout=seconds)
