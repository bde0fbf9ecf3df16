"""Groups of calls: stations of one message whose callbacks run one after the other in a tight loop.

This is the fast way, and the only place where code is written for speed first. A call by itself costs an object for the
call, one for what it is about and one for its outcome, a place in the queue and among the lanes, five readings of
clocks, and a dozen calls of functions; the callback of a station that never waits costs less than that. Here most
stations cost none of it: what they come to is handed on by the group. Whatever is not ordinary leaves the loop, and
goes the way that a call goes: a callback that suspends or raises, a result that is none, a station that must wait for
its turn, a deadline that has passed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from enum import Enum, auto
from time import perf_counter
from types import CoroutineType
from typing import Any, Final, Generic, NamedTuple

from app.callbacks.outcome import Outcome, encode_result, failed, result_text
from app.callbacks.scheduler import CallGroup, Context
from app.callbacks.tasks import awaited
from tables.model.enums import Code

LATE: Final = Outcome(Code.SKIPPED, "the deadline had passed before the callback started")


class Suspended(NamedTuple):
    """A callback that has suspended in its first step; `waiting` is what it has yielded, `began` a `perf_counter`."""

    coroutine: Coroutine[Any, Any, Any]
    waiting: Any
    began: float


class Stretch(NamedTuple):
    """What became of the next stations of a group.

    Attributes:
        values: of those that are ordinary: their results as JSON text, None of an empty one.
        times: the `perf_counter` at the beginning of the first, and at the end of each; also at that of one more, if
            the callback of the next station has run and its outcome is not ordinary.
        end: what the next station came to: an outcome, or a suspension; BEHIND: it has a call that is before this one.
            None: it has not had its turn yet.
    """

    values: list[str | None]
    times: list[float]
    end: Outcome | Suspended | Behind | None


class Behind(Enum):
    """A station has a call that comes first."""

    BEHIND = auto()


BEHIND: Final = Behind.BEHIND


class GroupLoop(Generic[Context]):
    """Runs an `async def` on the event loop for stations of a group."""

    def __init__(
        self,
        function: Callable[..., Awaitable[Any]],
        lanes: Mapping[str, object],
        *,
        clock: Callable[[], float],
        max_bytes: int,
    ) -> None:
        """A loop.

        Args:
            function: the user's `callback(station_id, module_input)`.
            lanes: the stations that have a call which is ready or running.
            clock: Unix seconds.
            max_bytes: see `encode_result`.
        """
        self._function = function
        self._lanes = lanes
        self._clock = clock
        self._max_bytes = max_bytes

    def run(  # noqa: C901 - each function more is called for each station
        self, group: CallGroup[Context], most: int, until: float, cancelling: Callable[[], int]
    ) -> Stretch:
        """Run the next stations of a group, until one of them is not ordinary.

        One reading of the clock is the end of a callback, the beginning of the next, and what is compared with the
        burst's end and with the deadline, whose own clock is only read where that says so.

        Args:
            group: is open.
            most: stations.
            until: the `perf_counter` after which none begins.
            cancelling: returns whether the task in which this runs is being cancelled, as user code may have asked.
        """
        lanes, function, max_bytes, deadline = self._lanes, self._function, self._max_bytes, group.deadline
        make, unix, now = group.inputs(), self._clock(), perf_counter()
        limit = min(until, now + (deadline - unix))
        values: list[str | None] = []
        times = [now]
        end: Outcome | Suspended | Behind | None = None
        first, last = group.cursor, min(group.cursor + most, len(group.stations))
        for station_id, records in zip(group.stations[first:last], group.records[first:last], strict=True):
            if cancelling():
                break
            if now > limit:
                if now > until:
                    break
                if self._clock() > deadline:
                    end = LATE
                    break
            if station_id in lanes:
                end = BEHIND
                break
            try:
                awaitable = function(station_id, make(station_id, records))
                coroutine = awaitable if type(awaitable) is CoroutineType else awaited(awaitable)
            except BaseException as error:  # noqa: BLE001 - a user's sys.exit() is the failure of one station
                end = failed(error)
                break
            try:
                waiting = coroutine.send(None)
            except StopIteration as returned:
                value = returned.value
            except BaseException as error:  # noqa: BLE001 - as above
                end = failed(error)
                times.append(perf_counter())
                break
            else:
                end = Suspended(coroutine, waiting, now)
                break
            text = None
            if value is not None and (text := result_text(station_id, value, max_bytes)) is None:
                outcome = encode_result(station_id, value, max_bytes=max_bytes)
                if outcome.code is Code.FAILED:
                    end = outcome
                    times.append(perf_counter())
                    break
                text = outcome.value
            values.append(text)
            times.append(now := perf_counter())
        return Stretch(values, times, end)
