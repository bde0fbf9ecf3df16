"""A batch object from its stored records: for recovery, and for a closed batch that gets something late.

Pure. The same records give the same batch, whatever order they are read in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tables.model.batch import FIRST_REVISION, Batch
from tables.model.enums import ANSWERED, Code, CompletedBy, LatePolicy
from tables.model.events import Decision, Open, Position
from tables.model.policies import Rules
from tables.model.sources import ABSENT, START, Extension, Group, SourceState
from tables.model.timeouts import Observation, observe
from tables.storage.records import Header, Revision
from tables.storage.segments import Segment, StoredSource

__all__ = ["first_late", "observation_of", "rebuild_closed", "rebuild_open"]


_Late = StoredSource | Group | Revision


def rebuild_open(batch_id: str, segments: Iterable[Segment], rules: Rules) -> Batch:
    """An open batch from its segments, of which one at least holds a source message."""
    segments = list(segments)
    sources, groups = _sources(segments), _groups(segments)
    extensions: list[Extension] = sorted((one for segment in segments for one in segment.extensions), key=_position)
    batch = Batch(batch_id, sources[0].opened_at, rules)
    for source in sources:
        batch.add_source(_open_event(batch_id, source), source.position)
    for extension in extensions:
        batch.add_extension(extension)
    for group in groups:
        _take_group(batch, group)
        batch.note_arrival(group.codes, group.at)
    return batch


def rebuild_closed(
    header: Header, early: Iterable[Segment], late: Iterable[Segment], revisions: Iterable[Revision], rules: Rules
) -> tuple[Batch, dict[int, Decision]]:
    """A batch that has been decided, and its decisions by revision; none where their results are stored no more.

    What came in time is in the header, and its results, as long as they are stored, in the `early` segments; what came
    late is in the `late` ones.
    """
    late, revisions = list(late), list(revisions)
    batch = _as_it_closed(header, [*early, Segment(groups=list(header.tail))], rules)
    has_results = _has_all_results(batch)
    decisions = {FIRST_REVISION: batch.decision} if batch.decision and has_results else {}
    events: list[_Late] = [*_sources(late), *_groups(late), *revisions]
    for one in sorted(events, key=_position):
        if isinstance(one, StoredSource):
            if one.source not in batch.sources:
                batch.add_source(_open_event(header.batch_id, one), one.position)
        elif isinstance(one, Group):
            batch.has_news = batch.has_news or _is_news(batch, one)
            _take_group(batch, one)
        else:
            batch.has_news = False
            batch.decision = batch.decide(CompletedBy.REVISION, one.closed_at, revision=one.number)
            if has_results:
                decisions[one.number] = batch.decision
        batch.last_position = max(batch.last_position, one.position)
    if not has_results:
        _be_without_results(batch)
    if batch.late_policy is LatePolicy.REVISE:
        batch.pending_since = first_late(late, revisions)
    return batch, decisions


def first_late(late: Iterable[Segment], revisions: Iterable[Revision]) -> float | None:
    """The time of the first late event that no revision has yet; None where there is none."""
    last = max((revision.position for revision in revisions), default=START)
    times = [(s.position, s.opened_at) for segment in late for s in segment.sources if s.position > last]
    times += [(g.position, g.at) for segment in late for g in segment.groups if g.position > last]
    return min(times)[1] if times else None


def observation_of(header: Header, late: Iterable[Segment]) -> Observation:
    """How a closed batch has gone, with what it has got late."""
    observation = observe(
        header.batch_id,
        header.completed_by,
        stations=header.counts.expected,
        since=max(source.opened_at for source in header.sources),
        deadline=header.deadline,
        arrived_at=header.arrived_at,
        skipped=any(Code.SKIPPED in source.codes for source in header.sources),
    )
    in_time = {source.source for source in header.sources}
    for group in _groups(late):
        if group.source in in_time and not ANSWERED.isdisjoint(group.codes):
            observation = observation.with_late(group.at)
    return observation


def _as_it_closed(header: Header, segments: Iterable[Segment], rules: Rules) -> Batch:
    batch = Batch(header.batch_id, header.opened_at, rules)
    for stored in header.sources:
        batch.add_source(_open_event(header.batch_id, stored), stored.position)
    batch.deadline = header.deadline
    for stored in header.sources:
        source = batch.sources[stored.source]
        for station, code in zip(stored.stations, stored.codes, strict=True):
            if code != ABSENT:
                batch.take(source, station, code, header.errors.get(station) if code == Code.FAILED else None)
    for group in _groups(segments):
        _fill_values(batch.sources.get(group.source), group)
    batch.operator = header.operator
    batch.extensions = dict.fromkeys(header.extensions)
    decision = replace(batch.decide(header.completed_by, header.closed_at), status=header.status)
    batch.close_with(decision, header.late_policy)
    return batch


def _be_without_results(batch: Batch) -> None:
    """It can't be revised, and its decision has nothing to publish: the results have been deleted."""
    batch.late_policy = LatePolicy.TOPIC if batch.late_policy is LatePolicy.REVISE else batch.late_policy
    if batch.decision is not None:
        batch.decision = replace(batch.decision, results=())


def _sources(segments: Iterable[Segment]) -> list[StoredSource]:
    """What the segments hold, in the order of the log."""
    return sorted((source for segment in segments for source in segment.sources), key=_position)


def _groups(segments: Iterable[Segment]) -> list[Group]:
    return sorted((group for segment in segments for group in segment.groups), key=_position)


def _position(stored: _Late | Extension) -> Position:
    return stored.position


def _take_group(batch: Batch, group: Group) -> None:
    source = batch.sources.get(group.source)
    if source is not None:
        batch.take_group(source, group)


def _is_news(batch: Batch, group: Group) -> bool:
    """Whether there is something to revise with in a late group that has not been taken yet."""
    source = batch.sources.get(group.source)
    if source is None:
        return False
    return any(
        code != Code.SKIPPED and station not in source.outcomes and not batch.is_superseded(source, station)
        for station, code in zip(group.stations, group.codes, strict=True)
    )


def _has_all_results(batch: Batch) -> bool:
    """Whether the results of a batch that has been rebuilt are there, and not only their codes."""
    return all(
        outcome != (Code.RESULT, None) for source in batch.sources.values() for outcome in source.outcomes.values()
    )


def _fill_values(source: SourceState | None, group: Group) -> None:
    """Put the results of a segment to the codes that the header has; the first in the log wins, as it did then."""
    if source is None:
        return
    for station, code, value in zip(group.stations, group.codes, group.values, strict=True):
        if code == Code.RESULT and value is not None and source.outcomes.get(station) == (Code.RESULT, None):
            source.outcomes[station] = (code, value)


def _open_event(batch_id: str, stored: StoredSource) -> Open:
    return Open(
        batch_id,
        stored.source,
        stored.opened_at,
        stored.deadline,
        stored.stations,
        timeout=stored.timeout,
        trace=stored.trace,
    )
