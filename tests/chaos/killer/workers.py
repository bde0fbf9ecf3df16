"""The workers that are hurt, and a supervisor that starts again those that end by themselves."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.support.worker import WorkerProcess
from tests.ports import own_port

__all__ = ["PLACES", "Workers"]

PLACES = 4  # the last one is empty but for guests
END_WITHIN = 90.0  # seconds from SIGTERM to the end of a worker, on a busy machine
READY = "Worker ready"  # in its log
RESTART_PAUSE = 1.0  # seconds, as supervisors wait before they start something again


@dataclass(slots=True)
class Workers:
    """Worker processes by place, which has a web port, a way to the brokers and maybe a name of its own.

    Attributes:
        settings: of all places; `own` those of a place, `environment` other variables of a place.
        faulty: lines about workers that did what no fault explains.
        ended: how often one ended by itself, by exit code.
    """

    folder: Path
    settings: Mapping[str, str]
    own: Callable[[int], Mapping[str, str]]
    faulty: list[str] = field(default_factory=list)
    ended: Counter[int] = field(default_factory=Counter)
    _processes: dict[int, WorkerProcess] = field(default_factory=dict)
    _ports: list[int] = field(default_factory=lambda: [own_port() for _ in range(PLACES)])
    _starts: int = 0
    _again_at: dict[int, float] = field(default_factory=dict)

    @property
    def places(self) -> Sequence[int]:
        """Places where a worker is, or is about to be started again."""
        return sorted(self._processes.keys() | self._again_at.keys())

    @property
    def pids(self) -> Mapping[int, int]:
        """Process ids by place."""
        return {place: worker.process.pid for place, worker in self._processes.items() if worker.running}

    def start(self, place: int) -> None:
        """Start a worker."""
        self._starts += 1
        self._again_at.pop(place, None)
        own = {"AGG_WEB_PORT": str(self._ports[place])} | dict(self.own(place))
        name = f"worker-{place}-{self._starts:03d}"
        self._processes[place] = WorkerProcess(self.folder, name, dict(self.settings) | own, self._ports[place])

    def kill(self, places: Sequence[int]) -> None:
        """SIGKILL, to all at once."""
        for place in places:
            if place in self._processes:
                self._processes[place].process.send_signal(signal.SIGKILL)
        for place in places:
            self._again_at.pop(place, None)
            if place in self._processes:
                self._processes.pop(place).kill()

    def terminate(self, place: int) -> None:
        """SIGTERM, and wait for its end: anything but exit code 0 within a minute and a half is a fault of its own.

        One that was never ready may not have come to the point where it takes signals.
        """
        self._again_at.pop(place, None)
        if place not in self._processes:
            return
        worker = self._processes.pop(place)
        if not worker.running:
            self.ended[worker.process.returncode] += 1
            return
        worker.process.send_signal(signal.SIGTERM)
        try:
            code = worker.process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            self.faulty.append(f"{worker.name} did not end within {END_WITHIN:g} s of SIGTERM")
            worker.kill()
            return
        if code != 0 and (code != -signal.SIGTERM or READY in worker.log):
            self.faulty.append(f"{worker.name} ended with exit code {code} after SIGTERM")

    def pause(self, place: int) -> None:
        """SIGSTOP."""
        if place in self._processes:
            self._processes[place].pause()

    def resume(self, place: int) -> None:
        """SIGCONT."""
        if place in self._processes:
            self._processes[place].resume()

    def ready(self, place: int) -> bool:
        """Whether the worker of a place is in the group, and recovered."""
        return place in self._processes and self._processes[place].answers("/readyz", within=2.0)

    def tend(self) -> None:
        """Start again what has ended by itself, a moment later, as a supervisor does."""
        now = time.monotonic()
        for place, worker in list(self._processes.items()):
            if not worker.running:
                self.ended[worker.process.returncode] += 1
                del self._processes[place]
                self._again_at[place] = now + RESTART_PAUSE
        for place in [place for place, at in self._again_at.items() if at <= now]:
            self.start(place)

    def logs(self) -> str:
        """Return the ends of the logs."""
        return "\n".join(worker.tail() for worker in self._processes.values())

    def end(self) -> None:
        """End all at once."""
        self.kill(self.places)
