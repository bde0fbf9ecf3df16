"""Recovery of a partition's batches from their stored records. Pure.

The same records give the same batches, whatever order they are read in. A closed batch is rebuilt when something late
comes for it, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Protocol

from tables.model.batch import FIRST_REVISION, Batch
from tables.model.enums import ANSWERED, Code, CompletedBy, LatePolicy, State
from tables.model.events import ABSENT, START, Decision, Group, Position, Segment, SourceState
from tables.model.policies import Rules
from tables.model.timeouts import Observation, observe
from tables.storage.records import (
    Header,
    RecordKind,
    Revision,
    Table,
    Write,
    batch_of_key,
    decode_header,
    decode_revision,
    decode_segment,
    deletions,
    kind_of,
)

_position = attrgetter("position")


# -- reading ---------------------------------------------------------------------------------------------------------


class Records(Protocol):
    """The stored records of one partition."""

    def items(self, table: Table) -> Iterable[tuple[bytes, bytes]]:
        """All records of a table."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """One record, or None."""


@dataclass(slots=True)
class StoredBatch:
    """The records of one batch; segments are decoded only as far as recovery needs them.

    `keys` are those of all its records besides the header; a dict stands for an ordered set.
    """

    header: Header | None = None
    revisions: list[Revision] = field(default_factory=list)
    early: list[Segment] = field(default_factory=list)
    late: list[Segment] = field(default_factory=list)
    keys: dict[bytes, None] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether it has not been decided yet."""
        return self.header is None and any(segment.sources for segment in self.early)

    @property
    def is_published(self) -> bool:
        """Whether each of its decisions is out."""
        decided = [self.header, *self.revisions]
        return all(record is not None and record.state is State.CLOSED for record in decided)

    def has_use_for(self, kind: RecordKind) -> bool:
        """Whether segments of a kind are still needed.

        Late ones are if there is a header. Early ones are until the first output is out, or while the batch is revised.
        """
        header = self.header
        if header is None:
            return kind is RecordKind.EARLY
        return kind is RecordKind.LATE or header.state is not State.CLOSED or header.late_policy is LatePolicy.REVISE

    def is_rebuilt_from(self, kind: RecordKind) -> bool:
        """Whether recovery has to look into segments of a kind, and not only to know that they are there."""
        header = self.header
        if header is None or header.state is not State.CLOSED:
            return True
        return header.late_policy is LatePolicy.REVISE and (kind is RecordKind.LATE or not self.is_published)


@dataclass(frozen=True, slots=True)
class StoredBatches:
    """The records by batch. `leftovers` are to be deleted."""

    batches: dict[str, StoredBatch] = field(default_factory=dict)
    leftovers: list[Write] = field(default_factory=list)


def read_stored(records: Records) -> StoredBatches:
    """Sort the records of a partition by batch.

    Left over are records that the last owner died before deleting, or that a zombie wrote: early segments of a batch
    that has been published, and records of a batch that has been forgotten.

    Raises:
        UnreadableRecordError: a record is not one of ours, or a newer version's.
    """
    stored = StoredBatches()
    batches, leftovers = stored.batches, stored.leftovers
    segments: list[tuple[RecordKind, bytes, bytes]] = []
    for key, value in records.items(Table.BATCHES):
        batch = batches.setdefault(batch_of_key(key), StoredBatch())
        kind = kind_of(key)
        if kind is RecordKind.HEADER:
            batch.header = decode_header(key, value)
        elif kind is RecordKind.REVISION:
            batch.revisions.append(decode_revision(key, value))
            batch.keys[key] = None
        else:
            segments.append((kind, key, value))
    for kind, key, value in segments:
        batch = batches[batch_of_key(key)]
        if not batch.has_use_for(kind):
            leftovers += deletions([key])
            continue
        batch.keys[key] = None
        if batch.is_rebuilt_from(kind):
            (batch.late if kind is RecordKind.LATE else batch.early).append(decode_segment(key, value))
    for batch_id, batch in list(batches.items()):
        if batch.header is None and not batch.is_open:
            leftovers += deletions(batches.pop(batch_id).keys)
        else:
            batch.revisions.sort(key=attrgetter("number"))
    return stored


# -- rebuilding ------------------------------------------------------------------------------------------------------


def rebuild_open(batch_id: str, segments: Iterable[Segment], rules: Rules) -> Batch:
    """Rebuild an open batch from its segments, of which one at least holds a source message."""
    segments = list(segments)
    sources = _sources(segments)
    batch = Batch(batch_id, sources[0].opened_at, rules)
    for source in sources:
        batch.add_source(source)
    for extension in sorted((one for segment in segments for one in segment.extensions), key=_position):
        batch.add_extension(extension)
    for group in _groups(segments):
        batch.take_group(group)
        batch.note_arrival(group.codes, group.at)
    return batch


def rebuild_closed(
    header: Header, early: Iterable[Segment], late: Iterable[Segment], revisions: Iterable[Revision], rules: Rules
) -> tuple[Batch, dict[int, Decision]]:
    """Rebuild a batch that has been decided, with its decisions by revision; none where results are stored no more.

    The header has what came in time. Its results, as long as they are stored, are in the `early` segments; what came
    late is in the `late` ones.
    """
    late, revisions = list(late), list(revisions)
    batch = _as_it_closed(header, early, rules)
    has_results = _has_all_results(batch)
    decisions = {FIRST_REVISION: batch.decision} if batch.decision and has_results else {}
    changes: list[SourceState | Group | Revision] = [*_sources(late), *_groups(late), *revisions]
    for change in sorted(changes, key=_position):
        if isinstance(change, SourceState):
            if change.source not in batch.sources:
                batch.add_source(change)
        elif isinstance(change, Group):
            batch.has_news = batch.has_news or _is_news(batch, change)
            batch.take_group(change)
        else:
            batch.has_news = False
            batch.decision = batch.decide(CompletedBy.REVISION, change.closed_at, revision=change.number)
            if has_results:
                decisions[change.number] = batch.decision
        batch.last_position = max(batch.last_position, change.position)
    if not has_results:
        _be_without_results(batch)
    if batch.late_policy is LatePolicy.REVISE:
        batch.pending_since = first_late(late, revisions)
    return batch, decisions


def first_late(late: Iterable[Segment], revisions: Iterable[Revision]) -> float | None:
    """Return the time of the first late event that no revision has yet; None where there is none."""
    last = max((revision.position for revision in revisions), default=START)
    times: list[tuple[Position, float]] = []
    for segment in late:
        times += [(source.position, source.opened_at) for source in segment.sources if source.position > last]
        times += [(group.position, group.at) for group in segment.groups if group.position > last]
    return min(times)[1] if times else None


def observation_of(header: Header, late: Iterable[Segment]) -> Observation:
    """Return how a closed batch has gone, with what it has got late."""
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


def _as_it_closed(header: Header, early: Iterable[Segment], rules: Rules) -> Batch:
    batch = Batch(header.batch_id, header.opened_at, rules)
    for source in header.sources:
        batch.add_source(source)
    batch.deadline = header.deadline
    for source in header.sources:
        for station, code in zip(source.stations, source.codes, strict=True):
            if code != ABSENT:
                batch.take(source, station, code, header.errors.get(station) if code == Code.FAILED else None)
    for group in sorted([*_groups(early), *header.tail], key=_position):
        _fill_values(batch.sources.get(group.source), group)
    batch.operator = header.operator
    batch.extensions = dict.fromkeys(header.extensions)
    decision = replace(batch.decide(header.completed_by, header.closed_at), status=header.status)
    batch.close_with(decision, header.late_policy)
    return batch


def _fill_values(source: SourceState | None, group: Group) -> None:
    """Put a segment's results to the codes that the header has; the first in the log wins, as it did then."""
    if source is None:
        return
    for station, code, value in zip(group.stations, group.codes, group.values, strict=True):
        if code == Code.RESULT and value is not None and source.outcomes.get(station) == (Code.RESULT, None):
            source.outcomes[station] = (code, value)


def _has_all_results(batch: Batch) -> bool:
    """Whether the results of a rebuilt batch are there, and not only their codes."""
    return all(
        outcome != (Code.RESULT, None) for source in batch.sources.values() for outcome in source.outcomes.values()
    )


def _be_without_results(batch: Batch) -> None:
    """Leave nothing to publish and nothing to revise: the results have been deleted."""
    batch.late_policy = LatePolicy.TOPIC if batch.late_policy is LatePolicy.REVISE else batch.late_policy
    if batch.decision is not None:
        batch.decision = replace(batch.decision, results=())


def _is_news(batch: Batch, group: Group) -> bool:
    """Whether a late group that has not been taken yet holds something to revise with."""
    source = batch.sources.get(group.source)
    return source is not None and any(
        code != Code.SKIPPED and station not in source.outcomes and not batch.is_superseded(source, station)
        for station, code in zip(group.stations, group.codes, strict=True)
    )


def _sources(segments: Iterable[Segment]) -> list[SourceState]:
    """Return what the segments hold, in the order of the log."""
    return sorted((source for segment in segments for source in segment.sources), key=_position)


def _groups(segments: Iterable[Segment]) -> list[Group]:
    return sorted((group for segment in segments for group in segment.groups), key=_position)
