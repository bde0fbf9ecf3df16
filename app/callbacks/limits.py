"""How long callbacks may run: those that wait for something, watched by one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from app.callbacks.suspension import Suspended

__all__ = ["Call", "Run", "TimeLimits", "Work", "bare_of"]

_LOOK_EVERY = 0.05  # seconds between two looks: the wall clock may be set, and callbacks come
_LOOK_SOONEST = 0.001  # what is due within this is due


@dataclass(slots=True, eq=False)
class Call:
    """One station's turn.

    Attributes:
        station_id: calls of one station run one at a time, in the order of their submission.
        deadline: Unix seconds, the batch's as it was when its message was split; None where there is no batch.
        context: the caller's own; it is handed back untouched.
        bare: the outcome's value is to be what the callback has returned as it is, without the station's id.
    """

    station_id: str
    deadline: float | None
    context: Any
    bare: bool = False

    @property
    def calls(self) -> tuple[Call]:
        """Itself: see `Work`."""
        return (self,)


class Work(Protocol):
    """What one run of the callback is for: a call, or many at once."""

    @property
    def deadline(self) -> float | None:
        """Unix seconds, from which on it is in overtime; None: never."""

    @property
    def calls(self) -> Sequence[Call]:
        """The calls that it makes outcomes of."""


Run = Suspended[Work]


def bare_of(work: Work) -> frozenset[str]:
    """The stations of those of its calls that are bare."""
    return frozenset([call.station_id for call in work.calls if call.bare])


class TimeLimits:
    """The callbacks that have suspended, and which of them have run out of time.

    Attributes:
        running: all of them, in the order of their start.
        overtime: those whose batch's deadline has passed, in the order in which that was seen.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        station_timeout: float,
        overtime_max: int,
        give_up: Callable[[Run, str], None],
        places_free: Callable[[], None],
    ) -> None:
        """Limits that nothing runs under.

        Args:
            clock: Unix seconds, what deadlines are compared with.
            station_timeout: seconds of the loop's time that a callback has.
            overtime_max: callbacks that may run on after their deadline.
            give_up: gets what has run out of time, and the reason; it must `remove` it.
            places_free: called when callbacks may have given up their places.
        """
        self.running: dict[Run, None] = {}
        self.overtime: dict[Run, None] = {}
        self._clock = clock
        self._timeout = station_timeout
        self._overtime_max = overtime_max
        self._give_up = give_up
        self._places_free = places_free
        self._timer: asyncio.TimerHandle | None = None

    def add(self, run: Run) -> None:
        """Watch a callback."""
        self.running[run] = None
        if self._timer is None:
            self._look_later(asyncio.get_running_loop())

    def remove(self, run: Run) -> None:
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
            if run.call.deadline is not None and run not in self.overtime:
                wait = min(wait, run.call.deadline - unix)
        self._timer = loop.call_later(max(wait, _LOOK_SOONEST), self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now, unix = loop.time(), self._clock()
        for run in list(self.running):
            if run not in self.running:
                continue
            if now + _LOOK_SOONEST > run.started + self._timeout:
                self._give_up(run, f"the callback did not finish within {self._timeout:g} s (AGG_STATION_TIMEOUT)")
            elif run.call.deadline is not None and unix > run.call.deadline and run not in self.overtime:
                self.overtime[run] = None
                if len(self.overtime) > self._overtime_max:
                    self._give_up(
                        next(iter(self.overtime)),
                        f"cancelled as the oldest of more than {self._overtime_max} callbacks that had outlived "
                        "their batch's deadline (AGG_OVERTIME_MAX)",
                    )
        self._places_free()
        if self.running and self._timer is None:
            self._look_later(loop)
