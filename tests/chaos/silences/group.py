"""A group of workers under load, and what is done to one of them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from app.devbroker import DevBroker
from app.devbroker.config import free_port
from tests.chaos.silences.load import Load
from tests.chaos.silences.report import Fault
from tests.integration.support.waiting import wait_for
from tests.integration.support.worker import WorkerProcess

__all__ = ["Group"]

LONGEST = 90.0  # seconds until outputs must flow again
STOPPED_SECONDS = 7.5  # more than the session
BATCH_TIMEOUT = 10.0
LOOK_AT_LEAST = 2.0  # seconds, before a break is left behind and looked for anew


class Group:
    """Workers of one application id, each with a web port of its own, and with a name of its own if `named`."""

    def __init__(self, broker: DevBroker, folder: Path, workers: int, *, named: bool) -> None:
        own = uuid.uuid4().hex[:8]
        self.workers = workers
        self._folder = folder
        self._named = named
        self._ports = [free_port() for _ in range(workers)]
        self._starts = 0
        self._processes: dict[int, WorkerProcess] = {}
        self._settings = {
            "AGG_BROKER": broker.url,
            "AGG_APP_ID": f"silences-{own}",
            "AGG_SOURCE_TOPICS": f"in-{own}",
            "AGG_OUTPUT_TOPIC": f"out-{own}",
            "AGG_CALLBACK": "tests.bench.model:callback",
            "AGG_BATCH_TIMEOUT": str(BATCH_TIMEOUT),
        }
        self.load = Load(broker.bootstrap, f"in-{own}", f"out-{own}")
        self._stack = ExitStack()

    def __enter__(self) -> Group:
        with ExitStack() as stack:
            stack.callback(self._end)
            for place in range(self.workers):
                self._start(place)
            self._wait(self._all_ready)
            stack.enter_context(self.load)
            self._wait_steady()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def suffer(self, fault: Fault, place: int) -> float:
        """Do this to a worker and wait until outputs flow again; returns the longest silence, in seconds."""
        began = time.time()
        self._acts[fault](place)
        acted = time.time()
        self._wait(lambda: self.load.out_of(acted))
        self._wait(self._all_ready)
        return self.load.longest_silence(began, self._wait_steady())

    def wait_out(self) -> None:
        """Send no more, and wait until all is out."""
        self.load.stop_sending()
        self._wait(lambda: not self.load.pending())

    @property
    def _acts(self) -> dict[Fault, Callable[[int], None]]:
        return {
            Fault.JOIN: self._start,
            Fault.LEAVE: self._leave,
            Fault.BACK: self._come_back,
            Fault.AWAY: self._die,
            Fault.STOP: self._stop,
        }

    def _start(self, place: int) -> None:
        self._starts += 1
        settings = self._settings | {"AGG_WEB_PORT": str(self._ports[place])}
        if self._named:
            settings["AGG_INSTANCE_ID"] = f"worker-{place}"
        name = f"{settings['AGG_APP_ID']}-{place}-{self._starts}"
        self._processes[place] = WorkerProcess(self._folder, name, settings, self._ports[place])

    def _leave(self, place: int) -> None:
        self._processes.pop(place).terminate()

    def _die(self, place: int) -> None:
        self._processes.pop(place).kill()

    def _come_back(self, place: int) -> None:
        self._die(place)
        self._start(place)

    def _stop(self, place: int) -> None:
        self._processes[place].pause()
        time.sleep(STOPPED_SECONDS)
        self._processes[place].resume()

    def _all_ready(self) -> bool:
        for worker in self._processes.values():
            assert worker.running, worker.tail()
        return all(worker.ready for worker in self._processes.values())

    def _wait_steady(self) -> float:
        """Wait until outputs have flowed for a moment; returns the time."""
        since = time.time()

        def steady() -> bool:
            nonlocal since
            if self.load.steady_since(since):
                return True
            if time.time() - since > LOOK_AT_LEAST:
                since = time.time()
            return False

        self._wait(steady)
        return time.time()

    def _wait(self, condition: Callable[[], bool]) -> None:
        wait_for(condition, self._logs, LONGEST)

    def _logs(self) -> str:
        return "\n".join(worker.tail() for worker in self._processes.values())

    def _end(self) -> None:
        for worker in self._processes.values():
            worker.kill()
