"""Which letters a command is about. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from app.inputs.timestamps import parse_time
from app.messages.dead_letters import Letter

__all__ = ["Filters", "chunks", "newest", "parse_place", "parse_since"]

CHUNK_LETTERS = 200  # whose values are held at once
CHUNK_BYTES = 32 * 1024 * 1024

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?[smhd])+")
_STEP = re.compile(r"([0-9.]+)([smhd])")
_PLACE = re.compile(r"([0-9]{1,9})@([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Filters:
    """What a letter has to be like; an empty set asks for nothing. `since` is Unix seconds, compared to `failed_at`."""

    reasons: frozenset[str] = frozenset()
    batches: frozenset[str] = frozenset()
    stations: frozenset[str] = frozenset()
    since: float | None = None

    def match(self, letter: Letter) -> bool:
        """Whether the letter is one of those that are asked for."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.batches or letter.batch_id in self.batches)
            and (not self.stations or letter.station_id in self.stations)
            and (self.since is None or letter.failed_at >= self.since)
        )


def parse_since(text: str, timezone: ZoneInfo, now: float) -> float:
    """Unix seconds of a time (ISO 8601, in `timezone` where it names none), or of a duration before `now`: `1h30m`.

    Raises:
        ValueError: it is neither.
    """
    if _DURATION.fullmatch(text):
        return now - sum(float(number) * _UNITS[unit] for number, unit in _STEP.findall(text))
    moment = parse_time(text, timezone)
    if moment is None:
        message = f"{text!r} is neither a time such as 2025-11-14T10:00:00 nor a duration such as 2h, 30m or 1d12h"
        raise ValueError(message)
    return moment


def parse_place(text: str) -> tuple[int, int]:
    """Partition and offset of `PARTITION@OFFSET`.

    Raises:
        ValueError: it has another form.
    """
    found = _PLACE.fullmatch(text)
    if found is None:
        message = f"{text!r} is not of the form PARTITION@OFFSET, such as 3@17"
        raise ValueError(message)
    return int(found[1]), int(found[2])


def newest(letters: Iterable[Letter], limit: int | None) -> list[Letter]:
    """The newest letters, at most `limit`, in the order of their times."""
    ordered = sorted(letters, key=lambda letter: (letter.failed_at, letter.partition, letter.offset))
    return ordered if limit is None else ordered[len(ordered) - min(limit, len(ordered)) :]


def chunks(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    """The letters in their order, so many together as may be held with their values."""
    chunk: list[Letter] = []
    size = 0
    for letter in letters:
        if chunk and (len(chunk) >= CHUNK_LETTERS or size + letter.size > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(letter)
        size += letter.size
    if chunk:
        yield chunk
