"""Runs a callback that takes many stations at once: whatever is ready when there is a place for a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from time import perf_counter
from types import CoroutineType
from typing import Any

from app.callbacks.batch_results import encode_results
from app.callbacks.executors.base import CallbackExecutor
from app.callbacks.limits import Call, Run, Work, bare_of
from app.callbacks.outcome import Outcome, failed
from app.callbacks.runner import LATE, CallbackRunner, ModuleInput
from app.callbacks.scheduler import BURST_CALLS
from app.callbacks.suspension import Suspended, awaited

__all__ = ["BatchCallbackRunner", "Bundle"]


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """Calls of different stations that one run of the callback is for.

    Attributes:
        calls: of one station each, maybe from several batches.
        deadline: Unix seconds, the earliest of theirs; None where none has one.
    """

    calls: Sequence[Call]
    deadline: float | None


class BatchCallbackRunner(CallbackRunner):
    """A `CallbackRunner` for `callback({station_id: module_input})`, which returns `{station_id: result}`.

    It never waits for more stations to come. A place, a timeout and overtime are those of a whole call: what ends it
    fails all of its stations.
    """

    def __init__(
        self, executor: CallbackExecutor, *, size: int, on_strangers: Callable[[list[str]], None], **options: Any
    ) -> None:
        """A runner that is not started.

        Args:
            executor: what the callback is called through.
            size: stations in one call, at most.
            on_strangers: gets ids in what the callback has returned that it was not called for.
            options: as `CallbackRunner` takes them.
        """
        super().__init__(executor, **options)
        self._size = size
        self._on_strangers = on_strangers

    def _begin(self, task: asyncio.Task[None], now: float) -> Run | None:
        inputs: dict[str, ModuleInput] = {}
        calls = self._take(inputs)
        if not calls:
            return None
        deadlines = [call.deadline for call in calls if call.deadline is not None]
        bundle = Bundle(calls, min(deadlines, default=None))
        self.begun = bundle
        started = self._time()
        try:
            waiting = (coroutine := self._coroutine(bundle, inputs)).send(None)
        except StopIteration as stop:
            outcomes = self._outcomes(bundle, stop.value)
        except BaseException as error:  # noqa: BLE001 - a user's sys.exit() is no failure of the worker
            outcomes = [failed(error)] * len(calls)
        else:
            run: Run = Suspended(bundle, coroutine, waiting, task, started)
            self._limits.add(run)
            return run
        self._timed(bundle, perf_counter() - now)
        self._settle_all(bundle, outcomes)
        return None

    def _take(self, inputs: dict[str, ModuleInput]) -> list[Call]:
        """Take what is ready, and settle what does not come to a run of the callback."""
        calls: list[Call] = []
        now, left = self._clock(), self._size + BURST_CALLS
        while self._ready and len(calls) < self._size and left:
            left -= 1
            call = self._ready.popleft()
            if call.deadline is not None and now > call.deadline:
                self._settle(call, LATE)
                continue
            try:
                inputs[call.station_id] = self._module_input(call)
            except BaseException as error:  # noqa: BLE001 - it fails this station, not those beside it
                self._settle(call, failed(error))
            else:
                calls.append(call)
        return calls

    def _coroutine(self, bundle: Bundle, inputs: dict[str, ModuleInput]) -> Coroutine[Any, Any, Any]:
        function = self._encoding(bundle) if self._executor.encoded else self._function
        if self._retries is not None:
            first = [inputs]
            return self._retries.call(function, lambda: (first.pop() if first else self._inputs(bundle),))
        awaitable = function(inputs)
        return awaitable if type(awaitable) is CoroutineType else awaited(awaitable)

    def _inputs(self, bundle: Bundle) -> dict[str, ModuleInput]:
        return {call.station_id: self._module_input(call) for call in bundle.calls}

    def _outcomes(self, work: Work, value: Any) -> Sequence[Outcome]:
        outcomes: Sequence[Outcome]
        if self._executor.encoded:
            outcomes, strangers = value
        else:
            stations = [call.station_id for call in work.calls]
            outcomes, strangers = encode_results(stations, value, max_bytes=self._max_bytes, bare=bare_of(work))
        if strangers:
            self._on_strangers(strangers)
        return outcomes
