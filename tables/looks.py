"""Looks into the batches of a partition from outside: what has happened to one, what became of a station. Pure.

Nothing is kept: a closed batch is read from its records as far as the question needs it.
"""

from __future__ import annotations

from typing import Final

from tables.model.batch import FIRST_REVISION
from tables.model.enums import Code, LatePolicy
from tables.model.events import ABSENT
from tables.storage.course import Course, course_of_batch, course_of_records
from tables.storage.exact_json import loads_marked
from tables.storage.one_station import StationOutcome, outcome_in_decision, outcome_in_header
from tables.storage.records import RecordKind, decode_header, decode_revision, decode_segment
from tables.working_set import WorkingSet

_NOTHING: Final = (ABSENT, None)


def course_of(working_set: WorkingSet, batch_id: str) -> Course | None:
    """Return what has happened to a batch, as far as it is known; None for one that is not known at all."""
    early, late = (
        [decode_segment(*one) for one in working_set.stored_of(batch_id, kind)]
        for kind in (RecordKind.EARLY, RecordKind.LATE)
    )
    if batch_id not in working_set.open:
        revisions = [decode_revision(*one) for one in working_set.stored_of(batch_id, RecordKind.REVISION)]
        for header in working_set.stored_of(batch_id, RecordKind.HEADER):
            return course_of_records(decode_header(*header), early, late, revisions)
    batch = working_set.object_of(batch_id)  # open, or decided and not stored yet
    return None if batch is None else course_of_batch(batch, [*early, *late, *batch.unstored])


def names(working_set: WorkingSet, batch_id: str, station: str) -> bool:
    """Say whether a batch of any state expects a station, or did."""
    batch = working_set.open.get(batch_id)
    return station in batch.expected if batch is not None else outcome_of(working_set, batch_id, station) is not None


def outcome_of(working_set: WorkingSet, batch_id: str, station: str) -> StationOutcome | None:
    """Return what became of a station in a batch that has closed; None where it did not expect that station."""
    line = working_set.closed.get(batch_id)
    if line is not None and line.revision == FIRST_REVISION:
        headers = working_set.stored_of(batch_id, RecordKind.HEADER)
        return next((outcome_in_header(value, station) for _, value in headers), None)
    batch = working_set.look_up(batch_id)
    if batch is None or batch.decision is None:
        return None
    code, _ = next(
        (
            source.outcomes.get(station, _NOTHING)
            for source in reversed(batch.sources.values())
            if station in source.stations
        ),
        _NOTHING,
    )
    return outcome_in_decision(batch.decision, station, skipped=code == Code.SKIPPED)


def late_kept(working_set: WorkingSet, batch_id: str) -> list[tuple[float, int]]:
    """Return the late outcomes of a closed batch that the late topic did not get: when (Unix seconds), and how many."""
    for _, header in working_set.stored_of(batch_id, RecordKind.HEADER):
        if loads_marked(header)["late_policy"] != LatePolicy.TOPIC:
            late = [decode_segment(*one) for one in working_set.stored_of(batch_id, RecordKind.LATE)]
            return [(group.at, len(group.stations)) for segment in late for group in segment.groups]
    return []
