"""`python -m tests.chaos.silences`: the longest silence of a whole group when something happens to one of its workers.

A silence is a time in which no batch came out complete, by the broker's times of append, under a small steady load of
batches that have stations on all partitions: without the partitions of a single worker no batch is complete.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.devbroker import DevBroker
from tests.chaos.silences.group import Group
from tests.chaos.silences.report import Cell, Counts, Fault, Measured, rows_of, shares_of, with_table

ROUNDS = 10
SHARE_EACH = 15.0  # seconds from a fault to the next where the share of complete batches is measured
NAMES = {"with": True, "without": False}


def faults_of(workers: int, chosen: Sequence[Fault]) -> list[Fault]:
    """Return the faults of one round, in order: after it there are as many workers as before."""
    faults = [fault for fault in (Fault.BACK, Fault.STOP) if fault in chosen]
    if workers > 1:
        for fault in (Fault.LEAVE, Fault.AWAY):
            faults += [fault, Fault.JOIN] if fault in chosen else []
        if Fault.JOIN in chosen and Fault.JOIN not in faults:
            faults += [Fault.LEAVE, Fault.JOIN]
    return faults


def measure_share(group: Group, seconds: float) -> Counts:
    """Let a fault happen each 15 s, and count the batches that were sent meanwhile."""
    started = time.time()
    faults = faults_of(group.workers, list(Fault))
    for number, fault in enumerate(cycle(faults)):
        due = started + number * SHARE_EACH
        if due >= started + seconds:
            break
        time.sleep(max(0.0, due - time.time()))
        group.suffer(fault, number // len(faults) % group.workers)
    time.sleep(max(0.0, started + seconds - time.time()))
    group.wait_out()
    return group.load.counts(started, started + seconds)


class Silences:
    """Measures on one broker."""

    def __init__(self, broker: DevBroker, folder: Path, told: Callable[[str], None]) -> None:
        self.measured = Measured()
        self._broker = broker
        self._folder = folder
        self._told = told

    def measure(self, workers: int, chosen: Sequence[Fault], rounds: int, *, named: bool) -> None:
        """Let each fault happen `rounds` times, to one worker after the other."""
        with Group(self._broker, self._folder, workers, named=named) as group:
            for number in range(rounds):
                for fault in faults_of(workers, chosen):
                    silence = group.suffer(fault, number % workers)
                    if fault in chosen:
                        self.measured.silences[Cell(fault, workers, named)].append(silence)
                    self._told(f"{fault}, {workers} workers, {'with' if named else 'without'} names: {silence:.2f} s")

    def measure_share(self, workers: int, seconds: float, *, named: bool) -> None:
        """Measure the share of complete batches under a fault each 15 s."""
        with Group(self._broker, self._folder, workers, named=named) as group:
            counts = self.measured.shares[workers, named] = measure_share(group, seconds)
        self._told(f"a fault each {SHARE_EACH:g} s, {workers} workers: {counts} complete")


def run(options: argparse.Namespace, console: Console) -> Measured:
    """Measure all that was chosen."""
    cells = [(workers, NAMES[name]) for workers in options.workers for name in options.names]
    shares = [(workers, named) for workers, named in cells if workers > 1 and options.share_seconds]
    episodes = options.rounds * sum(len(faults_of(workers, options.faults)) for workers, _ in cells)
    with _folder(options.logs) as folder, DevBroker() as broker, _progress(console, episodes + len(shares)) as told:
        silences = Silences(broker, folder, told)
        steps = [
            partial(silences.measure, workers, options.faults, options.rounds, named=named) for workers, named in cells
        ]
        steps += [
            partial(silences.measure_share, workers, options.share_seconds, named=named) for workers, named in shares
        ]
        for step in steps:
            try:
                step()
            except AssertionError as error:  # half an hour's figures are not thrown away for one
                console.print(f"left out: {error}", markup=False)
            except KeyboardInterrupt:
                break
    return silences.measured


@contextmanager
def _folder(chosen: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """Show how far it is; on a terminal a bar, else a line for each episode."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("starting", total=total)

        def told(text: str) -> None:
            progress.update(task, advance=1, description=text)
            if not console.is_terminal:
                console.print(text)

        yield told


def main() -> None:
    """Measure, print, and write into the pages."""
    parser = argparse.ArgumentParser(prog="make silences ARGS=...", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="sizes of the group")
    parser.add_argument(
        "--faults", type=Fault, nargs="+", default=list(Fault), choices=list(Fault), help="what happens"
    )
    parser.add_argument("--names", nargs="+", default=list(NAMES), choices=list(NAMES), help="AGG_INSTANCE_ID")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="episodes of each kind")
    parser.add_argument("--share-seconds", type=float, default=90.0, help="under a fault each 15 s; 0: not measured")
    parser.add_argument("--write", type=Path, nargs="+", default=[], help="pages whose table is replaced")
    parser.add_argument("--logs", type=Path, help="folder that keeps the workers' logs")
    options = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # topics that were just created are sent to again
    console = Console(width=max(110, Console().width))
    measured = run(options, console)
    heads, *rows = rows_of(measured)
    table = Table(*heads, title="longest silence of the whole group, in seconds")
    for row in rows:
        table.add_row(*row)
    console.print(table, *shares_of(measured), sep="\n")
    for page in options.write:
        page.write_text(with_table(page.read_text(), measured, chinese=".zh-CN." in page.name))


if __name__ == "__main__":
    main()
