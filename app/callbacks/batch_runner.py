"""Runs the user's callback for many stations in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from time import perf_counter
from typing import Any

from app.callbacks.groups import LATE
from app.callbacks.outcome import Outcome, encode_results, failed
from app.callbacks.runner import CallbackRunner, ModuleInput, bare_stations
from app.callbacks.scheduler import BURST_CALLS, Call, Context, Run
from app.callbacks.tasks import coroutine_of
from app.settings import Settings


class BatchCallbackRunner(CallbackRunner[Context]):
    """A `CallbackRunner` for `callback({station_id: module_input})`, which returns `{station_id: result}`.

    It never waits for more stations to come: what is ready goes into a call when there is a place for one, up to
    `AGG_BATCH_CALLBACK_SIZE` stations. A place, a timeout and overtime are those of a whole call: what ends it fails
    all of its stations.
    """

    @property
    def takes_groups(self) -> bool:
        """Return False: stations are put together here, as many as are ready."""
        return False

    @staticmethod
    def _calls_in_a_place(settings: Settings) -> int:
        return settings.batch_callback_size

    def _begin(self, task: asyncio.Task[None], now: float) -> Run[Context] | None:
        inputs: dict[str, ModuleInput] = {}
        calls = self._take(inputs)
        if not calls:
            return None
        self.begun = calls
        started = self._time()
        try:
            coroutine = self._coroutine(calls, inputs)
        except BaseException as error:  # noqa: BLE001 - a user's sys.exit() is no failure of the worker
            self._settle_all(calls, [failed(error)] * len(calls))
            return None
        try:
            waiting = coroutine.send(None)
        except StopIteration as returned:
            outcomes = self._outcomes(calls, returned.value)
        except BaseException as error:  # noqa: BLE001 - as above
            outcomes = [failed(error)] * len(calls)
        else:
            deadlines = [call.deadline for call in calls if call.deadline is not None]
            run = Run(calls, min(deadlines, default=None), coroutine, waiting, task, started)
            self._limits.add(run)
            return run
        self._timed(calls, perf_counter() - now)
        self._settle_all(calls, outcomes)
        return None

    def _take(self, inputs: dict[str, ModuleInput]) -> list[Call[Context]]:
        """Take what is ready, and settle what does not come to a run of the callback."""
        calls: list[Call[Context]] = []
        now, size = self._clock(), self._settings.batch_callback_size
        left = size + BURST_CALLS
        while self._ready and len(calls) < size and left:
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

    def _coroutine(self, calls: Sequence[Call[Context]], inputs: dict[str, ModuleInput]) -> Coroutine[Any, Any, Any]:
        function = self._encoding(calls) if self._encoded else self._function
        if self._retries is not None:
            first = [inputs]
            return self._retries.call(function, lambda: (first.pop() if first else self._inputs(calls),))
        return coroutine_of(function(inputs))

    def _inputs(self, calls: Sequence[Call[Context]]) -> dict[str, ModuleInput]:
        return {call.station_id: self._module_input(call) for call in calls}

    def _outcomes(self, calls: Sequence[Call[Context]], value: Any) -> Sequence[Outcome]:
        outcomes: Sequence[Outcome]
        if self._encoded:
            outcomes, strangers = value
        else:
            stations = [call.station_id for call in calls]
            outcomes, strangers = encode_results(stations, value, max_bytes=self._max_bytes, bare=bare_stations(calls))
        if strangers and self._on_strangers is not None:
            self._on_strangers(strangers)
        return outcomes
