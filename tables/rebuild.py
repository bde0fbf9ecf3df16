"""A batch object from its stored records: for recovery, and for a closed batch that gets something late.

Pure. The same records give the same batch, whatever order they are read in.
"""

from __future__ import annotations

from collections.abc import Iterable

from tables.batch import ABSENT, Batch, Extension, Group, SourceState
from tables.codes import Code, Status
from tables.events import Open, Position
from tables.records import Header, Segment, StoredSource

__all__ = ["has_all_results", "rebuild_closed", "rebuild_open"]


def rebuild_open(batch_id: str, segments: Iterable[Segment], *, max_age: float) -> Batch:
    """An open batch from its segments, of which one at least holds a source message."""
    segments = list(segments)
    sources, groups = _in_order(segments)
    batch = Batch(batch_id, sources[0].opened_at)
    for source in sources:
        batch.add_source(_open_event(batch_id, source), source.position, max_age=max_age)
    for extension in sorted((one for segment in segments for one in segment.extensions), key=_position):
        batch.add_extension(extension)
    _take_groups(batch, groups)
    _settle(batch)
    return batch


def rebuild_closed(header: Header, segments: Iterable[Segment]) -> Batch:
    """A batch that has been decided: what came in time from its header, what came late from its segments."""
    sources, groups = _in_order([*segments, Segment([], list(header.tail))])
    batch = Batch(header.batch_id, header.opened_at)
    for stored in header.sources:
        batch.add_source(_open_event(header.batch_id, stored), stored.position, max_age=0.0)
    batch.deadline = header.deadline
    for stored in header.sources:
        source = batch.sources[stored.source]
        for station, code in zip(stored.stations, stored.codes, strict=True):
            if code != ABSENT:
                batch.take(source, station, code, header.errors.get(station) if code == Code.FAILED else None)
    for group in groups:
        _fill_values(batch.sources.get(group.source), group)
    batch.operator = header.operator
    batch.decision = batch.decide(header.completed_by, header.closed_at, discarded=header.status is Status.DISCARDED)
    batch.freeze()
    batch.state = header.state
    for stored in sources:
        if stored.source not in batch.sources:
            batch.add_source(_open_event(header.batch_id, stored), stored.position, max_age=0.0)
    _take_groups(batch, groups)
    _settle(batch)
    return batch


def _in_order(segments: Iterable[Segment]) -> tuple[list[StoredSource], list[Group]]:
    """What the segments hold, in the order of the log."""
    sources: list[StoredSource] = []
    groups: list[Group] = []
    for segment in segments:
        sources += segment.sources
        groups += segment.groups
    return sorted(sources, key=_position), sorted(groups, key=_position)


def _position(stored: StoredSource | Group | Extension) -> Position:
    return stored.position


def _take_groups(batch: Batch, groups: Iterable[Group]) -> None:
    for group in groups:
        source = batch.sources.get(group.source)
        if source is not None:
            batch.take_group(source, group)


def has_all_results(batch: Batch) -> bool:
    """Whether the results of a batch that has been rebuilt are there, and not only their codes."""
    return all(
        code != Code.RESULT or source.outcomes[station] != (Code.RESULT, None)
        for source in batch.sources.values()
        if not source.late
        for station, code in zip(source.stations, source.codes, strict=True)
    )


def _fill_values(source: SourceState | None, group: Group) -> None:
    """Put the results of a segment to the codes that the header has; the first in the log wins, as it did then."""
    if source is None:
        return
    for station, code, value in zip(group.stations, group.codes, group.values, strict=True):
        if code == Code.RESULT and value is not None and source.outcomes.get(station) == (Code.RESULT, None):
            source.outcomes[station] = (code, value)


def _open_event(batch_id: str, stored: StoredSource) -> Open:
    return Open(batch_id, stored.source, stored.opened_at, stored.deadline, stored.stations)


def _settle(batch: Batch) -> None:
    """What was just read is stored already."""
    batch.fresh_sources.clear()
    batch.fresh_groups.clear()
    batch.fresh_late.clear()
    batch.fresh_extensions.clear()
