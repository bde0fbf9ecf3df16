"""What recovery finds in the stored records of a partition: what each batch has, and what no batch has any use for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from tables.model.batch import ABSENT, FIRST_REVISION, START, Batch, Extension, Group, SourceState
from tables.model.enums import ANSWERED, Code, CompletedBy, LatePolicy, State
from tables.model.events import Decision, Open, Position
from tables.model.policies import Rules
from tables.model.timeouts import Observation, observe
from tables.storage.records import (
    Header,
    Revision,
    Segment,
    StoredSource,
    Table,
    Write,
    batch_of_key,
    decode_header,
    decode_revision,
    decode_segment,
    is_header,
    is_late,
    is_revision,
)

__all__ = [
    "NO_KEYS",
    "Keys",
    "Records",
    "Stored",
    "StoredBatch",
    "first_late",
    "observation_of",
    "read_stored",
    "rebuild_closed",
    "rebuild_open",
]


class Records(Protocol):
    """The stored records of one partition."""

    def items(self, table: Table) -> Iterable[tuple[bytes, bytes]]:
        """All records of a table."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """One record, or None."""


@dataclass(slots=True)
class Keys:
    """The records of a batch besides its header. Dicts stand for ordered sets.

    The early segments are deleted when the batch has been published, unless it can still be revised; the others when it
    is forgotten.
    """

    early: dict[bytes, None] = field(default_factory=dict)
    late: dict[bytes, None] = field(default_factory=dict)
    revisions: dict[bytes, None] = field(default_factory=dict)

    def add(self, key: bytes) -> None:
        """Remember a record."""
        of_kind = self.revisions if is_revision(key) else self.late if is_late(key) else self.early
        of_kind[key] = None

    def all(self) -> list[bytes]:
        """Every key, in the order in which they may be deleted: nothing is left without what it is about."""
        return [*self.late, *self.revisions, *self.early]


NO_KEYS: Final = Keys()
"""Those of a batch that has a header alone; to be read only."""


@dataclass(slots=True)
class StoredBatch:
    """The records of one batch; segments are read only as far as recovery needs them."""

    header: Header | None = None
    revisions: dict[int, Revision] = field(default_factory=dict)
    early: list[Segment] = field(default_factory=list)
    late: list[Segment] = field(default_factory=list)
    keys: Keys = field(default_factory=Keys)

    @property
    def is_open(self) -> bool:
        """Whether it has not been decided yet."""
        return self.header is None and any(segment.sources for segment in self.early)

    @property
    def is_known(self) -> bool:
        """Whether there is a batch at all, and not only what is left of one."""
        return self.header is not None or self.is_open

    @property
    def is_published(self) -> bool:
        """Whether each of its decisions is out."""
        header = self.header
        return (
            header is not None
            and header.state is State.CLOSED
            and all(revision.state is State.CLOSED for revision in self.revisions.values())
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """The records by batch. `leftovers` are to be deleted."""

    batches: dict[str, StoredBatch] = field(default_factory=dict)
    leftovers: list[Write] = field(default_factory=list)


def read_stored(records: Records) -> Stored:
    """Sort the records of a partition.

    Left over is what was to be deleted when the owner died, or what an owner wrote that was none any more: segments in
    time of a batch that has been published, and records of one that has been forgotten.

    Raises:
        UnreadableRecordError: a record is not one of ours, or a newer version's.
    """
    stored = Stored()
    segments: list[tuple[bytes, bytes]] = []
    for key, value in records.items(Table.BATCHES):
        batch = stored.batches.setdefault(batch_of_key(key), StoredBatch())
        if is_header(key):
            batch.header = decode_header(key, value)
        elif is_revision(key):
            revision = decode_revision(key, value)
            batch.revisions[revision.number] = revision
            batch.keys.add(key)
        else:
            segments.append((key, value))
    for key, value in segments:
        _sort_segment(key, value, stored)
    for batch_id in [batch_id for batch_id, batch in stored.batches.items() if not batch.is_known]:
        keys = stored.batches.pop(batch_id).keys.all()
        stored.leftovers.extend(Write(Table.BATCHES, key, None) for key in keys)
    return stored


def _sort_segment(key: bytes, value: bytes, stored: Stored) -> None:
    batch = stored.batches[batch_of_key(key)]
    header = batch.header
    is_revised = header is not None and header.late_policy is LatePolicy.REVISE
    is_closed = header is not None and header.state is State.CLOSED
    if header is None if is_late(key) else is_closed and not is_revised:
        stored.leftovers.append(Write(Table.BATCHES, key, None))
        return
    batch.keys.add(key)
    if is_late(key):
        if is_revised or not is_closed:
            batch.late.append(decode_segment(key, value))
    elif not is_closed or not batch.is_published:
        batch.early.append(decode_segment(key, value))


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
