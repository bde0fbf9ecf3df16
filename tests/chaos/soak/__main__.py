"""`python -m tests.chaos.soak`: a steady load, batches that are forgotten, workers that are replaced, for a long time.

Each few seconds memory, open files, changelogs and latency are noted; at the end all outputs are checked. Exit code 1
when anything is lost, different or wrong. Whether the figures stay as they are, the table shows by quarters.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count, cycle, islice
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tests.chaos.killer.check import Verdict
from tests.chaos.killer.site import Means, Site, Size
from tests.chaos.logs_folder import logs_folder
from tests.chaos.soak.samples import Sample, csv_of, percentile, rows_of, svg_of
from tests.marked_pages import markdown, with_section

__all__ = ["main"]

MEBI = 1024 * 1024
CLOSED_TTL = 60.0  # seconds
# Between two replacements: after a rebalance what closed before it is not forgotten for a while (two minutes, with the
# settings as they are), so a group that is never left in peace for so long keeps all, up to AGG_CLOSED_MAX.
EACH = 240.0
STAYS = 0  # the place of the worker that is never replaced
REPLACED = (1, 2)
TITLES = {
    False: "{minutes:.0f} minutes, {rate:g} batches a second, a worker replaced each {each:g} s: {sent} batches, "
    "{lost} lost, {copies} identical copies, {bad} different or wrong, {partial} partial.",
    True: "{minutes:.0f} 分钟，每秒 {rate:g} 个批次，每 {each:g} 秒替换一个 worker：{sent} 个批次，丢失 {lost}，"
    "相同的重复输出 {copies}，不同或错误 {bad}，不完整 {partial}。",
}


class Watch:
    """Takes samples of a site."""

    def __init__(self, site: Site) -> None:
        self.samples: list[Sample] = []
        self._site = site
        self._began = self._last = time.monotonic()
        self._seen = 0

    def look(self) -> None:
        """Take one."""
        now = time.monotonic()
        outs = list(islice(dict(self._site.flow.out).items(), self._seen, None))
        self._seen += len(outs)
        known = self._site.journal.follow().acknowledged
        latencies = [max(0.0, at - known[number]) for number, at in outs if number in known]
        processes = {place: psutil.Process(pid) for place, pid in self._site.world.workers.pids.items()}
        resident = {place: process.memory_info().rss / MEBI for place, process in processes.items()}
        self.samples.append(
            Sample(
                minutes=(now - self._began) / 60,
                resident=resident.get(STAYS, float("nan")),
                largest=max(resident.values(), default=float("nan")),
                files=processes[STAYS].num_fds() if STAYS in processes else float("nan"),
                changelogs=self._changelogs() / MEBI,
                rate=len(outs) / (now - self._last) if now > self._last else float("nan"),
                p50=percentile(latencies, 0.5),
                p99=percentile(latencies, 0.99),
            )
        )
        self._last = now

    def _changelogs(self) -> int:
        folder = self._site.world.brokers.folder_of(0)
        return sum(_size(file) for file in folder.glob(f"storage/{self._site.app_id}-*-changelog-*/*.log"))


def _size(file: Path) -> int:
    try:
        return file.stat().st_blocks * 512
    except FileNotFoundError:  # the cleaner has just been there
        return 0


def soak(site: Site, watch: Watch, seconds: float, every: float, each: float) -> None:
    """Take a sample each `every` seconds, and replace a worker each `each`: by SIGTERM and by SIGKILL by turns."""
    began = time.monotonic()
    places, gently = cycle(REPLACED), cycle((True, False))
    replace_at = began + each
    for number in count(1):
        site.rest(began + number * every - time.monotonic())
        watch.look()
        now = time.monotonic()
        if now >= began + seconds:
            return
        if now >= replace_at:
            replace_at += each
            place = next(places)
            if next(gently):
                site.world.workers.terminate(place)
            else:
                site.world.workers.kill([place])
            site.world.workers.start(place)


def run(
    options: argparse.Namespace, folder: Path, tell: Callable[[str], None]
) -> tuple[Sequence[Sample], Verdict, list[str]]:
    """Run; returns the samples, what the checker says, and what went wrong besides."""
    size = Size(rate=options.rate, settings={"AGG_CLOSED_TTL": str(CLOSED_TTL)})
    with Site(folder, size, Means(), tell) as site:
        watch = Watch(site)
        try:
            soak(site, watch, options.minutes * 60, options.every, options.each)
        except KeyboardInterrupt:
            tell("stopped; what came of it so far:")
        found = site.end()
    return watch.samples, found.verdict, list(found.faulty)


def main(arguments: Sequence[str]) -> int:
    """Run, print, and write files and pages."""
    parser = argparse.ArgumentParser(prog="make soak MINUTES=60 ARGS=...", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=20.0, help="batches a second")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two samples")
    parser.add_argument("--each", type=float, default=EACH, help="seconds between two replacements of a worker")
    parser.add_argument("--csv", type=Path, help="file for all samples")
    parser.add_argument("--plot", type=Path, help="file for a plot, SVG")
    parser.add_argument("--write", type=Path, nargs="+", default=[], help="pages whose table is replaced")
    parser.add_argument("--logs", type=Path, help="a new folder that keeps all logs")
    options = parser.parse_args(arguments)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console(width=max(120, Console().width))
    with logs_folder(options.logs, "soak") as folder:
        samples, verdict, faulty = run(options, folder, lambda text: console.print(text, markup=False))
    heads, *rows = rows_of(samples)
    table = Table(*heads)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    titles = {chinese: _title(title, options, samples, verdict) for chinese, title in TITLES.items()}
    console.print(titles[False], *verdict.lost[:5], *verdict.different[:5], *verdict.wrong[:5], *faulty, sep="\n")
    for path, text in ((options.csv, csv_of(samples)), (options.plot, svg_of(samples))):
        if path is not None:
            path.write_text(text)
    for page in options.write:
        chinese = ".zh-CN." in page.name
        text = f"{markdown(rows_of(samples, chinese=chinese))}\n\n{titles[chinese]}"
        page.write_text(with_section(page.read_text(), "soak", text))
    return 0 if verdict.good and not faulty else 1


def _title(title: str, options: argparse.Namespace, samples: Sequence[Sample], verdict: Verdict) -> str:
    return title.format(
        minutes=samples[-1].minutes if samples else 0,
        rate=options.rate,
        each=options.each,
        sent=verdict.sent,
        lost=len(verdict.lost),
        copies=verdict.copies,
        bad=len(verdict.different) + len(verdict.wrong),
        partial=verdict.partial,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
