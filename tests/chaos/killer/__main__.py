"""`python -m tests.chaos.killer`: random faults for some minutes; exit code 1 when anything is lost or wrong.

A run is repeated by its seed: kinds, places and durations of the faults follow from it, and are printed as they happen.
What this machine cannot do is said at the start.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app.devbroker import DevBrokerError
from tests.chaos.killer.arena import Arena, Plan
from tests.chaos.killer.clock import fetch_libfaketime
from tests.chaos.killer.faults import FAULTS
from tests.chaos.killer.report import Measured, rows_of, summary_of, with_table
from tests.chaos.killer.site import Means
from tests.chaos.killer.world import Disk
from tests.chaos.logs_folder import logs_folder

__all__ = ["main"]

ISOLATED = "KILLER_ISOLATED"
UNSHARE = ("unshare", "--mount", "--propagation", "private")
DISK_MIB, DISK_MIB_A_MINUTE = 384, 40  # a broker's data; the full disk is this machine's memory
RATE = 5.0  # batches a second, of about 32 stations: little, so that a busy machine is not what is tested
SHOWN = 20  # lines of each kind of finding

# What CI runs: short, and each outage of it too.
SHORT_SEED, SHORT_SECONDS, SHORT_FAULTS = 12, 45.0, 6
SHORT_KINDS = ("kill-one", "kill-all", "kill-recovering", "stop-one", "stand-still", "cut-worker", "kill-producer")
SHORT = Plan(SHORT_SEED, 1, SHORT_SECONDS, SHORT_KINDS, SHORT_FAULTS, RATE)


def run(plans: Sequence[Plan], means: Means, folder: Path, console: Console) -> Measured:
    """Run one after the other; what one finds is kept when the next can't be run."""
    total = Measured()
    for number, plan in enumerate(plans):
        own = folder / f"run-{number + 1}"
        own.mkdir(parents=True)
        console.print(f"seed {plan.seed}, {plan.brokers} broker(s), {plan.seconds / 60:.1f} minutes; logs: {own}")
        arena = Arena(own, plan, means, lambda text: console.print(text, markup=False, highlight=False))
        try:
            arena.run()
        except (AssertionError, DevBrokerError, OSError) as error:
            total.faulty.append(f"the run with {plan.brokers} broker(s) broke off: {error}")
        total.add(arena.measured)
    return total


def means_of(folder: Path, kinds: Sequence[str], minutes: float, console: Console) -> Means:
    """Return what there is on this machine, and print a line about each thing that there is not."""
    library, disk = None, None
    if "clock" in kinds:
        (folder / "libfaketime").mkdir()
        found = fetch_libfaketime(folder / "libfaketime")
        library = found if isinstance(found, Path) else None
        if library is None:
            console.print(f"not here: clock ({found})")
    if "disk-full" in kinds:
        if ISOLATED in os.environ:
            disk = _small_disk(round(DISK_MIB + DISK_MIB_A_MINUTE * minutes))
        else:
            console.print("not here: disk-full (it takes root and unshare, for a file system of its own)")
    return Means(library, disk)


def _small_disk(mebibytes: int) -> Callable[[Path], Disk]:
    def mount(folder: Path) -> Disk:
        folder.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", folder], check=True)
        return Disk(folder)

    return mount


def _isolate(arguments: Sequence[str]) -> None:
    """Begin anew where what is mounted is gone with this process, if this machine lets us."""
    if ISOLATED in os.environ or os.geteuid() != 0 or not shutil.which(UNSHARE[0]):
        return
    probe = "d=$(mktemp -d) && mount -t tmpfs tmpfs $d && umount $d; c=$?; rmdir $d; exit $c"
    if subprocess.run([*UNSHARE, "sh", "-c", probe], capture_output=True, check=False).returncode == 0:
        os.environ[ISOLATED] = "1"
        os.execvp(UNSHARE[0], [*UNSHARE, sys.executable, "-m", "tests.chaos.killer", *arguments])  # noqa: S606


def show(measured: Measured, console: Console) -> None:
    """Print the table and everything that was found."""
    heads, *rows = rows_of(measured)
    table = Table(*heads)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for sentence in summary_of(measured):
        console.print(sentence.replace("**", ""), markup=False, highlight=False)
    verdict = measured.verdict
    for name, lines in (
        ("lost", verdict.lost),
        ("different", verdict.different),
        ("wrong", verdict.wrong),
        ("faulty", measured.faulty),
    ):
        for line in lines[:SHOWN]:
            console.print(f"{name}: {line}", markup=False, highlight=False)
        if len(lines) > SHOWN:
            console.print(f"{name}: and {len(lines) - SHOWN} more")
    console.print("all is well" if measured.good else "NOT as promised", style="green" if measured.good else "red")


def plans_of(options: argparse.Namespace) -> list[Plan]:
    """Return a run for each number of brokers, which share the minutes."""
    if options.short:
        return [SHORT]
    seconds = options.minutes * 60 / len(options.brokers)
    return [
        Plan(options.seed, brokers, seconds, options.kinds, options.faults, options.rate) for brokers in options.brokers
    ]


def main(arguments: Sequence[str]) -> int:
    """Run, print, and write into the pages."""
    parser = argparse.ArgumentParser(prog="make chaos MINUTES=10 SEED=7 ARGS=...", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for how long faults happen, in all")
    parser.add_argument("--seed", type=int, default=7, help="decides kinds, places and durations of the faults")
    parser.add_argument(
        "--brokers", type=int, nargs="+", default=[1, 3], choices=(1, 3), help="runs, of so many brokers"
    )
    parser.add_argument("--kinds", nargs="+", default=list(FAULTS), choices=list(FAULTS), help="kinds of faults")
    parser.add_argument("--faults", type=int, help="at most so many a run")
    parser.add_argument("--rate", type=float, default=RATE, help="batches a second")
    parser.add_argument("--short", action="store_true", help="what CI runs: a minute, a fixed seed")
    parser.add_argument("--write", type=Path, nargs="+", default=[], help="pages whose table is replaced")
    parser.add_argument("--logs", type=Path, help="a new folder that keeps all logs")
    options = parser.parse_args(arguments)
    plans = plans_of(options)
    kinds = {kind for plan in plans for kind in plan.kinds}
    if "disk-full" in kinds:
        _isolate(arguments)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the brokers are away now and then
    console = Console(width=max(120, Console().width))
    with logs_folder(options.logs, "killer") as folder:
        means = means_of(folder, sorted(kinds), options.minutes, console)
        measured = run(plans, means, folder, console)
    show(measured, console)
    for page in options.write:
        page.write_text(with_table(page.read_text(), measured, chinese=".zh-CN." in page.name))
    return 0 if measured.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
