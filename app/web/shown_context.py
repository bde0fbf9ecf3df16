"""A station's context as the web shows it: the latest points, how many there are, and how old the newest is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

from app.inputs.guns import AlignmentError
from app.inputs.timestamps import parse_time

SHOWN: Final = 12  # points of a window
_OF_GUNS: Final = frozenset({"gunNo", "hostCode"})


def shown_context(
    context: Mapping[str, Mapping[str, list[Any]] | AlignmentError], timezone: ZoneInfo, now: float
) -> dict[str, Any]:
    """Return by topic how many points there are, the newest's time and age in seconds, and the latest columns.

    Args:
        context: columns by topic, as a callback gets them, or why they can't be made.
        timezone: of their `sendTime`.
        now: Unix seconds.
    """
    return {
        topic: {"error": str(columns)} if isinstance(columns, AlignmentError) else _shown(columns, timezone, now)
        for topic, columns in context.items()
    }


def _shown(columns: Mapping[str, list[Any]], timezone: ZoneInfo, now: float) -> dict[str, Any]:
    times = columns.get("sendTime", [])
    newest = parse_time(times[-1], timezone) if times else None
    of_guns = _OF_GUNS if "gunNo" in columns else ()
    return {
        "points": len(times),
        "newest": newest,
        "age": None if newest is None else now - newest,
        "columns": {name: [*values] if name in of_guns else values[-SHOWN:] for name, values in columns.items()},
    }
