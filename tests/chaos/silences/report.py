"""The table of silences: what was measured, and how a page shows it. Pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from tests.marked_pages import markdown, with_section

__all__ = ["Cell", "Counts", "Fault", "Measured", "rows_of", "shares_of", "with_table"]


class Fault(StrEnum):
    """What happens to one worker of a group."""

    JOIN = "join"
    LEAVE = "leave"
    BACK = "back"
    AWAY = "away"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Cell:
    """What happens, in a group of how many workers, and whether they have names."""

    fault: Fault
    workers: int
    named: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """Of the batches that were sent in some time: how many came out complete, of how many."""

    complete: int
    sent: int

    def __str__(self) -> str:
        return f"{self.complete / self.sent:.1%}" if self.sent else "–"


@dataclass(slots=True)
class Measured:
    """Silences by cell, in seconds; and batches under a fault each 15 s, by workers and whether they had names."""

    silences: dict[Cell, list[float]] = field(default_factory=lambda: defaultdict(list))
    shares: dict[tuple[int, bool], Counts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Words:
    """What a page says, in one language."""

    heads: Sequence[str]
    faults: Mapping[Fault, str]
    named: Mapping[bool, str]
    share: str


_ENGLISH: Final = _Words(
    ("what happens to one of them", "workers", "with a name: median", "worst", "without: median", "worst"),
    {
        Fault.JOIN: "it joins, the others are there",
        Fault.LEAVE: "it leaves (SIGTERM)",
        Fault.BACK: "it is killed (`kill -9`) and started again at once",
        Fault.AWAY: "it is killed and does not come back",
        Fault.STOP: "it stands still for 7.5 s (SIGSTOP, SIGCONT)",
    },
    {True: "with names", False: "without"},
    "A fault each 15 s, timeout 10 s, {workers} workers, {named}: {counts} of the batches were complete.",
)
_CHINESE: Final = _Words(
    ("其中一个发生了什么", "worker 数", "有名称：中位数", "最长", "无名称：中位数", "最长"),
    {
        Fault.JOIN: "加入（其他的已在组中）",
        Fault.LEAVE: "离开（SIGTERM）",
        Fault.BACK: "被杀死（`kill -9`）并立即重新启动",
        Fault.AWAY: "被杀死且不再回来",
        Fault.STOP: "停顿 7.5 秒（SIGSTOP、SIGCONT）",
    },
    {True: "有名称", False: "无名称"},
    "每 15 秒一次故障，超时 10 秒，{workers} 个 worker，{named}：{counts} 的批次完整。",
)


def rows_of(measured: Measured, words: _Words = _ENGLISH) -> list[tuple[str, ...]]:
    """Return the table's rows, the heads first. What was not measured is a dash."""
    cells = measured.silences
    rows = [tuple(words.heads)]
    for fault in Fault:
        for workers in sorted({cell.workers for cell in cells if cell.fault is fault}):
            figures: list[str] = []
            for named in (True, False):
                values = cells.get(Cell(fault, workers, named))
                figures += [f"{statistics.median(values):.1f}", f"{max(values):.1f}"] if values else ["–", "–"]
            rows.append((words.faults[fault], str(workers), *figures))
    return rows


def shares_of(measured: Measured, words: _Words = _ENGLISH) -> list[str]:
    """Return a sentence for each group in which the share of complete batches was measured."""
    return [
        words.share.format(workers=workers, named=words.named[named], counts=counts)
        for (workers, named), counts in sorted(measured.shares.items())
    ]


def with_table(page: str, measured: Measured, *, chinese: bool) -> str:
    """Return the page with what was measured between its markers.

    Raises:
        ValueError: there is not exactly one pair of markers.
    """
    words = _CHINESE if chinese else _ENGLISH
    shares = "".join([f"\n- {line}" for line in shares_of(measured, words)])
    return with_section(page, "silences", f"{markdown(rows_of(measured, words))}\n{shares}")
