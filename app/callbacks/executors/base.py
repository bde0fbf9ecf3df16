"""The places where the user's callback may run, as the callback runner sees them; and the event loop as one of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any


class CallbackExecutor:
    """Something that the callback runner calls the user's function through.

    Attributes:
        function: begins a call. It gets the callback's arguments, and awaiting what it returns gives the callback's
            value.
        encoded: that value is a run's outcomes already, as `CallbackRunner` makes them of other values. The function
            then takes `bare`, too.
        expect: announces that so many calls would begin now, and returns whether one can. If none can, that is seen to,
            and `on_ready` called when one can; 0 takes the announcement back. None: one always can.
        places: calls at once that it is made for; None: it sets no limit. One more is possible at any time.
    """

    function: Callable[..., Awaitable[Any]]
    encoded = False
    expect: Callable[[int], bool] | None = None
    places: int | None = None

    @property
    def calls(self) -> frozenset[object]:
        """The calls in threads or processes that someone awaits, an object for each, to tell one from another."""
        return frozenset()

    async def start(self, on_ready: Callable[[], None]) -> None:
        """Get ready for calls, on the loop that runs now; `on_ready`: see `expect`.

        Raises:
            FunctionError: the callback can't be found where it is to run.
        """

    def give_up(self, waiting: object, tell: Callable[[str | None], None]) -> None:  # noqa: ARG002 - of others
        """End a call that has run out of time, as far as its task's cancellation, which `tell` leads to, does not.

        Args:
            waiting: what the call's task waits for.
            tell: gets where the callback stands, printed like a traceback, now or as soon as that is known; None where
                the task itself shows it.
        """
        tell(None)

    def close(self) -> None:
        """Let go of all threads or processes; no further call comes."""

    async def closed(self) -> None:
        """Wait for what `close` lets go of, where that should not be left behind."""


class LoopExecutor(CallbackExecutor):
    """Calls an `async def` on the event loop, without anything in between."""

    def __init__(self, callback: Callable[..., Awaitable[Any]]) -> None:
        self.function = callback
