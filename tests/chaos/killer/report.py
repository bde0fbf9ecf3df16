"""The table of the killer: what was done, and what came of it; and how a page shows it. Pure."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.killer.check import Verdict
from tests.chaos.killer.faults import FAULTS
from tests.marked_pages import markdown, with_section

__all__ = ["Measured", "Words", "rows_of", "summary_of", "with_table"]


@dataclass(slots=True)
class Measured:
    """What was found in a run, or in several.

    Attributes:
        faults: how often each kind happened.
        back: by kind, seconds from the end of a fault until a batch that was sent after it came out complete.
        faulty: what went wrong besides what the verdict says.
        ended: how often a worker ended by itself and was started again, by exit code.
    """

    faults: Counter[str] = field(default_factory=Counter)
    back: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    verdict: Verdict = field(default_factory=Verdict)
    faulty: list[str] = field(default_factory=list)
    ended: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether all is as promised."""
        return self.verdict.good and not self.faulty

    def add(self, other: Measured) -> None:
        """Add another run."""
        self.faults += other.faults
        self.ended += other.ended
        self.faulty += other.faulty
        self.seconds += other.seconds
        self.verdict.add(other.verdict)
        for name, seconds in other.back.items():
            self.back[name] += seconds


@dataclass(frozen=True, slots=True)
class Words:
    """What a page says, in one language."""

    heads: Sequence[str]
    all: str
    summary: str
    ended: str
    chinese: bool = False


ENGLISH: Final = Words(
    ("what was done", "times", "seconds until outputs flow again: median", "worst"),
    "all",
    "{faults} faults in {minutes:.0f} minutes; {sent} batches acknowledged to the producer, {out} out, "
    "**{lost} lost**; copies: {copies} identical, **{different} different**; **{wrong} wrong**; {partial} partial, of "
    "whose stations {missing} were found late or skipped; {by_rule} stations failed by rule.",
    "Workers that ended by themselves and were started again: {ended}.",
)
CHINESE: Final = Words(
    ("做了什么", "次数", "恢复输出所需秒数：中位数", "最长"),
    "合计",
    "{minutes:.0f} 分钟内 {faults} 次故障；生产者获确认的批次 {sent} 个，输出 {out} 个，**丢失 {lost} 个**；"
    "重复输出：相同 {copies} 个，**不同 {different} 个**；**错误 {wrong} 个**；不完整 {partial} 个，"
    "其缺失的 {missing} 个场站在迟到主题中找到或已跳过；按规则判为失败的场站 {by_rule} 个。",
    "自行结束后被重新启动的 worker：{ended}。",
    chinese=True,
)


def rows_of(measured: Measured, words: Words = ENGLISH) -> list[tuple[str, ...]]:
    """Return the table's rows, the heads first, all kinds together last. What was not measured is a dash."""
    rows = [tuple(words.heads)]
    for fault in FAULTS.values():
        if times := measured.faults[fault.name]:
            name = fault.chinese if words.chinese else fault.english
            rows.append((name, str(times), *_figures(measured.back.get(fault.name, []))))
    every = [seconds for values in measured.back.values() for seconds in values]
    rows.append((words.all, str(measured.faults.total()), *_figures(every)))
    return rows


def summary_of(measured: Measured, words: Words = ENGLISH) -> list[str]:
    """Return what came of the batches, and of the workers, as sentences."""
    verdict = measured.verdict
    sentence = words.summary.format(
        faults=measured.faults.total(),
        minutes=measured.seconds / 60,
        sent=verdict.sent,
        out=verdict.out,
        lost=len(verdict.lost),
        copies=verdict.copies,
        different=len(verdict.different),
        wrong=len(verdict.wrong),
        partial=verdict.partial,
        missing=verdict.missing,
        by_rule=verdict.by_rule,
    )
    ended = ", ".join(f"{count} × {code}" for code, count in sorted(measured.ended.items()))
    return [sentence, *([words.ended.format(ended=ended)] if ended else [])]


def with_table(page: str, measured: Measured, *, chinese: bool) -> str:
    """Return the page with what was measured between its markers; raises ValueError where there is not one pair."""
    words = CHINESE if chinese else ENGLISH
    table = markdown(rows_of(measured, words))
    return with_section(page, "killer", f"{table}\n\n" + "\n".join(f"- {line}" for line in summary_of(measured, words)))


def _figures(seconds: Sequence[float]) -> tuple[str, str]:
    return (f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}") if seconds else ("–", "–")
