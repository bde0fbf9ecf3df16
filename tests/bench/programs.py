"""A program that is measured: how it is made ready, how it is started, and what it promises."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tests.bench.cluster import worker_command, worker_settings
from tests.bench.loads import Kind

Report = Callable[[str], None]


class NotInstalledError(Exception):
    """A program can't be had on this machine; the text says why."""


class Promise(StrEnum):
    """What a user may rely on."""

    SURVIVES = "survives"
    """No batch and no station is lost by `kill -9`."""
    DEADLINE = "deadline"
    """At its deadline a batch goes out with what has come, also when no message comes any more."""
    EXPECTED = "expected"
    """The stations that are missing are named."""
    ONCE = "once"
    """One output for each batch, also after a crash."""
    ORDER = "order"
    """Stations of one batch run on all workers, and those of one station one at a time, in order."""
    WAITS = "waits"
    """Callbacks that wait for something run side by side."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program reads and writes: a broker, its topics, and an empty folder for what it keeps."""

    servers: str
    source: str
    output: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Command:
    """How a process is started."""

    args: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Program:
    """A program that merges batches: it reads the source topic, and writes one message for each batch.

    Attributes:
        name: as tables show it.
        install: makes it ready, reporting what takes long, and returns how it is started; raises NotInstalledError.
        promises: what it promises.
        share: of the messages that it is given, where it would take minutes for all of them.
        kinds: of the loads that it is given.
        topics: what stands behind the source topic's name in those of its topics that have to be there when it starts.
    """

    name: str
    install: Callable[[Report], Callable[[Place], Command]]
    promises: frozenset[Promise] = frozenset()
    share: float = 1.0
    kinds: frozenset[Kind] = frozenset(Kind)
    topics: tuple[str, ...] = ()

    def share_of(self, numbers: range) -> range:
        """Return those of a load's messages that it is given: the first ones."""
        return numbers[: max(1, round(len(numbers) * self.share))]


def arguments(place: Place) -> list[str]:
    """Return the arguments that the benchmark's own programs take."""
    return [
        f"--servers={place.servers}",
        f"--source={place.source}",
        f"--output={place.output}",
        f"--folder={place.folder}",
    ]


def _worker(place: Place) -> Command:
    settings = worker_settings(
        f"kafka://{place.servers}", app_id=place.source, source=place.source, output=place.output, port=PORT
    )
    return Command(worker_command(), settings)


def _yardstick(place: Place) -> Command:
    return Command([sys.executable, "-m", "tests.bench.yardstick", *arguments(place)])


PORT = 16901
APPLICATION = Program("application", lambda _report: _worker, frozenset(Promise))
YARDSTICK = Program("yardstick", lambda _report: _yardstick)
