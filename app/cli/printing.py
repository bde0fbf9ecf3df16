"""What commands print: tables, times, counts. Pure but for the look at the terminal."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterable, Sequence
from zoneinfo import ZoneInfo

from app.inputs.timestamps import format_time

__all__ = ["counted", "shown_time", "table_lines", "terminal_width"]


def counted(number: int, what: str) -> str:
    """`1 letter`, `2 letters`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def shown_time(seconds: float, timezone: ZoneInfo) -> str:
    """A point in time (Unix seconds) as people read it, in that zone; any number has some text."""
    try:
        return format_time(math.floor(seconds), timezone)
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}"


def table_lines(headings: Sequence[str], rows: Iterable[Sequence[str]], width: int | None) -> list[str]:
    """Lines of a table with its headings, each cut at `width` characters; None: not cut."""
    cells = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [line if width is None or len(line) <= width else line[: width - 1] + "…" for line in lines]


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; None for a file or a pipe, which get whole lines."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
