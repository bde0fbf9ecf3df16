"""What the log has brought to a batch, as it is kept in memory and stored: messages, outcomes, extensions."""

from __future__ import annotations

from dataclasses import field

from tables.model.events import Decision, Position, Source
from tables.model.fast_dataclass import dataclass

__all__ = ["ABSENT", "START", "Extension", "Group", "Piece", "SourceState"]

ABSENT = "-"  # stands in a codes string for a station that has no outcome


START = Position(-1, 0)  # before every place in the log


@dataclass(frozen=True, slots=True)
class Group:
    """Outcomes that one event brought and that the batch took in, as they are stored; lists run in parallel.

    `at` is the event's time, Unix seconds.
    """

    position: Position
    source: Source
    stations: list[str]
    codes: str
    values: list[str | None]
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Extension:
    """An operator's `extend` that has moved the deadline (Unix seconds) to where it says."""

    position: Position
    deadline: float
    at: float
    by: str
    seconds: float


@dataclass(slots=True, eq=False)
class SourceState:
    """One source message of a batch: what it named, and what has become of it.

    `position` is its opening's, and says which message is the newer one. `codes` is frozen when the batch closes: a
    letter for each of `stations`, ABSENT for none; what comes after is in `outcomes` only. `late` says that the message
    itself came after the batch had closed.
    """

    source: Source
    opened_at: float
    deadline: float
    stations: tuple[str, ...]
    position: Position
    late: bool = False
    outcomes: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    codes: str = ""
    timeout: float | None = None
    trace: str | None = None


@dataclass(slots=True)
class Piece:
    """What a stretch of the log brought to a batch and is not stored yet, up to a decision if one ends it.

    `late` says that the batch had closed before. `position` is that of the event that led to the decision.
    """

    late: bool
    sources: list[SourceState] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    extensions: list[Extension] = field(default_factory=list)
    decision: Decision | None = None
    position: Position = START
