"""What can be hurt in a run: workers, brokers, the ways between them, the plant, a clock, a disk."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tests.chaos.killer.brokers import Brokers
from tests.chaos.killer.clock import SteppedClock
from tests.chaos.killer.workers import Workers
from tests.integration.support.worker import REPOSITORY, clean_environment

__all__ = ["Disk", "Need", "PlantProcess", "World"]

READY_WITHIN = 90.0  # seconds, on a busy machine
STOP_WITHIN = 120.0  # seconds in which all that was sent must be acknowledged
POLL = 0.05


class Need(StrEnum):
    """What a fault takes that a machine or a run may not have."""

    ONE_BROKER = "one broker"
    THREE_BROKERS = "three brokers"
    CLOCK = "a clock that can be stepped"
    DISK = "a small disk"


class PlantProcess:
    """The process that sends; killed, it is started again and goes on where its journal ends."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command, self._log = command, log
        self.start()

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=REPOSITORY, env=clean_environment(), stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def running(self) -> bool:
        """Whether it is there."""
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> bool:
        """Let it send nothing new; returns whether the broker has all that was sent."""
        self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(STOP_WITHIN) == 0
        self.kill()
        return False

    def tail(self) -> str:
        """Return the end of what it has said."""
        return self._log.read_text()[-2000:]


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of a broker's data, small and its own."""

    folder: Path

    def fill(self) -> None:
        """Leave no byte."""
        with (self.folder / "ballast").open("ab", buffering=0) as ballast, suppress(OSError):
            while free := os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_bsize:
                os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size, free)

    def free(self) -> None:
        """Give the space back."""
        (self.folder / "ballast").unlink(missing_ok=True)

    def unmount(self) -> None:
        """Take it away with all that is on it."""
        subprocess.run(["umount", "--lazy", self.folder], check=False)


@dataclass(slots=True)
class World:
    """All of it. `say` prints what is about to be done; `out` tells how many batches have come out so far."""

    workers: Workers
    brokers: Brokers
    plant: PlantProcess
    say: Callable[[str], None]
    clock: SteppedClock | None = None
    disk: Disk | None = None
    homes: Sequence[int] = field(default=(0, 1, 2))  # places where a worker is while nothing is wrong

    def has(self, need: Need) -> bool:
        """Whether that is there."""
        there = {
            Need.ONE_BROKER: self.brokers.count == 1,
            Need.THREE_BROKERS: self.brokers.count > 1,
            Need.CLOCK: self.clock is not None,
            Need.DISK: self.disk is not None,
        }
        return there[need]

    def restore(self) -> None:
        """Leave nothing as a fault has made it, wherever that was interrupted."""
        if self.disk is not None:
            self.disk.free()
        if self.clock is not None:
            self.clock.step(0)
        self.brokers.heal()
        self.brokers.start(range(self.brokers.count))
        for place in self.workers.places:
            self.workers.resume(place)
        for place in set(self.homes) - set(self.workers.places):
            self.workers.start(place)
        if not self.plant.running:
            self.plant.start()

    def wait_ready(self, places: Sequence[int]) -> None:
        """Wait until workers are ready, those that end by themselves being started again; not for ever."""
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            self.workers.tend()
            if all(self.workers.ready(place) for place in places):
                return
            time.sleep(POLL)
