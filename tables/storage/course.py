"""The course of a batch as far as it is known: its messages, arrivals, extensions, decisions, and what came late. Pure.

An open batch knows when each outcome came. Of one that is closed, only what a revision needs is stored: the records say
what came in time, and when the last of it did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from tables.model.batch import FIRST_REVISION, Batch
from tables.model.enums import CompletedBy, State, Status
from tables.model.events import ABSENT, Group, Operator, Segment, Source, SourceState
from tables.storage.records import Destination, Header, Revision


class Arrival(NamedTuple):
    """The outcome of a station in time: its code, and when it came (Unix seconds), None where that is not known."""

    code: str
    at: float | None


class Step(NamedTuple):
    """A decision: the closing of the batch, or a later revision; `at` is Unix seconds.

    `destination` is None until it is stored, and `is_out` says that the outbox is done with it.
    """

    revision: int
    at: float
    status: Status
    completed_by: CompletedBy
    destination: Destination | None
    is_out: bool


@dataclass(frozen=True, slots=True)
class Course:
    """What has happened to a batch.

    Attributes:
        sources: its messages in the order of the log, late ones too.
        arrivals: outcomes in time by station, in the order of the messages.
        arrived_at: when the last of them came, Unix seconds; None where none has.
        extensions: of the deadline by operators: when (Unix seconds), and who.
        operator: the last that an operator did.
        steps: decisions, the first one first; none while it is open.
        late: outcomes that came after the closing.
    """

    sources: Sequence[SourceState]
    arrivals: Mapping[str, Arrival]
    arrived_at: float | None
    extensions: Sequence[tuple[float, str]]
    operator: Operator | None
    steps: Sequence[Step]
    late: Sequence[Group]


def course_of_batch(batch: Batch, segments: Iterable[Segment]) -> Course:
    """Return the course of a batch that is open, or whose first output is not out; with the segments that hold it."""
    segments = list(segments)
    times = _times(group for segment in segments if not segment.late for group in segment.groups)
    arrivals: dict[str, Arrival] = {}
    for station, source in batch.expected.items():
        outcome = source.outcomes.get(station)
        if outcome is not None:
            arrivals[station] = Arrival(outcome[0], times.get((source.source, station)))
    decision = batch.decision
    return Course(
        sources=list(batch.sources.values()),
        arrivals=arrivals,
        arrived_at=batch.arrived_at,
        extensions=[(one.at, one.by) for one in batch.extensions],
        operator=batch.operator,
        steps=[Step(decision.revision, decision.closed_at, decision.status, decision.completed_by, None, is_out=False)]
        if decision is not None
        else [],
        late=[group for segment in segments if segment.late for group in segment.groups],
    )


def course_of_records(
    header: Header, early: Iterable[Segment], late: Iterable[Segment], revisions: Iterable[Revision]
) -> Course:
    """Return the course of a closed batch; `early` are the segments that are left of what came in time."""
    late = list(late)
    times = _times([*(group for segment in early for group in segment.groups), *header.tail])
    arrivals: dict[str, Arrival] = {}
    for source in header.sources:
        for station, code in zip(source.stations, source.codes, strict=True):
            if code != ABSENT:
                arrivals[station] = Arrival(code, times.get((source.source, station)))
    steps = [_step(FIRST_REVISION, header, header.completed_by)]
    in_order = sorted(revisions, key=lambda one: one.number)
    steps += [_step(revision.number, revision, CompletedBy.REVISION) for revision in in_order]
    late_sources = [replace(source, late=True) for segment in late for source in segment.sources]
    return Course(
        sources=[*header.sources, *sorted(late_sources, key=lambda source: source.position)],
        arrivals=arrivals,
        arrived_at=header.arrived_at,
        extensions=[(one.at, one.by) for one in header.extensions],
        operator=header.operator,
        steps=steps,
        late=[group for segment in late for group in segment.groups],
    )


def _times(groups: Iterable[Group]) -> dict[tuple[Source, str], float]:
    times: dict[tuple[Source, str], float] = {}
    for group in groups:
        for station in group.stations:
            times.setdefault((group.source, station), group.at)
    return times


def _step(number: int, decided: Header | Revision, completed_by: CompletedBy) -> Step:
    return Step(
        number,
        decided.closed_at,
        decided.status,
        completed_by,
        decided.destination,
        is_out=decided.state is State.CLOSED,
    )
