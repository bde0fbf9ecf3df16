"""The demo's outputs: read, held against what was sent, and printed as one line for each message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rich.text import Text

from app.cli.published import BATCH_SHOWN, Output, Piece, late_pieces, output_pieces
from app.messages.dead_letters import last_line
from app.observability.log_lines import printable
from app.settings.enums import Language
from app.words import Words, joined, told, words

ERROR_SHOWN = 80


@dataclass(slots=True)
class Tally:
    """Counts sent batches and their outputs; messages of other batches do not count."""

    sent: dict[str, float] = field(default_factory=dict)
    """Batch id -> when it was sent."""
    late: int = 0
    dead_letters: int = 0
    discarded: set[str] = field(default_factory=set)
    """Batches that an operator, or a rule, has had not come out."""
    settled: Counter[str] = field(default_factory=Counter)
    """How many batches came out long ago, by their outcome: no more is kept of them."""
    _parts: dict[str, Counter[tuple[int, int]]] = field(default_factory=dict)  # batch -> (revision, part) -> times
    _first: dict[str, Output] = field(default_factory=dict)

    def take(self, output: Output) -> None:
        """Count a message of the output topic."""
        if output.batch_id in self.sent:
            self._first.setdefault(output.batch_id, output)
            self._parts.setdefault(output.batch_id, Counter())[output.revision, output.part] += 1

    @property
    def outputs(self) -> list[Output]:
        """The first output of each batch that has come out, whole, in the order of coming."""
        return [output for output in self._first.values() if self._is_whole(output)]

    @property
    def awaited(self) -> list[str]:
        """The batches that have still to come out, in the order of sending."""
        out = {output.batch_id for output in self.outputs} | self.discarded
        return [batch_id for batch_id in self.sent if batch_id not in out]

    @property
    def repeated(self) -> list[str]:
        """The batches of which something came out twice."""
        return [batch_id for batch_id, parts in self._parts.items() if max(parts.values()) > 1]

    @property
    def number(self) -> int:
        """How many batches have been sent."""
        return self.settled.total() + len(self.sent)

    def overdue(self, before: float) -> list[str]:
        """Return the batches that were sent before that time, and have not come out."""
        return [batch_id for batch_id in self.awaited if self.sent[batch_id] < before]

    def settle(self, before: float) -> None:
        """Keep nothing but a count of the batches that were sent before that time and have come out, once."""
        repeated = set(self.repeated)
        for output in self.outputs:
            batch_id = output.batch_id
            if self.sent[batch_id] < before and batch_id not in repeated:
                self.settled[output.outcome] += 1
                del self.sent[batch_id], self._first[batch_id], self._parts[batch_id]

    @property
    def owed(self) -> int:
        """Number of missing stations: each should still show up in the late topic."""
        return sum(len(output.missing) for output in self.outputs)

    def _is_whole(self, output: Output) -> bool:
        parts = {part for revision, part in self._parts[output.batch_id] if revision == output.revision}
        return len(parts) == output.parts


def output_line(output: Output, at: datetime, language: Language) -> Text:
    """One merged batch."""
    return _line(at, words("batch", "批次"), output_pieces(output), language)


def late_line(key: bytes | None, value: bytes | None, at: datetime, language: Language) -> Text:
    """One message of the late topic."""
    return _line(at, words("late result", "迟到的结果"), late_pieces(key, value), language)


def dead_letter_line(headers: Mapping[str, bytes], at: datetime, language: Language) -> Text:
    """One message of the dead-letter topic."""
    known = {name: value.decode(errors="replace") for name, value in headers.items()}
    error = printable(last_line(known.get("error", "")), ERROR_SHOWN)
    pieces = [
        (f"{printable(known.get('batch-id', '-'), BATCH_SHOWN)}  ", ""),
        (printable(known.get("reason", "?")), "red"),
    ]
    rest = (f"  {part}" for part in (printable(known.get("station-id", "")), error) if part)
    return _line(at, words("dead letter", "死信"), [*pieces, *((part, "") for part in rest)], language)


def summary(
    tally: Tally, overdue: Sequence[str], *, late_topic: str, dead_letter_topic: str, language: Language
) -> list[Text]:
    """Lines that say how the demo ended. `overdue` are the batches that should have come out, and have not."""
    statuses = tally.settled + Counter(output.outcome for output in tally.outputs)
    counts = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    under_way = len(tally.awaited) - len(overdue)
    said = [
        words(
            "{n:batch} sent, {out} came out", "已发送 {n} 个批次，输出 {out} 个", n=tally.number, out=statuses.total()
        )
    ]
    if counts:
        said.append(words(": {counts}", "：{counts}", counts=counts))
    if under_way:
        said.append(words("; {n} under way", "；{n} 个正在处理", n=under_way))
    lines = [(joined("", [*said, words(".", "。")]), "bold red" if overdue or tally.repeated else "bold green")]
    optional = (
        (overdue, words("Not come out: {ids}", "未输出：{ids}", ids=", ".join(overdue)), "red"),
        (
            tally.repeated,
            words("Came out more than once: {ids}", "重复输出：{ids}", ids=", ".join(tally.repeated)),
            "red",
        ),
        (tally.discarded, words("Discarded: {ids}", "已丢弃：{ids}", ids=", ".join(sorted(tally.discarded))), ""),
        (
            tally.dead_letters,
            words(
                "Dead letters: {n}, in {topic}",
                "死信：{n} 条，在 {topic} 中",
                n=tally.dead_letters,
                topic=dead_letter_topic,
            ),
            "",
        ),
        (
            tally.late,
            words("Late results: {n}, in {topic}", "迟到的结果：{n} 个，在 {topic} 中", n=tally.late, topic=late_topic),
            "",
        ),
    )
    lines += [(text, style) for there, text, style in optional if there]
    return [Text(told(text, language), style) for text, style in lines]


def _line(at: datetime, what: Words, pieces: Iterable[Piece], language: Language) -> Text:
    parts = ((told(text, language), style) for text, style in pieces)
    return Text.assemble(f"{at:%H:%M:%S}  {told(what, language):11}  ", *parts)
