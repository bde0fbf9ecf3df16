"""`python -m tests.chaos.points`: a worker is killed at each point of the outbox; exit code 1 when anything is amiss.

Each kind of application has a group of its own, all on one Kafka, side by side. Each point has its turn before any
comes again, so the end of the minutes leaves a table with as many kills of each.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app.devbroker import DevBroker
from tests.chaos.logs_folder import logs_folder
from tests.chaos.points.group import Group
from tests.chaos.points.points import KINDS, POINTS, Kind, points_of
from tests.chaos.points.report import Measured, rows_of, summary_of, with_table

__all__ = ["Plan", "main", "run"]

RATE = 4.0  # batches a second, of about 32 stations, in each group
SHOWN = 20  # lines of each kind of finding


@dataclass(frozen=True, slots=True)
class Plan:
    """How often the worker is killed at each of the points, and the batches a second of each group."""

    kills: int
    points: Sequence[str] = tuple(point.name for point in POINTS)
    rate: float = RATE
    seed: int = 7
    minutes: float | None = None  # after which no more rounds begin


def run(servers: str, folder: Path, plan: Plan, tell: Callable[[str], None]) -> Measured:
    """Kill, with all kinds of applications side by side; what one finds is kept when another breaks off."""
    until = math.inf if plan.minutes is None else time.monotonic() + plan.minutes * 60
    kinds = [kind for kind in KINDS if points_of(kind, plan.points)]
    with ThreadPoolExecutor(len(kinds)) as threads:
        groups = [Group(servers, _own(folder, kind), kind, plan.rate, plan.seed) for kind in kinds]
        found = list(threads.map(partial(_run, plan, until, tell), groups, kinds))
    total = Measured()
    for measured in found:
        total.add(measured)
    return total


def _own(folder: Path, kind: Kind) -> Path:
    own = folder / kind.name
    own.mkdir(parents=True)
    return own


def _run(plan: Plan, until: float, tell: Callable[[str], None], group: Group, kind: Kind) -> Measured:
    try:
        with group:
            for number in range(plan.kills):
                if time.monotonic() >= until:
                    break
                for point in points_of(kind, plan.points):
                    group.kill_at(point)
                    kills = group.measured.kills[point.name]
                    tell(f"{point.name} #{number + 1}: {kills.in_flight[-1]} in flight, {kills.back[-1]:.1f} s")
            group.end()
    except (AssertionError, OSError) as error:
        group.measured.faulty.append(f"{kind.name} broke off: {error}")
    return group.measured


def show(measured: Measured, console: Console) -> None:
    """Print the table and everything that was found."""
    heads, *rows = rows_of(measured)
    table = Table(*heads)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(summary_of(measured), markup=False, highlight=False)
    for point, verdict in measured.verdicts.items():
        for name, lines in (("lost", verdict.lost), ("different", verdict.different), ("wrong", verdict.wrong)):
            for line in lines[:SHOWN]:
                console.print(f"{point or 'others'}, {name}: {line}", markup=False, highlight=False)
    for line in measured.faulty:
        console.print(line, markup=False, highlight=False)
    console.print("all is well" if measured.good else "NOT as promised", style="green" if measured.good else "red")


def main(arguments: Sequence[str]) -> int:
    """Run, print, and write into the pages."""
    parser = argparse.ArgumentParser(prog="make chaos POINTS=30 ARGS=...", description=__doc__)
    parser.add_argument("--kills", type=int, default=30, help="at each point")
    parser.add_argument(
        "--points", nargs="+", default=[one.name for one in POINTS], choices=[one.name for one in POINTS]
    )
    parser.add_argument("--rate", type=float, default=RATE, help="batches a second, of each group")
    parser.add_argument("--seed", type=int, default=7, help="decides at which passing of a point")
    parser.add_argument("--minutes", type=float, help="begin no more rounds after so many")
    parser.add_argument("--write", type=Path, nargs="+", default=[], help="pages whose table is replaced")
    parser.add_argument("--logs", type=Path, help="a new folder that keeps all logs")
    options = parser.parse_args(arguments)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console(width=max(140, Console().width))
    plan = Plan(options.kills, options.points, options.rate, options.seed, options.minutes)
    with logs_folder(options.logs, "points") as folder, DevBroker() as broker:
        tell = partial(console.print, markup=False, highlight=False)
        measured = run(broker.bootstrap, folder, plan, tell)
    show(measured, console)
    for page in options.write:
        page.write_text(with_table(page.read_text(), measured, chinese=".zh-CN." in page.name))
    return 0 if measured.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
