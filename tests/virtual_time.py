"""An event loop whose clock jumps: what waits for timers alone takes no time at all."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["EPOCH", "run_in_virtual_time", "unix_now"]

T = TypeVar("T")
EPOCH = 1_763_085_600.0


class _Jumping(selectors.DefaultSelector):
    """Where the loop would wait for its next timer the clock is moved there; with no timer it waits for threads."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is not None and timeout > 0:
            self.now += timeout
            timeout = 0
        return super().select(timeout)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that starts at 0 seconds."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def unix_now() -> float:
    """The running loop's time as Unix seconds."""
    return EPOCH + asyncio.get_running_loop().time()


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of its own whose clock jumps."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
