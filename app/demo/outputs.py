"""The demo's outputs: read, held against what was sent, and printed as one line for each message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from rich.text import Text

from app.messages.dead_letters import last_line
from app.observability.log_lines import printable

NAMES_SHOWN = 5
ERROR_SHOWN = 80
_STYLES = {"complete": "green", "partial": "yellow"}


@dataclass(frozen=True, slots=True)
class Output:
    """A message of the output topic. What its payload does not tell (a custom one, or one without `meta`) is None."""

    batch_id: str
    revision: int
    part: int
    parts: int
    completed_by: str
    status: str | None = None
    results: int | None = None
    arrived: int | None = None
    expected: int | None = None
    missing: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    seconds: float | None = None
    """From the opening of the batch to its closing."""

    @property
    def outcome(self) -> str:
        """A word for how the batch was closed."""
        return self.status or self.completed_by or "published"

    @classmethod
    def read(cls, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> Output:
        """Read a message, whatever its payload."""
        payload = _read_json(value)
        meta = payload.get("meta") or {}
        return cls(
            batch_id=(key or b"").decode(errors="replace"),
            revision=_number(headers.get("revision")),
            part=_number(headers.get("part")),
            parts=_number(headers.get("parts")),
            completed_by=headers.get("completed-by", b"").decode(errors="replace"),
            results=payload.get("station_count"),
            status=meta.get("status"),
            arrived=meta.get("arrived_count"),
            expected=meta.get("expected_count"),
            missing=tuple(meta.get("missing", ())),
            failed=tuple(failure["station_id"] for failure in meta.get("failed", ())),
            empty=tuple(meta.get("empty", ())),
            seconds=meta["closed_at"] - meta["opened_at"] if meta else None,
        )


@dataclass(slots=True)
class Tally:
    """Counts sent batches and their outputs; messages of other batches do not count."""

    sent: dict[str, float] = field(default_factory=dict)
    """Batch id -> when it was sent."""
    late: int = 0
    dead_letters: int = 0
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
        """The batches that have not come out, in the order of sending."""
        out = {output.batch_id for output in self.outputs}
        return [batch_id for batch_id in self.sent if batch_id not in out]

    @property
    def repeated(self) -> list[str]:
        """The batches of which something came out twice."""
        return [batch_id for batch_id, parts in self._parts.items() if max(parts.values()) > 1]

    @property
    def owed(self) -> int:
        """Number of missing stations: each should still show up in the late topic."""
        return sum(len(output.missing) for output in self.outputs)

    def _is_whole(self, output: Output) -> bool:
        parts = {part for revision, part in self._parts[output.batch_id] if revision == output.revision}
        return len(parts) == output.parts


def output_line(output: Output, at: datetime) -> Text:
    """One merged batch."""
    arrived = output.results if output.arrived is None else output.arrived
    count = "" if arrived is None else f"{arrived}/{output.expected}" if output.expected is not None else f"{arrived}"
    line = _line(at, "batch", output.batch_id, _STYLES.get(output.outcome, "cyan"), f"{output.outcome:8}")
    line.append(f"  {count} stations" if count else "  a custom payload")
    if output.parts > 1:
        line.append(f"  part {output.part} of {output.parts}")
    if output.revision > 1:
        line.append(f"  revision {output.revision}")
    if output.seconds is not None:
        line.append(f"  {output.seconds:.2f} s")
    for what, ids, style in (
        ("missing", output.missing, "yellow"),
        ("failed", output.failed, "red"),
        ("empty", output.empty, "dim"),
    ):
        if ids:
            line.append(f"  {what}: {_names(ids)}", style)
    return line


def late_line(key: bytes | None, value: bytes | None, at: datetime) -> Text:
    """One message of the late topic."""
    late = _read_json(value)
    batch_id = late.get("batch_id") or (key or b"").decode(errors="replace")
    line = _line(at, "late result", batch_id, "yellow", f"{late.get('station_id')}")
    status = late.get("status")
    line.append(
        "  not run: the deadline had passed before its turn came" if status == "skipped" else f"  {status}, too late"
    )
    if late.get("closed_at") and late.get("timestamp"):
        line.append(f" ({late['timestamp'] - late['closed_at']:.2f} s after the batch was closed)")
    return line


def dead_letter_line(headers: Mapping[str, bytes], at: datetime) -> Text:
    """One message of the dead-letter topic."""
    known = {name: value.decode(errors="replace") for name, value in headers.items()}
    error = printable(last_line(known.get("error", "")), ERROR_SHOWN)
    line = _line(at, "dead letter", known.get("batch-id", "-"), "red", known.get("reason", "?"))
    return line.append("".join(f"  {part}" for part in (known.get("station-id", ""), error) if part))


def summary(tally: Tally, *, late_topic: str, dead_letter_topic: str) -> list[Text]:
    """Lines that say how the demo ended."""
    outputs = tally.outputs
    statuses = Counter(output.outcome for output in outputs)
    counts = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    good = not tally.awaited and not tally.repeated
    lines = [
        Text(
            f"{len(tally.sent)} batches sent, {len(outputs)} came out" + (f": {counts}." if counts else "."),
            "bold green" if good else "bold red",
        )
    ]
    if tally.awaited:
        lines.append(Text(f"Not come out: {', '.join(tally.awaited)}", "red"))
    if tally.repeated:
        lines.append(Text(f"Came out more than once: {', '.join(tally.repeated)}", "red"))
    if tally.dead_letters:
        lines.append(Text(f"Dead letters: {tally.dead_letters}, in {dead_letter_topic}"))
    if tally.late:
        lines.append(Text(f"Late results: {tally.late}, in {late_topic}"))
    return lines


def _line(at: datetime, what: str, batch_id: str, style: str, status: str) -> Text:
    return Text(f"{at:%H:%M:%S}  {what:11}  {printable(batch_id)}  ").append(printable(status), style)


def _names(ids: Iterable[str]) -> str:
    every = [printable(station_id, 60) for station_id in ids]
    more = f" +{len(every) - NAMES_SHOWN}" if len(every) > NAMES_SHOWN else ""
    return " ".join(every[:NAMES_SHOWN]) + more


def _read_json(value: bytes | None) -> dict[str, Any]:
    """The JSON object that a message holds; an empty one if it holds something else."""
    try:
        loaded = orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _number(header: bytes | None) -> int:
    return int(header) if header and header.isdigit() else 1
