"""An error at any call between the callback runner and the gatherer: each event is acknowledged, or the worker ends.

DESIGN 4's invariants 1, 2 and 4. An error is injected when a function of the application is called, in turn for each
function that a run comes by, at its first call, at its last, and at all of them.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import app
from app.testing import TopologyTestDriver
from tests.functional.plant import DIRECT, TOPIC, ModuleInput, record, unacknowledged
from tests.further import further

ROOT = Path(app.__file__).parent
WATCHED = (
    "callbacks/batch_runner.py",
    "callbacks/groups.py",
    "callbacks/limits.py",
    "callbacks/outcome.py",
    "callbacks/runner.py",
    "callbacks/scheduler.py",
    "messages/frames.py",
    "pipeline/dead_letters.py",
    "pipeline/ports.py",
    "pipeline/stations/agent.py",
    "pipeline/stations/batch_group.py",
    "pipeline/stations/outcomes.py",
    "pipeline/stations/passthrough.py",
)
FILES = {str(ROOT / name): name for name in WATCHED}
STATIONS = ["fine", "fails", "none", "slow", "hangs", "odd", "fine too"]


class InjectedError(RuntimeError):
    """The error that a test injects."""


@dataclass
class Injection:
    """Raises when a function is called for the n-th time, or each time; counts the calls of all functions."""

    name: str = ""
    at: int | None = 0  # None: each time
    done: int = 0
    calls: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator[None]:
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: Any) -> None:
        file = FILES.get(frame.f_code.co_filename)
        if file is None or event != "call" or not _is_between(file, frame):
            return
        name = f"{file}:{frame.f_code.co_qualname}"
        number = self.calls.get(name, 0)
        self.calls[name] = number + 1
        if name == self.name and self.at in (None, number):
            self.done += 1
            asyncio.get_running_loop().call_soon(sys.settrace, self._trace)  # Python has given up tracing by then
            raise InjectedError(name)


def _is_between(file: str, frame: FrameType) -> bool:
    """Leave out reading frames, and plain functions that the event loop itself calls: nobody could handle that."""
    code = frame.f_code
    if file == "messages/frames.py":
        return code.co_name in {"encode_events", "_event_list", "_text"}
    by_loop = frame.f_back is not None and Path(frame.f_back.f_code.co_filename).parent.name == "asyncio"
    return not code.co_name.startswith("<") and (not by_loop or bool(code.co_flags & inspect.CO_COROUTINE))


async def model(station_id: str, module_input: ModuleInput) -> Any:
    if station_id == "fails":
        message = "no model"
        raise ValueError(message)
    if station_id == "slow":
        await asyncio.sleep(0.1)
    if station_id == "hangs":
        await asyncio.Event().wait()
    return {"none": None, "odd": {"x": object()}}.get(station_id, {"load": 1})


async def many(inputs: dict[str, ModuleInput]) -> Any:
    if "fails" in inputs:
        message = "no model"
        raise ValueError(message)
    if "hangs" in inputs:
        await asyncio.Event().wait()
    return {station: {"load": 1} for station in inputs} | {"stranger": 1}


async def handler(station_id: str, module_input: ModuleInput, result: Any) -> Any:
    if station_id == "slow":
        message = "no upload"
        raise OSError(message)
    return {"station_id": station_id}


def driving(kind: str) -> TopologyTestDriver:
    functions: dict[str, Any] = {"callback": model} if kind == "one" else {"batch_callback": many}
    return TopologyTestDriver(
        **functions,
        station_result_handler=handler,
        passthrough_topics=[DIRECT],
        station_timeout=1,
        handler_retries=0,
        batch_timeout=5,
        batch_callback_size=2,
        partitions=1,
    )


def send(driver: TopologyTestDriver, topic: str) -> None:
    driver._loop.set_exception_handler(lambda *_: None)  # what production only logs is no end of the worker
    driver.send([record(station) for station in STATIONS], topic)


def check(kind: str, injection: Injection) -> None:
    with driving(kind) as driver:
        todo: list[Callable[[], None]] = [
            lambda: send(driver, TOPIC),
            lambda: send(driver, DIRECT),
            lambda: driver.advance(3.0),
        ]
        try:
            with injection.running():
                while todo:
                    todo.pop(0)()
        except InjectedError:  # the worker has ended: a supervisor starts it again, and all is done again
            driver.restart()
            todo.append(lambda: driver.advance(3.0))
        for step in todo:
            step()
        assert unacknowledged(driver) == {}
        batches = [output.value for output in driver.outputs if "batch_id" in output.value]
        assert len(batches) == 1
        meta = batches[0]["meta"]
        assert (meta["missing"], meta["arrived_count"]) == ([], len(STATIONS))
        letters = {letter.headers["station-id"] for letter in driver.dead_letters if "batch-id" in letter.headers}
        assert letters == {failed["station_id"] for failed in meta["failed"]}
        single = {output.key for output in driver.outputs} | {
            letter.headers["station-id"] for letter in driver.dead_letters if "batch-id" not in letter.headers
        }
        assert single >= set(STATIONS) - {"none"}


def points(kind: str) -> list[Injection]:
    """Every function that a run calls, and when errors are injected into it."""
    whole = Injection()
    with driving(kind) as driver, whole.running():
        send(driver, TOPIC)
        send(driver, DIRECT)
        driver.advance(3.0)
    assert unacknowledged(driver) == {}
    chosen = []
    for name, count in sorted(whole.calls.items()):
        chosen += [Injection(name, at) for at in sorted({0, count - 1})]
        chosen.append(Injection(name, None))
    return chosen


@pytest.mark.parametrize(("kind", "every"), [*further(("one", 1), ("many", 1)), ("many", 3)])
def test_an_error_at_any_call_leaves_no_event_that_is_never_acknowledged(kind: str, every: int) -> None:
    found = points(kind)
    assert len(found) > 100
    found = found[::every]
    for injection in found:
        check(kind, injection)
    assert sum(injection.done > 0 for injection in found) > 0.9 * len(found)
