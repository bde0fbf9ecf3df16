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
from app.words import counted_word

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


def output_line(output: Output, at: datetime) -> Text:
    """One merged batch."""
    return _line(at, "batch", output_pieces(output))


def late_line(key: bytes | None, value: bytes | None, at: datetime) -> Text:
    """One message of the late topic."""
    return _line(at, "late result", late_pieces(key, value))


def dead_letter_line(headers: Mapping[str, bytes], at: datetime) -> Text:
    """One message of the dead-letter topic."""
    known = {name: value.decode(errors="replace") for name, value in headers.items()}
    error = printable(last_line(known.get("error", "")), ERROR_SHOWN)
    pieces = [
        (f"{printable(known.get('batch-id', '-'), BATCH_SHOWN)}  ", ""),
        (printable(known.get("reason", "?")), "red"),
    ]
    rest = (f"  {part}" for part in (printable(known.get("station-id", "")), error) if part)
    return _line(at, "dead letter", [*pieces, *((part, "") for part in rest)])


def summary(tally: Tally, overdue: Sequence[str], *, late_topic: str, dead_letter_topic: str) -> list[Text]:
    """Lines that say how the demo ended. `overdue` are the batches that should have come out, and have not."""
    statuses = tally.settled + Counter(output.outcome for output in tally.outputs)
    counts = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    under_way = len(tally.awaited) - len(overdue)
    said = f"{counted_word(tally.number, 'batch')} sent, {statuses.total()} came out" + (
        f": {counts}" if counts else ""
    )
    lines = [
        Text(
            f"{said}; {under_way} under way." if under_way else f"{said}.",
            "bold red" if overdue or tally.repeated else "bold green",
        )
    ]
    if overdue:
        lines.append(Text(f"Not come out: {', '.join(overdue)}", "red"))
    if tally.repeated:
        lines.append(Text(f"Came out more than once: {', '.join(tally.repeated)}", "red"))
    if tally.discarded:
        lines.append(Text(f"Discarded: {', '.join(sorted(tally.discarded))}"))
    if tally.dead_letters:
        lines.append(Text(f"Dead letters: {tally.dead_letters}, in {dead_letter_topic}"))
    if tally.late:
        lines.append(Text(f"Late results: {tally.late}, in {late_topic}"))
    return lines


def _line(at: datetime, what: str, pieces: Iterable[Piece]) -> Text:
    return Text.assemble(f"{at:%H:%M:%S}  {what:11}  ", *pieces)
