"""The table of the points: how often a worker was killed at each, what came of it, and how a page shows it. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.killer.check import Verdict
from tests.chaos.points.points import POINTS
from tests.marked_pages import markdown, with_section

__all__ = ["Kills", "Measured", "Words", "rows_of", "summary_of", "with_table"]


@dataclass(slots=True)
class Kills:
    """Kills at one point.

    Attributes:
        in_flight: at each, how many batches the broker had acknowledged to the producer that were not out.
        back: seconds from a kill until a batch that was sent after it came out complete.
        batches: that were in flight, or had come out since the kill before, and belong to no kill before.
        verdict: what the checker says of those.
    """

    in_flight: list[int] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    batches: set[int] = field(default_factory=set)
    verdict: Verdict = field(default_factory=Verdict)


@dataclass(slots=True)
class Measured:
    """What was found, by point.

    Attributes:
        kills: by point.
        rest: of batches that were out before the first kill, or sent after the last.
        faulty: what went wrong besides what the checker says.
    """

    kills: dict[str, Kills] = field(default_factory=dict)
    rest: Verdict = field(default_factory=Verdict)
    faulty: list[str] = field(default_factory=list)

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """What the checker says, by point; of the rest under ""."""
        return {name: kills.verdict for name, kills in self.kills.items()} | {"": self.rest}

    @property
    def good(self) -> bool:
        """Whether all is as promised: no copy either, for the outbox looks before it sends.

        What was on its way when a worker died is there by then: its successor has asked the same broker for much else.
        """
        return not self.faulty and all(one.good and not one.copies for one in self.verdicts.values())

    def verdict_of(self, point: str) -> Verdict:
        """Return what the checker says of the batches of a point, or of the rest."""
        return self.kills[point].verdict if point else self.rest

    def add(self, other: Measured) -> None:
        """Add what another kind of application has shown, which has other points."""
        self.kills |= other.kills
        self.rest.add(other.rest)
        self.faulty += other.faulty


@dataclass(frozen=True, slots=True)
class Words:
    """What a page says, in one language."""

    heads: Sequence[str]
    all: str
    summary: str
    chinese: bool = False


ENGLISH: Final = Words(
    (
        "the worker is killed when",
        "kills",
        "batches in flight",
        "batches",
        "lost",
        "copies: identical",
        "different",
        "wrong",
        "seconds until outputs flow again: median",
        "worst",
    ),
    "all",
    "And {sent} batches that were out before the first kill of a group, or sent after the last: {lost} lost, {copies} "
    "identical copies, {bad} different or wrong. {by_rule} stations failed by rule.",
)
CHINESE: Final = Words(
    (
        "worker 在何时被杀死",
        "次数",
        "处理中的批次",
        "批次",
        "丢失",
        "重复输出：相同",
        "不同",
        "错误",
        "恢复输出所需秒数：中位数",
        "最长",
    ),
    "合计",
    "另有各组第一次被杀死之前已输出或最后一次之后发送的批次 {sent} 个：丢失 {lost} 个，相同的重复输出 {copies} 个，"
    "不同或错误 {bad} 个。按规则判为失败的场站 {by_rule} 个。",
    chinese=True,
)


def rows_of(measured: Measured, words: Words = ENGLISH) -> list[tuple[str, ...]]:
    """Return the table's rows, the heads first, all points together last. What was not measured is a dash."""
    rows = [tuple(words.heads)]
    total = Kills()
    for point in POINTS:
        if kills := measured.kills.get(point.name):
            rows.append(_row(point.chinese if words.chinese else point.english, kills))
            total.in_flight += kills.in_flight
            total.back += kills.back
            total.verdict.add(kills.verdict)
    return [*rows, _row(words.all, total)]


def _row(name: str, kills: Kills) -> tuple[str, ...]:
    found = kills.verdict
    counts = (found.sent, len(found.lost), found.copies, len(found.different), len(found.wrong))
    in_flight = _median(kills.in_flight, 0)
    return (name, str(len(kills.in_flight)), in_flight, *map(str, counts), *_figures(kills.back))


def summary_of(measured: Measured, words: Words = ENGLISH) -> str:
    """Return what came of the other batches, as a sentence."""
    rest = measured.rest
    return words.summary.format(
        sent=rest.sent,
        lost=len(rest.lost),
        copies=rest.copies,
        bad=len(rest.different) + len(rest.wrong),
        by_rule=sum(one.by_rule for one in measured.verdicts.values()),
    )


def with_table(page: str, measured: Measured, *, chinese: bool) -> str:
    """Return the page with what was measured between its markers; raises ValueError where there is not one pair."""
    words = CHINESE if chinese else ENGLISH
    text = f"{markdown(rows_of(measured, words))}\n\n{summary_of(measured, words)}"
    return with_section(page, "points", text)


def _figures(seconds: Sequence[float]) -> tuple[str, str]:
    return _median(seconds, 1), f"{max(seconds):.1f}" if seconds else "–"


def _median(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f}" if values else "–"
