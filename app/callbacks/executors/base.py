"""Where the user's callback runs: on the event loop or in threads (in processes: `processes.py`)."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from app.callbacks.executors.threads import ThreadPool
from app.callbacks.loading import is_async
from app.settings.enums import Executor

__all__ = ["CallbackExecutor", "LoopExecutor", "ThreadExecutor", "make_executor"]


class CallbackExecutor(Protocol):
    """What the callback runner calls the user's function through."""

    @property
    def function(self) -> Callable[..., Awaitable[Any]]:
        """Begins a call; it gets the callback's arguments, and awaiting what it returns gives the callback's value."""

    @property
    def encoded(self) -> bool:
        """Whether that value is a run's outcomes already, as `CallbackRunner` makes them of other values."""

    @property
    def expect(self) -> Callable[[int], bool] | None:
        """Told of calls that would begin now, if one could: whether one can. None where one always can.

        If not, it is seen to, and `on_ready` called when one can; 0 takes that back.
        """

    @property
    def places(self) -> int | None:
        """Calls at once that it is made for; None where it sets no limit. One more is possible at any time."""

    @property
    def busy(self) -> int:
        """Threads or processes in which a call runs that is still awaited."""

    @property
    def calls(self) -> frozenset[object]:
        """Those calls, an object for each, to tell one from another."""

    @property
    def abandoned(self) -> int:
        """Threads or processes in which a call runs that nobody awaits any more."""

    async def start(self, on_ready: Callable[[], None]) -> None:
        """Get ready for calls, on the loop that runs now.

        Args:
            on_ready: see `expect`.

        Raises:
            FunctionError: the callback can't be found where it is to run.
        """

    def give_up(self, waiting: object) -> str | None:
        """A call has run out of time, and is about to be cancelled.

        Args:
            waiting: what the call's task waits for.

        Returns:
            Where the callback stands, printed like a traceback; None where the task itself shows that.
        """

    def close(self) -> None:
        """Let go of all threads or processes; no further call comes."""

    async def closed(self) -> None:
        """Wait for what `close` lets go of, where that should not be left behind."""


class _AlwaysReady:
    encoded = False
    expect = None

    async def start(self, on_ready: Callable[[], None]) -> None:
        """See `CallbackExecutor`."""

    async def closed(self) -> None:
        """See `CallbackExecutor`."""


class LoopExecutor(_AlwaysReady):
    """Calls an `async def` on the event loop, without anything in between."""

    places = None
    busy = abandoned = 0
    calls: frozenset[object] = frozenset()

    def __init__(self, callback: Callable[..., Awaitable[Any]]) -> None:
        self.function = callback

    def give_up(self, waiting: object) -> None:
        """See `CallbackExecutor`; a cancelled task is all there is to it."""

    def close(self) -> None:
        """There is nothing to let go of."""


class ThreadExecutor(_AlwaysReady):
    """Calls the callback in daemon threads: one that hangs is left behind."""

    def __init__(self, callback: Callable[..., Any], *, workers: int, own_loops: bool) -> None:
        """No thread is started before the first call.

        Args:
            callback: a `def`, or an `async def` if there are own loops.
            workers: calls at once.
            own_loops: what the callback awaits is awaited on its thread's own event loop, not on the one that runs now.
        """
        self._callback = callback
        self._pool = ThreadPool("callback", keep=workers, own_loops=own_loops)
        self.places = workers

    @property
    def busy(self) -> int:
        """See `CallbackExecutor`."""
        return self._pool.busy

    @property
    def calls(self) -> frozenset[object]:
        """See `CallbackExecutor`."""
        return self._pool.calls

    @property
    def abandoned(self) -> int:
        """See `CallbackExecutor`."""
        return self._pool.abandoned

    async def function(self, *args: Any) -> Any:
        """Call the callback in a thread."""
        value = await self._pool.run(self._callback, *args)
        return await value if inspect.isawaitable(value) else value

    def give_up(self, waiting: object) -> str | None:
        """See `CallbackExecutor`."""
        return self._pool.stack_of(waiting)

    def close(self) -> None:
        """Let the threads end; those that hang are left behind."""
        self._pool.close()


def make_executor(
    callback: Callable[..., Any],
    kind: Executor = Executor.AUTO,
    *,
    concurrency: int = 64,
    workers: int | None = None,
) -> CallbackExecutor:
    """The executor that the settings ask for, other than processes.

    Args:
        callback: the user's function, for one station or for many.
        kind: `AGG_EXECUTOR`.
        concurrency: `AGG_CONCURRENCY`.
        workers: `AGG_EXECUTOR_WORKERS`; None: as many threads as `concurrency`.
    """
    if kind is Executor.AUTO and is_async(callback):
        return LoopExecutor(callback)
    return ThreadExecutor(callback, workers=workers or concurrency, own_loops=kind is Executor.THREAD)
