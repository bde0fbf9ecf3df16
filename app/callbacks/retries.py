"""Further calls of a callback that raised, for as long as its station has time.

Tenacity, which retries the result handler, needs objects of its own for each call and looks at the processor's clock;
a callback runs for each station, and on the event loop's time, which a test driver moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

__all__ = ["FIRST_BACKOFF", "LONGEST_BACKOFF", "Retries"]

FIRST_BACKOFF: Final = 0.1  # seconds between the first call and the second; it doubles with each further call
LONGEST_BACKOFF: Final = 5.0


class Retries:
    """Calls a function again when it raises, whatever that is, be it a SystemExit or the end of its process."""

    def __init__(self, retries: int, *, within: float) -> None:
        """Rules for any number of calls.

        Args:
            retries: further calls, at most.
            within: seconds of the loop's time from the start of the first call; a call that could not start by then is
                not made, and the error of the last one stands at once.
        """
        self._retries = retries
        self._within = within

    async def call(self, function: Callable[..., Awaitable[Any]], arguments: Callable[[], tuple[Any, ...]]) -> Any:
        """Call the function with arguments that are made anew for each call, which may have changed them.

        Raises:
            BaseException: what `arguments` raised, or the function's last call, or a cancellation from outside.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._within
        left, backoff = self._retries, FIRST_BACKOFF
        while True:
            given = arguments()
            try:
                return await function(*given)
            except BaseException as error:
                if not left or loop.time() + backoff >= until or _is_ours(error):
                    raise
            left -= 1
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF)


def _is_ours(error: BaseException) -> bool:
    """Whether the call was ended from outside; a callback may also raise a CancelledError of its own."""
    task = asyncio.current_task()
    cancelled = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
    return cancelled or isinstance(error, GeneratorExit)
