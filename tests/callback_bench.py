"""A callback runner on a bench, for its tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, Self

from app.callbacks.batch_runner import BatchCallbackRunner
from app.callbacks.executors.base import CallbackExecutor
from app.callbacks.executors.processes import ProcessExecutor
from app.callbacks.executors.threads import ThreadExecutor
from app.callbacks.loading import UserFunctions
from app.callbacks.outcome import EMPTY, Outcome
from app.callbacks.runner import CallbackRunner, ModuleInput, Reports, make_executor
from app.callbacks.scheduler import Call, CallGroup, Run
from app.settings import Settings
from tables.model.enums import Code
from tests.virtual_time import EPOCH, unix_now

ROUNDING = 1e-6
"""By how much (s) the difference of two clock readings may be less than what has passed: they are floats."""


class Bench:
    """A runner and what has come out of it; one for many stations in a call if it is given their `size`.

    Options are fields of `Settings` (the executor's `kind` and `workers` under these names), and what a runner takes.
    """

    def __init__(self, callback: Callable[..., Any] | ProcessExecutor, **options: Any) -> None:
        self.outcomes: list[tuple[Call[Any], Outcome]] = []
        self.times: list[float] = []
        self.strangers: list[str] = []
        self.errors: list[BaseException] = []  # what would end the worker
        self.reports: list[dict[str, Any]] = []  # what the loop was told of errors that nobody has caught
        self._changed = asyncio.Event()
        names = {"size": "batch_callback_size", "kind": "executor", "workers": "executor_workers"}
        given = {names.get(name, name): value for name, value in options.items()}
        settings = Settings(**{name: given.pop(name) for name in given.keys() & Settings.model_fields.keys()})
        parts: dict[str, Any] = {
            "module_input": lambda call: {"of": call.station_id},
            "clock": unix_now,
            "max_result_bytes": 16 * 1024 * 1024,
            "on_outcome": self._take,
            "on_error": self.errors.append,
        } | given
        parts["reports"] = Reports(parts.pop("observe", None), self.strangers.extend, parts.pop("observe_group", None))
        executor: CallbackExecutor
        if isinstance(callback, ProcessExecutor):
            executor = callback
        else:
            executor = make_executor(settings, UserFunctions(callback), max_result_bytes=0, on_death=lambda _: None)
        kind = BatchCallbackRunner if "size" in options else CallbackRunner
        self.runner: CallbackRunner[Any] = kind(executor, settings, **parts)

    def _take(self, call: Call[Any], outcome: Outcome) -> None:
        self.outcomes.append((call, outcome))
        self.times.append(asyncio.get_running_loop().time())
        self._changed.set()

    async def __aenter__(self) -> Bench:
        asyncio.get_running_loop().set_exception_handler(lambda _, report: self.reports.append(report))
        await self.runner.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.stop()
        assert (self.reports, self.errors) == ([], [])

    def submit(self, *stations: str, deadline: float | None = None) -> None:
        """Submit calls; the deadline is in seconds of the loop's time."""
        for station in stations:
            self.runner.submit(Call(station, None if deadline is None else EPOCH + deadline, None))

    def submit_group(self, *stations: Any, deadline: float = 1e6, size: int | None = None) -> BenchGroup:
        """Submit a group, stations or (station, context); the deadline as above. `size`: what it says it has."""
        group = BenchGroup(self, stations, EPOCH + deadline, len(stations) if size is None else size)
        self.runner.submit_group(group)
        return group

    async def until(self, count: int) -> dict[str, Outcome]:
        """Wait until so many outcomes have come, and return them all by station."""
        while len(self.outcomes) < count:
            self._changed.clear()
            await self._changed.wait()
        return {call.station_id: outcome for call, outcome in self.outcomes}

    def let_time_run_out(self, station: str) -> None:
        """Have the call for a station begun long ago: a busy machine may not yet have got it to where it hangs."""
        for run in self._runs(station):
            run.started -= 1e6

    def runs(self, station: str) -> bool:
        """Whether the callback runs for a station."""
        return bool(self._runs(station))

    def _runs(self, station: str) -> list[Run[Any]]:
        return [run for run in self.runner._limits.running if station in [call.station_id for call in run.calls]]

    def stations(self) -> list[str]:
        return [call.station_id for call, _ in self.outcomes]

    def busy(self) -> int:
        """Calls that run in threads or processes and are awaited."""
        return len(self.runner.executor.calls)

    def overtime(self) -> int:
        """Callbacks that have outlived their batch's deadline and run on."""
        return len(self.runner._limits.overtime)

    def zombies(self) -> int:
        """Callbacks given up that have not ended: ignored cancellations, hung threads, processes not yet killed."""
        executor = self.runner.executor
        ignored = sum(run is not None and not run.live for run in self.runner._tasks.values())
        if isinstance(executor, ProcessExecutor):
            return ignored + list(executor._busy.values()).count(None)
        if isinstance(executor, ThreadExecutor):
            return ignored + max(0, executor._threads - executor._idle - len(executor.calls))
        return ignored


class Others:
    """Something else that wants the event loop all the time; `turns` is how often it has had it."""

    turns = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)


class BenchGroup(CallGroup[Any]):
    """A group whose outcomes go to a bench like those of calls."""

    def __init__(self, bench: Bench, stations: Sequence[Any], deadline: float, size: int) -> None:
        super().__init__(size, deadline)
        self.bench = bench
        self.of = [station if isinstance(station, tuple) else (station, None) for station in stations]
        self.opened = 0
        self.taken: list[int] = []  # results that came together
        self.failing = False

    def open(self) -> None:
        self.opened += 1
        self.stations, self.records = [station for station, _ in self.of], [context for _, context in self.of]

    def inputs(self) -> Callable[[str, Any], ModuleInput]:
        return lambda station, context: self.bench.runner._module_input(Call(station, self.deadline, context))

    def take(self, first: int, values: Sequence[str | None], times: Sequence[float]) -> None:
        if self.failing:
            raise OSError
        assert len(times) > len(values)
        self.taken.append(len(values))
        for index, value in enumerate(values, first):
            self.bench._take(self.call(index), EMPTY if value is None else Outcome(Code.RESULT, value))

    def call(self, index: int) -> Call[Any]:
        return Call(self.stations[index], self.deadline, self.records[index])


def value_of(outcome: Outcome) -> Any:
    assert outcome.code is Code.RESULT, outcome
    assert outcome.value is not None
    return json.loads(outcome.value)


def error_of(outcome: Outcome) -> str:
    assert outcome.code is Code.FAILED, outcome
    assert outcome.value is not None
    return outcome.value


async def condition(holds: Callable[[], bool]) -> None:
    """Let the loop run until threads have made it so."""
    while not holds():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)


async def echo(station_id: str, module_input: ModuleInput) -> ModuleInput:
    return module_input


async def hang(station_id: str, module_input: ModuleInput) -> None:
    await asyncio.Event().wait()


def leading_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "callbacks"]
