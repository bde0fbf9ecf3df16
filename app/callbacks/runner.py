"""Runs the user's callback for each call: side by side, in order for each station, and within its time limits.

In which tasks callbacks run is the leader's affair (app/callbacks/scheduler.py).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from time import perf_counter
from types import CoroutineType
from typing import Any

from app.callbacks.executors.base import CallbackExecutor
from app.callbacks.limits import Call, Run, TimeLimits, Work, bare_of
from app.callbacks.outcome import Outcome, encode_result, failed, out_of_time, skipped
from app.callbacks.retries import Retries
from app.callbacks.scheduler import Leader
from app.callbacks.suspension import Suspended, awaited, ended, stack_of

__all__ = ["LATE", "Call", "CallbackRunner", "ModuleInput"]

ModuleInput = dict[str, Any]

_CANCEL_GRACE = 0.5  # seconds that cancelled callbacks have for cleaning up before the runner goes on without them
_KILL_GRACE = 0.25

LATE = skipped("the deadline had passed before the callback started")


class CallbackRunner:
    """Turns calls into outcomes: exactly one for each, on the event loop, unless `cancel_all` comes first."""

    def __init__(
        self,
        executor: CallbackExecutor,
        *,
        module_input: Callable[[Call], ModuleInput],
        on_outcome: Callable[[Call, Outcome], None],
        clock: Callable[[], float],
        concurrency: int = 64,
        station_timeout: float = 30.0,
        overtime_max: int = 64,
        max_result_bytes: int = 16 * 1024 * 1024,
        retries: int = 0,
        observe: Callable[[str, float], None] | None = None,
    ) -> None:
        """A runner that is not started.

        Args:
            executor: what the user's `callback(station_id, module_input)` is called through; the runner closes it.
            module_input: makes the second argument, right before the callback starts.
            on_outcome: gets each call with its outcome; it must neither block nor raise.
            clock: Unix seconds.
            concurrency: callbacks at once, if the executor is made for so many, those in overtime not counted.
            station_timeout: seconds from the start of a callback, over all retries, after which it is cancelled and its
                station failed.
            overtime_max: callbacks that may run on after their batch's deadline; beyond, the oldest is cancelled.
            max_result_bytes: results whose JSON is longer make their station failed.
            retries: further calls of a callback that raises. Between two calls it keeps its place.
            observe: gets the station of each callback that has run, and how many seconds it took.
        """
        self._places = min(concurrency, executor.places or concurrency)
        self._executor = executor
        self._function = executor.function
        self._retries = Retries(retries, within=station_timeout) if retries else None
        self._module_input = module_input
        self._on_outcome = on_outcome
        self._clock = clock
        self._max_bytes = max_result_bytes
        self._observe = observe

        self._time: Callable[[], float] = perf_counter  # the loop's, once there is one
        self._pending = 0
        self._ready: deque[Call] = deque()
        # The stations that have a call which is ready or running, each with its calls that must wait for that one.
        self._lanes: dict[str, deque[Call] | None] = {}
        self._leader = Leader(
            self._ready,
            may_begin=self._has_place if executor.expect is None else self._has_ready_place,
            begin=self._begin,
            finish=self._finish,
            settle=self._settle_all,
        )
        self._limits = TimeLimits(
            clock=clock,
            station_timeout=station_timeout,
            overtime_max=overtime_max,
            give_up=self._give_up,
            places_free=self._leader.wake,
        )
        self._running, self._overtime = self._limits.running, self._limits.overtime
        self.begun: Work | None = None  # whose callback took its first step last: for app/worker/loop_watchdog.py

    @property
    def pending(self) -> int:
        """Calls that have no outcome yet, queued or running."""
        return self._pending

    @property
    def upcoming(self) -> Call | None:
        """The call that starts next; None when none waits for a place or for its turn."""
        return self._ready[0] if self._ready else None

    @property
    def running(self) -> int:
        """Callbacks that have started and have no outcome yet, those in overtime too."""
        return len(self._running)

    @property
    def overtime(self) -> int:
        """Callbacks that have outlived their batch's deadline and run on."""
        return len(self._overtime)

    @property
    def zombies(self) -> int:
        """Callbacks given up that have not ended: coroutines that ignore their cancellation, hung threads."""
        return sum(run is not None and not run.live for run in self._leader.tasks.values()) + self._executor.abandoned

    @property
    def busy_workers(self) -> int:
        """Threads or processes in which a callback runs whose outcome is still awaited."""
        return self._executor.busy

    @property
    def worker_calls(self) -> frozenset[object]:
        """Those callbacks, an object for each, to tell one from another."""
        return self._executor.calls

    async def start(self) -> None:
        """Make the runner ready for calls on the loop that runs now.

        Raises:
            FunctionError: the callback can't be found where it is to run.
        """
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self._leader.start(loop)
        await self._executor.start(self._leader.wake)

    async def stop(self) -> None:
        """Cancel everything, let go of all threads and processes; within a second, whatever the callbacks do."""
        self._leader.loop = None
        try:
            await self.cancel_all()
        finally:
            for run in self._leader.tasks.values():
                if run is not None:
                    run.kill()
            self._executor.close()
        await ended(self._leader.tasks, _KILL_GRACE)
        await self._executor.closed()

    def submit(self, call: Call) -> None:
        """Queue a call; its outcome goes to `on_outcome`, at the earliest when the loop has had its turn."""
        leader = self._leader
        if leader.loop is None:
            message = "the callback runner is not started"
            raise RuntimeError(message)
        self._pending += 1
        station_id = call.station_id
        if station_id not in self._lanes:
            self._lanes[station_id] = None
            self._ready.append(call)
            if leader.task is None:
                leader.wake()
        elif (lane := self._lanes[station_id]) is None:
            self._lanes[station_id] = deque((call,))
        else:
            lane.append(call)

    async def cancel_all(self) -> None:
        """Forget what is queued and cancel what runs: no outcome of a call submitted before this comes after it.

        It waits for the cancelled callbacks to clean up, but not for long; new calls may be submitted meanwhile.
        """
        cancelled = {run.task for run in self._running}
        for run in self._running:
            run.cancel()
        self._limits.clear()
        self._ready.clear()
        self._lanes.clear()
        if self._executor.expect is not None:
            self._executor.expect(0)
        self._pending = 0
        await ended(cancelled, _CANCEL_GRACE)

    def _has_place(self) -> bool:
        return len(self._running) - len(self._overtime) < self._places

    def _has_ready_place(self) -> bool:
        """The same where a call may have to wait until there is something to run it in: it has not begun then."""
        free = self._places - len(self._running) + len(self._overtime)
        expect = self._executor.expect
        return free > 0 and (expect is None or expect(min(free, len(self._ready))))

    def _begin(self, task: asyncio.Task[None], now: float) -> Run | None:
        """Take the first step of the next call's callback, for most the only one; returned is what has suspended."""
        call = self._ready.popleft()
        if call.deadline is not None and self._clock() > call.deadline:
            self._settle(call, LATE)
            return None
        self.begun = call
        started = self._time()
        outcome: Outcome
        try:
            function = self._encoding(call) if self._executor.encoded else self._function
            if self._retries is None:
                awaitable = function(call.station_id, self._module_input(call))
            else:
                awaitable = self._retries.call(function, lambda: (call.station_id, self._module_input(call)))
            coroutine: Coroutine[Any, Any, Any] = awaitable if type(awaitable) is CoroutineType else awaited(awaitable)
        except BaseException as error:  # noqa: BLE001 - a user's sys.exit() is the failure of one station
            self._settle(call, failed(error))
            return None
        try:
            waiting = coroutine.send(None)
        except StopIteration as stop:
            outcome = self._outcome(call, stop.value)
        except BaseException as error:  # noqa: BLE001 - as above
            outcome = failed(error)
        else:
            run: Run = Suspended(call, coroutine, waiting, task, started)
            self._limits.add(run)
            return run
        if self._observe is not None:
            self._observe(call.station_id, perf_counter() - now)
        self._settle(call, outcome)
        return None

    def _encoding(self, work: Work) -> Callable[..., Awaitable[Any]]:
        """What calls the callback where outcomes are made too: it has to know how."""
        bare = bare_of(work)
        return partial(self._function, bare=bare) if bare else self._function

    async def _finish(self, run: Run) -> Sequence[Outcome] | None:
        """Take the other steps of a callback that has suspended; None: it has been given up or cancelled meanwhile."""
        outcomes: Sequence[Outcome]
        try:
            value = await run
        except BaseException as error:  # noqa: BLE001 - as above
            outcomes = [failed(error)] * len(run.call.calls)
        else:
            outcomes = self._outcomes(run.call, value) if run.live else ()
        if not run.live:
            return None
        self._leave(run)
        return outcomes

    def _outcomes(self, work: Work, value: Any) -> Sequence[Outcome]:
        """What the value that the callback has returned means for each call."""
        if self._executor.encoded:
            encoded: Sequence[Outcome] = value
            return encoded
        return [self._outcome(call, value) for call in work.calls]

    def _outcome(self, call: Call, value: Any) -> Outcome:
        return encode_result(None if call.bare else call.station_id, value, max_bytes=self._max_bytes)

    def _leave(self, run: Run) -> None:
        run.live = False
        self._limits.remove(run)
        self._timed(run.call, self._time() - run.started)

    def _timed(self, work: Work, seconds: float) -> None:
        if self._observe is not None:
            for call in work.calls:
                self._observe(call.station_id, seconds)

    def _settle_all(self, work: Work, outcomes: Sequence[Outcome]) -> None:
        for call, outcome in zip(work.calls, outcomes, strict=True):
            self._settle(call, outcome)

    def _settle(self, call: Call, outcome: Outcome) -> None:
        """Report the outcome, and let the station's next call come up."""
        self._pending -= 1
        if lane := self._lanes[call.station_id]:
            self._ready.append(lane.popleft())
        else:
            del self._lanes[call.station_id]
        try:
            self._on_outcome(call, outcome)
        except Exception as error:  # noqa: BLE001 - a bug of ours, not to be taken for the end of other stations
            message = f"the outcome of station {call.station_id} could not be taken"
            asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})

    def _give_up(self, run: Run, reason: str) -> None:
        """End a callback that has run out of time. Its outcome doesn't wait for it to listen."""
        stack = self._executor.give_up(run.waiting) or stack_of(run.coroutine)
        self._leave(run)
        run.cancel()  # it stays in its task, a zombie, until it has ended
        self._settle_all(run.call, [out_of_time(reason, stack)] * len(run.call.calls))
