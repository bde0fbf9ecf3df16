"""What is measured each few seconds, as a row, a table and a plot. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from math import isnan
from typing import Final

__all__ = ["MEASURES", "Measure", "Sample", "csv_of", "percentile", "rows_of", "svg_of"]

WIDTH, HEIGHT, MARGIN, GAP = 720, 110, 56, 34  # pixels of a panel of the plot
INK, LINE, GRID = "#555", "#2563eb", "#ddd"


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a site.

    Attributes:
        minutes: since the start.
        resident: memory of the worker that is never replaced, MiB.
        largest: memory of the largest worker, MiB.
        files: open files of the worker that is never replaced.
        changelogs: MiB of the tables' changelogs on the broker's disk.
        rate: batches that have come out, a second, since the sample before.
        p50: seconds from the broker's acknowledgement to the append of the output, of those batches; `p99` too.
    """

    minutes: float
    resident: float
    largest: float
    files: float
    changelogs: float
    rate: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Measure:
    """A column: what it is called in two languages, and how to read it off a sample."""

    english: str
    chinese: str
    of: Callable[[Sample], float]


MEASURES: Final = (
    Measure("memory of the worker that stays, MiB", "未被替换的 worker 的内存，MiB", lambda one: one.resident),
    Measure("memory of the largest worker, MiB", "最大的 worker 的内存，MiB", lambda one: one.largest),
    Measure("open files of the worker that stays", "未被替换的 worker 打开的文件数", lambda one: one.files),
    Measure("changelogs on the broker's disk, MiB", "broker 磁盘上的 changelog，MiB", lambda one: one.changelogs),
    Measure("batches out a second", "每秒输出批次", lambda one: one.rate),
    Measure("latency, median, s", "延迟中位数，秒", lambda one: one.p50),
    Measure("latency, p99, s", "延迟 p99，秒", lambda one: one.p99),
)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of them is; NaN where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def csv_of(samples: Sequence[Sample]) -> str:
    """Return a line for each sample, the heads first."""
    lines = [",".join(field.name for field in fields(Sample))]
    lines += [",".join(f"{value:.4g}" for value in asdict(sample).values()) for sample in samples]
    return "\n".join(lines) + "\n"


def rows_of(samples: Sequence[Sample], *, chinese: bool = False) -> list[tuple[str, ...]]:
    """Return a table: the median of each measure in each quarter of the run."""
    heads = ("中位数", "第 1 个四分之一", "第 2 个", "第 3 个", "第 4 个")
    rows: list[tuple[str, ...]] = [
        heads if chinese else ("median of each quarter of the run", "first", "second", "third", "last")
    ]
    bounds = [len(samples) * quarter // 4 for quarter in range(5)]
    for measure in MEASURES:
        cells = []
        for start, end in pairwise(bounds):
            values = [value for sample in samples[start:end] if not isnan(value := measure.of(sample))]
            cells.append(f"{statistics.median(values):.3g}" if values else "–")
        rows.append((measure.chinese if chinese else measure.english, *cells))
    return rows


def svg_of(samples: Sequence[Sample]) -> str:
    """Return a plot: a panel for each measure, over the minutes, each from 0 to its largest value."""
    height = len(MEASURES) * (HEIGHT + GAP) + GAP
    panels = [_panel(samples, measure, GAP + number * (HEIGHT + GAP)) for number, measure in enumerate(MEASURES)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + 2 * MARGIN}" height="{height}"'
    style = 'font-family="sans-serif" font-size="12"'
    return f'{head} {style}>\n<rect width="100%" height="100%" fill="white"/>\n{"".join(panels)}</svg>\n'


def _panel(samples: Sequence[Sample], measure: Measure, top: int) -> str:
    points = [(one.minutes, value) for one in samples if not isnan(value := measure.of(one))]
    longest = max((minutes for minutes, _ in points), default=0.0) or 1.0
    largest = max((value for _, value in points), default=0.0) or 1.0
    bottom = top + HEIGHT
    line = " ".join(
        f"{MARGIN + WIDTH * minutes / longest:.1f},{bottom - HEIGHT * value / largest:.1f}" for minutes, value in points
    )
    return (
        f'<text x="{MARGIN}" y="{top - 6}" fill="{INK}">{measure.english}</text>\n'
        f'<path d="M{MARGIN} {top}V{bottom}H{MARGIN + WIDTH}" fill="none" stroke="{GRID}"/>\n'
        f'<text x="{MARGIN - 6}" y="{top + 10}" fill="{INK}" text-anchor="end">{largest:.3g}</text>\n'
        f'<text x="{MARGIN - 6}" y="{bottom}" fill="{INK}" text-anchor="end">0</text>\n'
        f'<text x="{MARGIN + WIDTH}" y="{bottom + 14}" fill="{INK}" text-anchor="end">{longest:.3g} min</text>\n'
        f'<polyline points="{line}" fill="none" stroke="{LINE}" stroke-width="1.2"/>\n'
    )
