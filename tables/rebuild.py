"""A batch object from its stored records: for recovery, and for a closed batch that gets something late.

Pure. The same records give the same batch, whatever order they are read in.
"""

from __future__ import annotations

from collections.abc import Sequence

from tables.batch import ABSENT, Batch, Group, SourceState
from tables.codes import Code
from tables.events import Open
from tables.records import Header, StoredSource

__all__ = ["rebuild_closed", "rebuild_open"]


def rebuild_open(batch_id: str, opens: Sequence[StoredSource], groups: Sequence[Group], *, max_age: float) -> Batch:
    """An open batch from the records of its source messages (at least one) and its segments."""
    ordered = sorted(opens, key=lambda source: source.position)
    batch = Batch(batch_id, ordered[0].opened_at)
    for source in ordered:
        batch.add_source(_open_event(batch_id, source), source.position, max_age=max_age)
    for group in sorted(groups, key=lambda group: group.position):
        owner = batch.sources.get(group.source)
        if owner is not None:
            batch.take_group(owner, group)
    _settle(batch)
    return batch


def rebuild_closed(header: Header, opens: Sequence[StoredSource], groups: Sequence[Group]) -> Batch:
    """A batch that has been decided: what came in time from its header, what came late from the other records."""
    batch = Batch(header.batch_id, header.opened_at)
    for stored in header.sources:
        event = _open_event(header.batch_id, stored)
        source = batch.add_source(event, stored.position, max_age=0.0)
        for station, code in zip(stored.stations, stored.codes, strict=True):
            if code != ABSENT:
                value = header.errors.get(station) if code == Code.FAILED else None
                source.outcomes[station] = (code, value)
    batch.deadline = header.deadline
    ordered = sorted([*header.tail, *groups], key=lambda group: group.position)
    for group in ordered:
        _fill_values(batch.sources.get(group.source), group)
    batch.decision = batch.decide(header.completed_by, header.closed_at)
    batch.freeze()
    batch.state = header.state
    for stored in sorted(opens, key=lambda source: source.position):
        if stored.source not in batch.sources:
            batch.add_source(_open_event(header.batch_id, stored), stored.position, max_age=0.0)
    for group in ordered:
        owner = batch.sources.get(group.source)
        if owner is not None:
            batch.take_group(owner, group)
    _settle(batch)
    return batch


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
