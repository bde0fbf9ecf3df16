"""Callbacks that processes import, for `AGG_EXECUTOR=process`; each does what its station's name says."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Model", "behave", "behave_async", "behave_many", "model"]

ModuleInput = dict[str, Any]


def behave(station_id: str, module_input: ModuleInput) -> Any:
    """Do what the station's name says, before the dash."""
    kind = station_id.partition("-")[0]
    return KINDS[kind](module_input) if kind in KINDS else {"pid": os.getpid(), "of": module_input.get("of")}


def _raise(module_input: ModuleInput) -> None:
    message = "own"
    raise ValueError(message)


def _print(module_input: ModuleInput) -> None:
    print("load", 1.5)  # noqa: T201 - what a user's function does


def _leave_by_a_task(module_input: ModuleInput) -> Any:
    async def leave() -> None:
        sys.exit(0)

    async def together() -> None:
        await asyncio.gather(leave(), asyncio.sleep(0.1))

    return together()


def _hang(module_input: ModuleInput) -> None:
    while True:
        time.sleep(0.01)


def _leave_a_child(module_input: ModuleInput) -> None:
    """A program that outlives the process, and holds open what it has inherited."""
    process = subprocess.Popen(["sleep", "600"], close_fds=False)
    Path(module_input["file"]).write_text(str(process.pid))
    os._exit(4)


def _fork(module_input: ModuleInput) -> int | None:
    """A process that is asked to end, and how it did."""
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    process.terminate()
    process.join(600)
    code = process.exitcode
    process.kill()
    return code


def _flaky(module_input: ModuleInput) -> None:
    count = Path(module_input["file"])
    count.write_text(count.read_text() + "x" if count.exists() else "x")
    if len(count.read_text()) < 3:
        os._exit(5)


def _numpy(module_input: ModuleInput) -> dict[str, Any]:
    import numpy as np  # noqa: PLC0415 - most tests start their processes for something else

    return {"mean": np.asarray(module_input["power"]).mean(), "all": np.arange(3)}


KINDS: dict[str, Callable[[ModuleInput], Any]] = {
    "print": _print,
    "leave": _leave_by_a_task,
    "raise": _raise,
    "exit": lambda _: sys.exit("bye"),
    "die": lambda _: os._exit(3),
    "crash": lambda _: ctypes.string_at(0),
    "killed": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "hang": _hang,
    "lock": lambda _: sum(range(10**15)),  # computes in C and never lets go of Python's lock
    "children": _leave_a_child,
    "fork": _fork,
    "flaky": _flaky,
    "slow": lambda module_input: time.sleep(module_input["seconds"]),
    "unjson": lambda _: {"x": object()},
    "none": lambda _: None,
    "modules": lambda _: sorted({name.partition(".")[0] for name in sys.modules}),
    "numpy": _numpy,
}


async def behave_async(station_id: str, module_input: ModuleInput) -> Any:
    """The same on an event loop."""
    await asyncio.sleep(0.001)
    if station_id.startswith("await"):
        await asyncio.Event().wait()
    return behave(station_id, module_input)


def behave_many(inputs: dict[str, ModuleInput]) -> Any:
    """The same for many stations at once."""
    return {station: behave(station, module_input) for station, module_input in inputs.items()} | {"ghost": 1}


class Model:
    """A model that is an object."""

    def predict(self, station_id: str, module_input: ModuleInput) -> str:  # noqa: ARG002
        """Name the station."""
        return f"predicted {station_id}"


model = Model()


def add_up(station_id: str, module_input: ModuleInput) -> dict[str, str]:
    """Say what came on each topic: the dtype of its numbers, and their sum. It takes numpy arrays."""
    found = {topic: columns["kwh" if "kwh" in columns else "kw"] for topic, columns in module_input.items() if columns}
    return {topic: f"{numbers.dtype} {numbers.sum()}" for topic, numbers in found.items()}


def add_up_many(inputs: dict[str, ModuleInput]) -> dict[str, dict[str, str]]:
    """The same for many stations at once."""
    return {station: add_up(station, module_input) for station, module_input in inputs.items()}
