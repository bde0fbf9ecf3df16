"""What the demo prints: one line for each message that comes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from rich.text import Text

from app.demo.tally import Output, Tally, read_json
from app.observability.log_lines import printable

__all__ = ["dead_letter_line", "late_line", "output_line", "summary"]

NAMES_SHOWN = 5
ERROR_SHOWN = 80
_STYLES = {"complete": "green", "partial": "yellow"}


def output_line(output: Output, at: datetime) -> Text:
    """One merged batch."""
    status = output.status or output.completed_by or "published"
    arrived = output.results if output.arrived is None else output.arrived
    count = "" if arrived is None else f"{arrived}/{output.expected}" if output.expected is not None else f"{arrived}"
    line = _line(at, "batch", output.batch_id, _STYLES.get(status, "cyan"), f"{status:8}")
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
    late = read_json(value)
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
    # A traceback says in its last line what was wrong.
    error = printable((known.get("error", "").strip().splitlines() or [""])[-1], ERROR_SHOWN)
    line = _line(at, "dead letter", known.get("batch-id", "-"), "red", known.get("reason", "?"))
    return line.append("".join(f"  {part}" for part in (known.get("station-id", ""), error) if part))


def summary(tally: Tally, *, late_topic: str, dead_letter_topic: str) -> list[Text]:
    """How it ended."""
    outputs = tally.outputs
    statuses = Counter(output.status or output.completed_by or "published" for output in outputs)
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
