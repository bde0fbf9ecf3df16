"""Limits of a callback: the time that it may run when it has suspended, and the calls that it gets when it raises.

The library Tenacity, which retries result handlers, makes objects of its own for each call and looks at the processor's
clock. A callback runs for each station, and on the event loop's time, which a test driver moves: hence `Retries`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic

from app.callbacks.scheduler import Context, Run
from app.callbacks.tasks import is_from_outside
from app.settings import Settings

_LOOK_EVERY = 0.05  # seconds between two looks: the wall clock may be set, and callbacks come
_LOOK_SOONEST = 0.001  # what is due within this is due

FIRST_BACKOFF: Final = 0.1  # seconds between the first call and the second; it doubles with each further call
LONGEST_BACKOFF: Final = 5.0


class TimeLimits(Generic[Context]):
    """Watches with one timer the callbacks that have suspended, and ends those that have run out of time.

    Attributes:
        running: all of them, in the order of their start.
        overtime: those whose batch's deadline has passed, in the order in which that was seen.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float],
        give_up: Callable[[Run[Context], str], None],
        places_free: Callable[[], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        """Limits that nothing runs under.

        Args:
            settings: `AGG_STATION_TIMEOUT`, in seconds of the loop's time, and `AGG_OVERTIME_MAX`.
            clock: Unix seconds, what deadlines are compared with.
            give_up: gets what has run out of time, and the reason; it must `remove` it.
            places_free: called when callbacks may have given up their places.
            on_error: gets what one of these two raises, after which nothing would be ended any more.
        """
        self.running: dict[Run[Context], None] = {}
        self.overtime: dict[Run[Context], None] = {}
        self._clock = clock
        self._timeout = settings.station_timeout
        self._overtime_max = settings.overtime_max
        self._give_up = give_up
        self._places_free = places_free
        self._on_error = on_error
        self._timer: asyncio.TimerHandle | None = None

    def add(self, run: Run[Context]) -> None:
        """Watch a callback."""
        self.running[run] = None
        if self._timer is None:
            self._look_later(asyncio.get_running_loop())

    def remove(self, run: Run[Context]) -> None:
        """Forget a callback that has ended or been given up."""
        del self.running[run]
        self.overtime.pop(run, None)

    def clear(self) -> None:
        """Forget all of them, and stop looking."""
        self.running.clear()
        self.overtime.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        now, unix = loop.time(), self._clock()
        wait = _LOOK_EVERY
        for run in self.running:
            wait = min(wait, run.started + self._timeout - now)
            if run.deadline is not None and run not in self.overtime:
                wait = min(wait, run.deadline - unix)
        self._timer = loop.call_later(max(wait, _LOOK_SOONEST), self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        try:
            self._end_overdue(loop)
            if self.running and self._timer is None:
                self._look_later(loop)
        except Exception as error:  # noqa: BLE001 - raised into the event loop it would only be logged
            self._on_error(error)

    def _end_overdue(self, loop: asyncio.AbstractEventLoop) -> None:
        now, unix = loop.time(), self._clock()
        for run in list(self.running):
            if run not in self.running:
                continue
            if now + _LOOK_SOONEST > run.started + self._timeout:
                self._give_up(run, f"the callback did not finish within {self._timeout:g} s (AGG_STATION_TIMEOUT)")
            elif run.deadline is not None and unix > run.deadline and run not in self.overtime:
                self.overtime[run] = None
                if len(self.overtime) > self._overtime_max:
                    self._give_up(
                        next(iter(self.overtime)),
                        f"cancelled as the oldest of more than {self._overtime_max} callbacks that had outlived "
                        "their batch's deadline (AGG_OVERTIME_MAX)",
                    )
        self._places_free()


class Retries:
    """Calls a function again when it raises, whatever that is, be it a SystemExit or the end of its process."""

    def __init__(self, settings: Settings) -> None:
        """Rules for any number of calls.

        Args:
            settings: `AGG_RETRIES`; and `AGG_STATION_TIMEOUT`, seconds of the loop's time from the start of the first
                call. A call that could not start by then is not made, and the error of the last one stands at once.
        """
        self._retries = settings.retries
        self._within = settings.station_timeout

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
                if not left or loop.time() + backoff >= until or is_from_outside(error):
                    raise
            left -= 1
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF)
