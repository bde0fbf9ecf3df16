"""A run of the killer: faults for some time at a site, then what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.chaos.killer.faults import Fault, faults_of
from tests.chaos.killer.report import Measured
from tests.chaos.killer.site import FLOW_WITHIN, Means, Site, Size

__all__ = ["Arena", "Plan", "schedule"]

HASTY = 0.25  # the share of faults that are followed by the next one at once


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done: faults of these kinds for so many seconds, or so many faults; batches a second."""

    seed: int
    brokers: int
    seconds: float
    kinds: Sequence[str]
    most: int | None
    rate: float


def schedule(seed: int, brokers: int, faults: Sequence[Fault]) -> Iterator[tuple[Fault, Random]]:
    """Yield faults for ever, each kind once before any comes again; each with the random numbers for its figures."""
    number = 0
    while True:
        turn = list(faults)
        Random(f"{seed}/{brokers}/order/{number}").shuffle(turn)  # noqa: S311 - to be had again
        for fault in turn:
            yield fault, Random(f"{seed}/{brokers}/{number}")  # noqa: S311
            number += 1


class Arena:
    """One run; `tell` prints a line."""

    def __init__(self, folder: Path, plan: Plan, means: Means, tell: Callable[[str], None]) -> None:
        self.measured = Measured()
        self._plan, self._tell = plan, tell
        self._site = Site(folder, Size(plan.brokers, plan.rate), means, self._say)
        self._now = ""

    def run(self) -> None:
        """Let faults happen, until the time is up or Ctrl-C; then check."""
        with self._site as site:
            began = time.monotonic()
            try:
                self._hurt(site, began + self._plan.seconds)
            except KeyboardInterrupt:
                self._tell("stopped; what came of it so far:")
            self.measured.seconds = time.monotonic() - began
            site.world.restore()
            found = site.end()
            self.measured.verdict.add(found.verdict)
            self.measured.faulty += found.faulty
            self.measured.ended.update(site.world.workers.ended)

    def _hurt(self, site: Site, until: float) -> None:
        faults = faults_of(site.world, self._plan.kinds)
        for number, (fault, random) in enumerate(schedule(self._plan.seed, self._plan.brokers, faults)):
            if time.monotonic() >= until or number == self._plan.most:
                return
            self._now = f"#{number + 1:<4}{time.strftime('%H:%M:%S')}  {fault.name}"
            hasty, pause = random.random() < HASTY, random.uniform(0, 2)
            fault.act(site.world, random)
            self.measured.faults[fault.name] += 1
            if not hasty:
                self._measure(site, fault)
            site.rest(pause)

    def _measure(self, site: Site, fault: Fault) -> None:
        seconds = site.wait_flow(time.time())
        if seconds is None:
            self.measured.faulty.append(f"{self._now}: no output within {FLOW_WITHIN:g} s")
            self._tell(f"      no output within {FLOW_WITHIN:g} s\n{site.world.workers.logs()}")
        else:
            self.measured.back[fault.name].append(seconds)
            self._tell(f"      outputs flow again after {seconds:.1f} s")

    def _say(self, figures: str) -> None:
        self._tell(f"{self._now}{': ' if figures else ''}{figures}")
