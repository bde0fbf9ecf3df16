"""How letters are shown: a table, a JSON object a line, or one of them in full. Pure.

What stands in a letter comes from outside: in the forms for a terminal, what is not printable is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from zoneinfo import ZoneInfo

import orjson

from app.cli.printing import shown_time, table_lines
from app.messages.dead_letters import Letter, last_line
from app.observability.log_lines import printable

__all__ = ["full", "json_line", "table"]

HEADINGS = ("TIME", "REASON", "BATCH", "STATION", "SOURCE", "LETTER", "REPLAYED", "ERROR")
NAME_SHOWN = 80
ERROR_SHOWN = 300

ReplayedAt = Callable[[Letter], float | None]
"""When a letter was replayed, Unix seconds; None: never."""


def table(letters: Sequence[Letter], replayed_at: ReplayedAt, timezone: ZoneInfo, width: int | None) -> list[str]:
    """Lines of a table with its headings, each cut at `width` characters; None: not cut."""
    return table_lines(HEADINGS, [_row(letter, replayed_at(letter), timezone) for letter in letters], width)


def json_line(letter: Letter, replayed_at: float | None) -> bytes:
    """One letter for machines. Key and value are text; what is no UTF-8 is under `key_base64` and `value_base64`."""
    source = letter.source
    record: dict[str, object] = {
        "partition": letter.partition,
        "offset": letter.offset,
        "written_at": letter.written_at,
        "failed_at": letter.failed_at,
        "reason": letter.reason,
        "batch_id": letter.batch_id,
        "station_id": letter.station_id,
        "source": source and {"topic": source.topic, "partition": source.partition, "offset": source.offset},
        "replayed_at": replayed_at,
        "error": letter.error,
        **_bytes("key", letter.key),
        **_bytes("value", letter.value),
    }
    return orjson.dumps(record)


def full(letter: Letter, replayed_at: float | None, timezone: ZoneInfo) -> list[str]:
    """One letter with its whole error and value, as lines."""
    named = {
        "letter": letter.place,
        "time": shown_time(letter.failed_at, timezone),
        "reason": letter.reason,
        "batch": letter.batch_id,
        "station": letter.station_id,
        "source": _source(letter),
        "key": None if letter.key is None else letter.key.decode(errors="backslashreplace"),
        "replayed": None if replayed_at is None else shown_time(replayed_at, timezone),
    }
    lines = [f"{name}:".ljust(10) + (printable(value, len(value)) or "-") for name, value in _known(named)]
    lines += ["error:", *(f"    {printable(line, len(line))}" for line in letter.error.rstrip().split("\n"))]
    value = "(none)" if letter.value is None else letter.value.decode(errors="backslashreplace")
    return [*lines, f"value ({letter.size} bytes):", *(printable(line, len(line)) for line in value.split("\n"))]


def _row(letter: Letter, replayed_at: float | None, timezone: ZoneInfo) -> tuple[str, ...]:
    return (
        shown_time(letter.failed_at, timezone),
        _cell(letter.reason),
        _cell(letter.batch_id),
        _cell(letter.station_id),
        _cell(_source(letter)),
        letter.place,
        "-" if replayed_at is None else shown_time(replayed_at, timezone),
        printable(last_line(letter.error), ERROR_SHOWN),
    )


def _cell(text: str | None) -> str:
    return printable(text, NAME_SHOWN) if text else "-"


def _source(letter: Letter) -> str | None:
    source = letter.source
    return f"{source.topic}[{source.partition}]@{source.offset}" if source else None


def _known(named: dict[str, str | None]) -> Iterable[tuple[str, str]]:
    return ((name, value) for name, value in named.items() if value is not None)


def _bytes(name: str, value: bytes | None) -> dict[str, str | None]:
    if value is None:
        return {name: None}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}
