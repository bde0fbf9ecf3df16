"""Runs the user's callback for each call: side by side, in order for each station, and within its time limits.

In which tasks callbacks run is the scheduler's affair (app/callbacks/scheduler.py).
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Generic

from app.callbacks.executors.base import CallbackExecutor, LoopExecutor
from app.callbacks.executors.child_calls import ChildJob
from app.callbacks.executors.processes import ProcessExecutor, available_cores
from app.callbacks.executors.threads import ThreadExecutor
from app.callbacks.groups import BEHIND, LATE, GroupLoop, Stretch, Suspended
from app.callbacks.limits import Retries, TimeLimits
from app.callbacks.loading import UserFunctions, is_async
from app.callbacks.outcome import Outcome, encode_result, failed, out_of_time
from app.callbacks.scheduler import Call, CallGroup, Context, Run, Scheduler
from app.callbacks.tasks import contain_exits, coroutine_of, ended, stack_of, user_context
from app.observability.log_lines import Line
from app.settings import Settings
from app.settings.enums import Executor, LogFormat

ModuleInput = dict[str, Any]

_CANCEL_GRACE = 0.5  # seconds that cancelled callbacks have for cleaning up before the runner goes on without them
_KILL_GRACE = 0.25


@dataclass(frozen=True, slots=True)
class Reports:
    """Outlets for what a runner tells beside outcomes.

    Attributes:
        observe: gets the station of each callback that has run, and how many seconds it took.
        on_strangers: gets the ids in what a callback for many stations has returned that it was not called for.
        observe_group: gets the stations of callbacks that ran in a row as a group, and the `perf_counter` at the
            beginning of the first and at the end of each.
    """

    observe: Callable[[str, float], None] | None = None
    on_strangers: Callable[[list[str]], None] | None = None
    observe_group: Callable[[Sequence[str], Sequence[float]], None] | None = None


@dataclass(slots=True, eq=False)
class _Unsorted(Generic[Context]):
    """A call that waits behind a group."""

    call: Call[Context]


def make_executor(
    settings: Settings, functions: UserFunctions, *, max_result_bytes: int, on_death: Callable[[str], None]
) -> CallbackExecutor:
    """Make the executor that `AGG_EXECUTOR` asks for; for `on_death` see `ProcessExecutor`.

    Raises:
        FunctionError: the callback has no name under which a process can import it.
    """
    callback, kind, workers = functions.callback, settings.executor, settings.executor_workers
    if kind is Executor.AUTO and is_async(callback):
        return LoopExecutor(callback)
    if kind is not Executor.PROCESS:
        own_loops = kind is Executor.THREAD
        return ThreadExecutor(callback, workers=workers or settings.concurrency, own_loops=own_loops)
    job = ChildJob(
        list(sys.path),
        functions.path_for_processes(),
        functions.setting,
        functions.many,
        max_result_bytes,
        logging.getLogger().level,
        settings.log_format is LogFormat.JSON,
        Line.PRINTED.texts[settings.log_language],
    )
    return ProcessExecutor(job, keep=min(settings.concurrency, workers or available_cores()), on_death=on_death)


class CallbackRunner(Scheduler[Context]):
    """Turns calls into outcomes: exactly one for each, on the event loop, unless `cancel_all` comes first.

    Attributes:
        executor: what the callback is called through; it knows which calls are in threads or processes.
        places: calls that can run at once.
        pending: calls that have no outcome yet, queued or running.
        begun: the calls whose callback took its first step last, but for those of groups; the loop watchdog reads it
            from another thread.
    """

    def __init__(
        self,
        executor: CallbackExecutor,
        settings: Settings,
        *,
        module_input: Callable[[Call[Context]], ModuleInput],
        on_outcome: Callable[[Call[Context], Outcome], None],
        on_error: Callable[[BaseException], None],
        clock: Callable[[], float],
        max_result_bytes: int,
        reports: Reports | None = None,
    ) -> None:
        """A runner that is not started.

        Args:
            executor: what the user's `callback(station_id, module_input)` is called through; the runner closes it.
            settings: `AGG_CONCURRENCY`: callbacks at once, if the executor is made for so many, those in overtime not
                counted; and limits and retries, see `TimeLimits` and `Retries`. A callback that is retried keeps its
                place between two calls.
            module_input: makes the second argument, right before the callback starts.
            on_outcome: gets each call with its outcome; it must not block.
            on_error: gets what `on_outcome` has raised, or code of ours: a call may have lost its outcome. It must end
                the worker, so that nothing of it is acknowledged.
            clock: Unix seconds.
            max_result_bytes: results whose JSON is longer make their station failed.
            reports: what else it tells.
        """
        super().__init__(on_error)
        reports = reports or Reports()
        self.executor = executor
        self.begun: Sequence[Call[Context]] = ()
        self._settings = settings
        self._function = executor.function
        self._encoded = executor.encoded
        self._expect = executor.expect
        self._places = min(settings.concurrency, executor.places or settings.concurrency)
        self.places = self._places * self._calls_in_a_place(settings)
        self._retries = Retries(settings) if settings.retries else None
        self._module_input = module_input
        self._on_outcome = on_outcome
        self._clock = clock
        self._max_bytes = max_result_bytes
        self._observe = reports.observe
        self._observe_group = reports.observe_group
        self._on_strangers = reports.on_strangers

        self._time: Callable[[], float] = perf_counter  # the loop's, once there is one
        self.pending = 0
        # The stations that have a call which is ready or running, each with its calls that must wait for that one.
        self._lanes: dict[str, deque[Call[Context]] | None] = {}
        # How much of the queue is as it was submitted, groups and calls behind them: in the lanes it is not yet.
        self._unsorted = 0
        self._groups: GroupLoop[Context] = GroupLoop(
            self._function, self._lanes, clock=clock, max_bytes=max_result_bytes
        )
        self._limits: TimeLimits[Context] = TimeLimits(
            settings, clock=clock, give_up=self._give_up, places_free=self._wake, on_error=on_error
        )
        self._running, self._overtime = self._limits.running, self._limits.overtime
        self._ending: set[Run[Context]] = set()  # out of time, and about to say where they stand

    @property
    def upcoming(self) -> object | None:
        """The call, or the group of calls, that starts next; None when none waits for a place or for its turn."""
        return self._ready[0] if self._ready else None

    @property
    def takes_groups(self) -> bool:
        """Return whether `submit_group` may be used: the callback runs on the event loop, for one station, and once."""
        return isinstance(self.executor, LoopExecutor) and self._retries is None

    @property
    def running(self) -> int:
        """Callbacks that have started and have no outcome yet, those in overtime too."""
        return len(self._running)

    @staticmethod
    def _calls_in_a_place(settings: Settings) -> int:  # noqa: ARG004 - others have to ask them
        return 1

    @property
    def ready(self) -> int:
        """Calls that wait for a place, or for their turn in a group that nobody has looked into."""
        return sum([one.count - one.cursor if isinstance(one, CallGroup) else 1 for one in self._ready])

    @property
    def placed(self) -> int:
        """Calls that have a place."""
        return sum([len(run.calls) for run in self._running if run not in self._overtime])

    def queued(self, station_id: str) -> int:
        """Return how many calls of a station have no outcome yet."""
        if station_id not in self._lanes:
            return 0
        return 1 + len(self._lanes[station_id] or ())

    def lasting(self, seconds: float) -> set[str]:
        """Return the stations whose call has run for longer than that, those in overtime too."""
        since = self._time() - seconds
        return {call.station_id for run in self._running if run.started < since for call in run.calls}

    async def start(self) -> None:
        """Make the runner ready for calls on the loop that runs now.

        Raises:
            FunctionError: the callback can't be found where it is to run.
        """
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        contain_exits(self._loop)
        self._surroundings = user_context()
        await self.executor.start(self._wake)

    async def stop(self) -> None:
        """Cancel everything, let go of all threads and processes; within a second, whatever the callbacks do."""
        self._loop = None
        try:
            await self.cancel_all()
        finally:
            for run in self._tasks.values():
                if run is not None:
                    run.kill()
            self.executor.close()
        await ended(self._tasks, _KILL_GRACE)
        await self.executor.closed()

    def submit(self, call: Call[Context]) -> None:
        """Queue a call; its outcome goes to `on_outcome`, at the earliest when the loop has had its turn."""
        self._queue(1)
        if self._unsorted:  # of the station there may be one before it, in a group that nobody has looked into
            self._unsorted += 1
            self._ready.append(_Unsorted(call))
        elif self._enter(call):
            self._ready.append(call)
        if self._leader is None:
            self._wake()

    def submit_group(self, group: CallGroup[Context]) -> None:
        """Queue a group behind all that was submitted before; what most of its stations come to goes to the group."""
        self._queue(group.count)
        self._unsorted += 1
        self._ready.append(group)
        if self._leader is None:
            self._wake()

    def _queue(self, calls: int) -> None:
        if self._loop is None:
            message = "the callback runner is not started"
            raise RuntimeError(message)
        self.pending += calls

    def _enter(self, call: Call[Context]) -> bool:
        """Return whether the call is its station's first; it goes behind the station's others if not."""
        station_id = call.station_id
        if station_id not in self._lanes:
            self._lanes[station_id] = None
            return True
        if (lane := self._lanes[station_id]) is None:
            self._lanes[station_id] = deque((call,))
        else:
            lane.append(call)
        return False

    async def cancel_all(self) -> None:
        """Forget what is queued and cancel what runs: no outcome of a call submitted before this comes after it.

        It waits for the cancelled callbacks to clean up, but not for long; new calls may be submitted meanwhile.
        """
        given_up = [*self._running, *self._ending]
        for run in given_up:
            run.cancel()
        self._limits.clear()
        self._ending.clear()
        self._ready.clear()
        self._lanes.clear()
        self._unsorted = 0
        if self._expect is not None:
            self._expect(0)
        self.pending = 0
        await ended({run.task for run in given_up}, _CANCEL_GRACE)

    # -- a callback's first step -------------------------------------------------------------------------------------

    def _may_begin(self) -> bool:
        if (free := self._places - len(self._running) + len(self._overtime)) <= 0:
            return False
        # A call that must wait until there is something to run it in has not begun, and its time does not run.
        return self._expect is None or self._expect(min(free, len(self._ready)))

    def _begin(self, task: asyncio.Task[None], now: float) -> Run[Context] | None:
        """Take the first step of the next call's callback.

        Most callbacks end in it. Then the call is settled, and None returned; otherwise the run that has suspended. A
        call whose deadline has passed, or whose arguments can't be made, is settled without a step. Of a group the next
        stations take theirs, up to the first that suspends or to the end of the burst.
        """
        first = self._ready[0]
        if isinstance(first, CallGroup):
            return self._begin_group(first, task)
        if (call := self._next_call()) is None:
            return None
        if call.deadline is not None and self._clock() > call.deadline:
            self._settle(call, LATE)
            return None
        self.begun = calls = (call,)
        started = self._time()
        try:
            function = self._encoding(calls) if self._encoded else self._function
            if self._retries is None:
                coroutine = coroutine_of(function(call.station_id, self._module_input(call)))
            else:
                coroutine = self._retries.call(function, lambda: (call.station_id, self._module_input(call)))
        except BaseException as error:  # noqa: BLE001 - a user's sys.exit() is the failure of one station
            self._settle(call, failed(error))
            return None
        try:
            waiting = coroutine.send(None)
        except StopIteration as returned:
            outcome = encode_result(None if call.bare else call.station_id, returned.value, max_bytes=self._max_bytes)
        except BaseException as error:  # noqa: BLE001 - as above
            outcome = failed(error)
        else:
            run = Run(calls, call.deadline, coroutine, waiting, task, started)
            self._limits.add(run)
            return run
        call.seconds = perf_counter() - now
        if self._observe is not None:
            self._observe(call.station_id, call.seconds)
        self._settle(call, outcome)
        return None

    def _next_call(self) -> Call[Context] | None:
        """Take the call at the head of the queue; None: it goes behind others of its station."""
        first: Call[Context] | _Unsorted[Context] = self._ready.popleft()
        if not isinstance(first, _Unsorted):
            return first
        self._unsorted -= 1
        return first.call if self._enter(first.call) else None

    def _begin_group(self, group: CallGroup[Context], task: asyncio.Task[None]) -> Run[Context] | None:
        """Take the first steps of the next stations of the group at the head of the queue; settle what ends in them.

        Return the first that suspends. The group keeps its place in the queue until all of its stations have begun.
        """
        if not group.is_open:
            group.is_open = True
            group.open()
            self.pending -= group.count - len(group.stations)
        self.begun = ()
        loop_time, counter = self._time(), perf_counter()
        run = None
        while group.cursor < len(group.stations) and self._left >= 0 and run is None:
            stretch = self._groups.run(group, self._left + 1, self._until, task.cancelling)
            self._left -= len(stretch.times)
            self._hand_on(group, stretch)
            if (end := stretch.end) is None:
                break
            call = group.call(group.cursor)
            group.cursor += 1
            if end is BEHIND:
                self._enter(call)
            elif isinstance(end, Suspended):
                self._lanes[call.station_id] = None
                started = min(self._time(), loop_time + end.began - counter)
                run = Run((call,), call.deadline, end.coroutine, end.waiting, task, started)
                self._limits.add(run)
            else:
                if len(stretch.times) > len(stretch.values) + 1:  # it has run
                    call.seconds = stretch.times[-1] - stretch.times[-2]
                self._report(call, end)
        if group.cursor >= len(group.stations):
            self._ready.popleft()
            self._unsorted -= 1
        return run

    def _hand_on(self, group: CallGroup[Context], stretch: Stretch) -> None:
        """Hand the ordinary results of a stretch on, and the durations."""
        first, timed = group.cursor, len(stretch.times) - 1
        group.cursor += len(stretch.values)
        self.pending -= len(stretch.values)
        if timed and self._observe_group is not None:
            self._observe_group(group.stations[first : first + timed], stretch.times)
        if stretch.values:
            try:
                group.take(first, stretch.values, stretch.times)
            except Exception as error:  # noqa: BLE001 - a bug of ours: the outcomes are lost
                self._on_error(error)

    def _encoding(self, calls: Sequence[Call[Context]]) -> Callable[..., Awaitable[Any]]:
        """The function of an executor that makes the outcomes itself: it has to know which of them are bare."""
        bare = bare_stations(calls)
        return partial(self._function, bare=bare) if bare else self._function

    # -- its other steps, and its end --------------------------------------------------------------------------------

    def _finish(
        self, run: Run[Context], value: Any = None, error: BaseException | None = None
    ) -> Sequence[Outcome] | None:
        """Take what a callback that had suspended has come to; None: it has been given up or cancelled meanwhile."""
        if not run.live:
            return None
        outcomes = self._outcomes(run.calls, value) if error is None else [failed(error)] * len(run.calls)
        self._leave(run)
        return outcomes

    def _outcomes(self, calls: Sequence[Call[Context]], value: Any) -> Sequence[Outcome]:
        """The outcome of each call of a run that has returned the value."""
        if self._encoded:
            encoded: Sequence[Outcome] = value
            return encoded
        return [
            encode_result(None if call.bare else call.station_id, value, max_bytes=self._max_bytes) for call in calls
        ]

    def _leave(self, run: Run[Context]) -> None:
        run.live = False
        self._limits.remove(run)
        self._timed(run.calls, self._time() - run.started)

    def _timed(self, calls: Sequence[Call[Context]], seconds: float) -> None:
        for call in calls:
            call.seconds = seconds
            if self._observe is not None:
                self._observe(call.station_id, seconds)

    def _settle_all(self, calls: Sequence[Call[Context]], outcomes: Sequence[Outcome]) -> None:
        for call, outcome in zip(calls, outcomes, strict=True):
            self._settle(call, outcome)

    def _settle(self, call: Call[Context], outcome: Outcome) -> None:
        """Let the station's next call come up, and report the outcome."""
        if lane := self._lanes[call.station_id]:
            self._ready.append(lane.popleft())
        else:
            del self._lanes[call.station_id]
        self._report(call, outcome)

    def _report(self, call: Call[Context], outcome: Outcome) -> None:
        self.pending -= 1
        try:
            self._on_outcome(call, outcome)
        except Exception as error:  # noqa: BLE001 - a bug of ours: the outcome is lost
            self._on_error(error)

    def _give_up(self, run: Run[Context], reason: str) -> None:
        """End a callback that has run out of time. Its outcome waits until it has said where it stands, for no more."""
        self._leave(run)
        self._ending.add(run)
        try:
            self.executor.give_up(run.waiting, partial(self._end, run, reason))
        except Exception:  # noqa: BLE001 - to print a stack, source is read in ways that modules may replace
            self._end(run, reason, None)

    def _end(self, run: Run[Context], reason: str, stack: str | None) -> None:
        if run not in self._ending:  # it was cancelled meanwhile
            return
        self._ending.discard(run)
        try:
            outcome = out_of_time(reason, stack or _stack_of(run))
            run.cancel()  # it stays in its task, a zombie, until it has ended
            self._settle_all(run.calls, [outcome] * len(run.calls))
        except Exception as error:  # noqa: BLE001 - raised into the event loop it would only be logged
            self._on_error(error)


def _stack_of(run: Run[Any]) -> str:
    """Return where a run has suspended; empty where it can't be printed."""
    try:
        return stack_of(run.coroutine)
    except Exception:  # noqa: BLE001 - as above
        return ""


def bare_stations(calls: Sequence[Call[Any]]) -> frozenset[str]:
    """Return the stations of those calls that are bare."""
    return frozenset([call.station_id for call in calls if call.bare])
