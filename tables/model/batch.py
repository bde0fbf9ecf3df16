"""The state machine of a batch: events of the log go in, effects come out. No Kafka, no clock of its own.

               open                   decided                     published
  (unknown) ---------->  OPEN  ------------------->  CLOSING  ------------------->  CLOSED
      ^                  |  ^                        |                              ^   |
      |                  +--+                        | the handler has answered     |   |
      |         open: a supplement                   +--------> PREPARED -----------+   |
      |         arrived: outcomes                                       published       |
      |         extend: a later deadline                                                |
      +---------------------------------------------------------------------------------+
                                            forget

  decided by   arrived, open, extend    all expected stations have arrived (`all`), or enough of them (`ratio`)
               expire                   the deadline has come (`timeout`)
               complete, discard        an operator wants it (`operator`)

In every state but OPEN, messages and outcomes are late. With the late policy `revise` they lead to a `revise` event and
so to a revision, which goes from CLOSING to CLOSED by itself. A `Batch` knows only whether it is open. The states after
that are the outbox's (`enums.State`), and each revision's stands in its stored record.

The rules are CONTRACT 7. Applying an event twice is the same as once. The effects of a log do not depend on how it is
cut into chunks, because the rules are looked at after each outcome and every time comes from an event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from math import inf
from operator import itemgetter

from tables.model.enums import Action, Code, CompletedBy, LatePolicy, Status
from tables.model.events import (
    ABSENT,
    START,
    Arrived,
    Command,
    Commanded,
    Decision,
    Effect,
    Expire,
    Extension,
    Group,
    Open,
    Opened,
    Operator,
    Position,
    Released,
    Revise,
    Segment,
    SkippedFailed,
    Source,
    SourceState,
    all_late,
    failure,
    late,
    late_taken,
)
from tables.model.policies import Rules
from tables.model.timeouts import Observation, observe

FIRST_REVISION = 1
BATCH_CLOSED = "batch-closed"  # why an outcome is late
LATE_MESSAGE = "late-message"

_Lists = tuple[list[str], list[str], list[tuple[str, str]], list[str]]  # results, missing, failed, empty

_NOTHING: tuple[str, str | None] = (ABSENT, None)
_CODE = itemgetter(0)  # of an outcome
_RESULTS_ONLY = frozenset({Code.RESULT})


@dataclass(slots=True, eq=False)
class Batch:
    """One batch under its rules: messages, outcomes of their stations, and once it is closed the latest decision."""

    batch_id: str
    opened_at: float
    rules: Rules
    deadline: float = -inf
    is_open: bool = True
    sources: dict[Source, SourceState] = field(default_factory=dict)
    # Station -> the latest message in time that names it. A dict keeps the place of the first naming when a later
    # message takes a station over, which is the order of the output.
    expected: dict[str, SourceState] = field(default_factory=dict)
    # Station -> the latest message whose outcome for it is there; kept only once there are several messages.
    newest: dict[str, SourceState] = field(default_factory=dict)
    # Stations that stay missing if the batch closes at its deadline, and have failed if it lives on past it.
    skipped: list[tuple[SourceState, str]] = field(default_factory=list)
    pending: int = 0  # expected stations that have not arrived
    required_pending: int = 0  # of these, the ones without which the batch is not released before its deadline
    most_pending: int = 0  # with so many the batch is released
    arrived_at: float | None = None  # the last arrival in time
    operator: Operator | None = None
    extensions: dict[Command, None] = field(default_factory=dict)  # that moved the deadline; an ordered set
    decision: Decision | None = None
    late_policy: LatePolicy = LatePolicy.TOPIC  # the one that held when the batch closed
    # The time of the first late event that no revision has yet. None where there is none, or where nothing is revised.
    pending_since: float | None = None
    has_news: bool = False  # an outcome is among these events: it makes a revision even when it says the same again
    # Changes that the owner has not stored yet, in the order of the log and cut at every decision. Whatever of them a
    # crash leaves is then a state that the batch was in.
    unstored: list[Segment] = field(default_factory=list)
    last_position: Position = START  # of the events that have changed the batch

    @property
    def first_position(self) -> Position:
        """The place in the log at which the batch was opened."""
        return next(iter(self.sources.values())).position

    def waiting_for(self) -> Iterable[str]:
        """Return the stations that have not arrived yet, lazily, in the order of the messages."""
        return (station for station, source in self.expected.items() if not _has_arrived(source, station))

    # -- events ------------------------------------------------------------------------------------------------------

    def open(self, event: Open, position: Position) -> list[Effect]:
        """Take in a source message: the first one opens the batch, others supplement it or are late."""
        if event.source in self.sources:
            return []
        effects: list[Effect] = [] if self.sources else [Opened(self.batch_id, event.stations)]
        source = SourceState(event.source, event.opened_at, event.deadline, event.stations, position)
        source.timeout, source.trace = event.timeout, event.trace
        self._segment(position).sources.append(source)
        effects += self._skipped_failed(self.add_source(source), event.opened_at)
        if self.is_open:
            effects += self._release(event.opened_at, position)
        else:
            self._await_revision(event.opened_at)
        return effects

    def arrive(self, event: Arrived, position: Position) -> list[Effect]:
        """Take in outcomes, one after the other; the first in the log wins for a message and station."""
        source = self.sources.get(event.source)
        # A replayed message may be read twice, and be taken in only the second time. Outcomes before that in the log
        # had no message to belong to then, and have none when they are read again.
        if source is None or position < source.position:
            return all_late(event, "unknown-message", self.decision)
        effects: list[Effect] = []
        start = self._arrive_in_time(source, event, position, effects) if self.is_open else 0
        if start < len(event.stations):
            self._arrive_late(source, event, position, start, effects)
        return effects

    def expire(self, event: Expire, position: Position) -> list[Effect]:
        """Close at the deadline with what has arrived; void when the deadline has moved since."""
        if not self.is_open or event.deadline < self.deadline:
            return []
        return [self._close(CompletedBy.TIMEOUT, event.at, position)]

    def command(self, event: Command, position: Position) -> list[Effect]:
        """Carry out an operator's command."""
        if event in self.extensions or (not self.is_open and self.operator == (event.action, event.by, event.at)):
            return []
        # A command that stands before the opening in the log is read again after a crash: it had no effect then either.
        if not self.is_open or position < self.first_position:
            return [Commanded(event, None)]
        if event.action is Action.EXTEND:
            return self._extend(event, position)
        self.operator = Operator(event.action, event.by, event.at)
        effects: list[Effect] = [Commanded(event, self.deadline)]
        return [*effects, self._close(CompletedBy.OPERATOR, event.at, position)]

    def _extend(self, event: Command, position: Position) -> list[Effect]:
        deadline = min(self.deadline + event.seconds, self.opened_at + self.rules.max_age)
        if deadline <= self.deadline:
            return [Commanded(event, None)]
        extension = Extension(position, deadline, event.at, event.by, event.seconds)
        self._segment(position).extensions.append(extension)
        failed = self.add_extension(extension)
        effects: list[Effect] = [Commanded(event, deadline), *self._skipped_failed(failed, event.at)]
        return [*effects, *self._release(event.at, position)]

    def revise(self, event: Revise, position: Position) -> list[Effect]:
        """Decide again with what has come late; void if that has no outcome and leads to the same content."""
        before = self.decision
        if before is None or self.late_policy is not LatePolicy.REVISE or event.revision != before.revision + 1:
            return []
        # An event that stands before the last change in the log was applied before it: it is read again.
        if position < self.last_position:
            return []
        self.pending_since = None
        decision = self.decide(CompletedBy.REVISION, event.at, revision=event.revision)
        if not self.has_news and _content(decision) == _content(before):
            return []
        self._end_segment(decision, position)
        self.decision = decision
        self.has_news = False
        return [Released(decision)]

    # -- messages and the deadline -----------------------------------------------------------------------------------

    def add_source(self, source: SourceState) -> list[tuple[SourceState, str]]:
        """Record a message. Returns the skipped stations that have failed because it has moved the deadline."""
        source.late = not self.is_open
        if len(self.sources) == 1:
            self._begin_to_index()
        self.sources[source.source] = source
        if source.late:
            return []
        failed: list[tuple[SourceState, str]] = []
        expected = self.expected
        if not expected:
            self.expected = dict.fromkeys(source.stations, source)
            self._await(source.stations)
            self.deadline = source.deadline
        else:
            # A station that had arrived for an older message is awaited again for this one.
            self._await([s for s in source.stations if s not in expected or _has_arrived(expected[s], s)])
            for station in source.stations:
                expected[station] = source
            failed = self._move_deadline(min(source.deadline, self.opened_at + self.rules.max_age))
        self.most_pending = self.rules.release.most_pending(len(self.expected))
        return failed

    def add_extension(self, extension: Extension) -> list[tuple[SourceState, str]]:
        """Move the deadline for an operator. Returns the skipped stations that have failed by that."""
        command = Command(self.batch_id, Action.EXTEND, extension.at, extension.by, extension.seconds)
        self.extensions[command] = None
        self.operator = Operator(Action.EXTEND, extension.by, extension.at)
        return self._move_deadline(extension.deadline)

    def _await(self, stations: Sequence[str]) -> None:
        required = self.rules.release.required
        self.pending += len(stations)
        if required:
            self.required_pending += sum(station in required for station in stations)

    def _begin_to_index(self) -> None:
        """Index the newest outcome of each station from now on: a second message has come."""
        for source in self.sources.values():
            for station, (code, _) in source.outcomes.items():
                if code != Code.SKIPPED:
                    self.newest[station] = source

    def _move_deadline(self, deadline: float) -> list[tuple[SourceState, str]]:
        """Move the deadline, but never back. Returns the skipped stations that have failed by that.

        They were skipped for an earlier deadline and can't come any more once the batch lives on past it.
        """
        if deadline <= self.deadline:
            return []
        self.deadline = deadline
        failed = [(source, station) for source, station in self.skipped if source.deadline < deadline]
        if failed:
            self.skipped = [(source, station) for source, station in self.skipped if source.deadline >= deadline]
            for source, station in failed:
                self._record(source, station, Code.FAILED, source.outcomes[station][1])
        return failed

    # -- outcomes ----------------------------------------------------------------------------------------------------

    def take_group(self, group: Group) -> None:
        """Record stored outcomes, if their message is known; the first one of a station wins."""
        source = self.sources.get(group.source)
        if source is None:
            return
        for station, code, value in zip(group.stations, group.codes, group.values, strict=True):
            if station not in source.outcomes:
                self.take(source, station, code, value)

    def take(self, source: SourceState, station: str, code: str, value: str | None) -> None:
        """Record the first outcome of a message and station."""
        if code != Code.SKIPPED:
            self._record(source, station, code, value)
        elif self.is_open and self.deadline > source.deadline:
            # The batch lives on past the deadline that the station was skipped for.
            self._record(source, station, Code.FAILED, value)
        else:
            self._record_skipped(source, station, value)

    def _record_skipped(self, source: SourceState, station: str, value: str | None) -> None:
        source.outcomes[station] = (Code.SKIPPED, value)
        if self.is_open:
            self.skipped.append((source, station))

    def _record(self, source: SourceState, station: str, code: str, value: str | None) -> None:
        """Record a final outcome; in an open batch the station has arrived now, unless a newer message names it."""
        source.outcomes[station] = (code, value)
        if len(self.sources) > 1:
            self._index_newest(source, station)
        if self.is_open and self.expected.get(station) is source:
            self.pending -= 1
            if self.required_pending and station in self.rules.release.required:
                self.required_pending -= 1

    def _index_newest(self, source: SourceState, station: str) -> None:
        newest = self.newest.get(station)
        if newest is None or newest.position < source.position:
            self.newest[station] = source

    def is_superseded(self, source: SourceState, station: str) -> bool:
        """Whether a newer message has an outcome for this station: then this message's outcome is no news."""
        newest = self.newest.get(station)
        return newest is not None and newest.position > source.position

    def note_arrival(self, codes: str, at: float) -> None:
        """Note the time of outcomes in time; a skipped station has not arrived."""
        if codes.count(Code.SKIPPED) < len(codes):
            self.arrived_at = at

    def _arrive_in_time(self, source: SourceState, event: Arrived, position: Position, effects: list[Effect]) -> int:
        """Take outcomes until the batch closes; returns the index of the first that has not been looked at."""
        seen = len(event.stations)
        taken: Sequence[int] = range(seen)
        if not self._take_whole(source, event):
            seen, taken = self._take_one_by_one(source, event)
        if event.letters:
            effects += [failure(event, index) for index in taken if index in event.letters]
        if Code.SKIPPED in event.codes and self.deadline > source.deadline:
            failed = [(source, event.stations[index]) for index in taken if event.codes[index] == Code.SKIPPED]
            effects += self._skipped_failed(failed, event.at)
        if taken:
            self._segment(position).groups.append(_group(event, position, taken, event.values))
            self.note_arrival(event.codes, event.at)
        effects += self._release(event.at, position)
        return seen

    def _take_whole(self, source: SourceState, event: Arrived) -> bool:
        """Take the outcomes of an event at once, if one after the other comes to the same: a third of the cost.

        So it does in a batch of one message, if all are expected, new and not skipped, and none but the last may be
        the one that releases the batch.
        """
        count = len(event.stations)
        if len(self.sources) > 1 or self.required_pending or self.pending - count < self.most_pending:
            return False
        new = dict(zip(event.stations, zip(event.codes, event.values, strict=True), strict=True))
        if len(new) < count or Code.SKIPPED in event.codes or not new.keys() <= self.expected.keys():
            return False
        if not source.outcomes:
            source.outcomes = new
        elif source.outcomes.keys().isdisjoint(new.keys()):
            source.outcomes.update(new)
        else:
            return False
        self.pending -= count
        return True

    def _take_one_by_one(self, source: SourceState, event: Arrived) -> tuple[int, Sequence[int]]:
        """Take outcomes until the batch closes; returns how many were looked at, and the indices of those taken."""
        outcomes, most_pending = source.outcomes, self.most_pending
        taken: list[int] = []
        seen = 0
        for station, code, value in zip(event.stations, event.codes, event.values, strict=True):
            seen += 1
            if station in outcomes:
                continue
            taken.append(seen - 1)
            self.take(source, station, code, value)
            if self.pending <= most_pending and not self.required_pending:
                break
        return seen, taken

    def _arrive_late(
        self, source: SourceState, event: Arrived, position: Position, start: int, effects: list[Effect]
    ) -> None:
        # Values are kept for a revision only: else all that is needed is to tell a repeat from a first outcome.
        revise = self.late_policy is LatePolicy.REVISE
        values: list[str | None] = event.values if revise else [None] * len(event.stations)
        reason = LATE_MESSAGE if source.late else BATCH_CLOSED
        taken: list[int] = []
        kept: list[int] = []
        useless: list[int] = []  # skipped: there is nothing in it to revise with
        for index in range(start, len(event.stations)):
            station, code = event.stations[index], event.codes[index]
            if station in source.outcomes:
                continue
            taken.append(index)
            is_news = not self.is_superseded(source, station)
            self.take(source, station, code, values[index])
            if index in event.letters:
                effects.append(failure(event, index))
            if is_news and self.late_policy is LatePolicy.TOPIC:
                effects.append(late(event, index, reason, self.decision))
            elif is_news:
                (useless if revise and code == Code.SKIPPED else kept).append(index)
        if taken:
            self._segment(position).groups.append(_group(event, position, taken, values))
        effects += [late_taken(event, some, reason, self.late_policy) for some in (kept, useless) if some]
        if kept:
            self.has_news = True
            self._await_revision(event.at)

    def _skipped_failed(self, failed: list[tuple[SourceState, str]], at: float) -> list[Effect]:
        return [
            SkippedFailed(self.batch_id, source.source, station, at, source.outcomes[station][1] or "", source.trace)
            for source, station in failed
        ]

    def _await_revision(self, at: float) -> None:
        if self.late_policy is LatePolicy.REVISE and self.pending_since is None:
            self.pending_since = at

    # -- changes to be stored ----------------------------------------------------------------------------------------

    def _segment(self, position: Position) -> Segment:
        """The segment that takes the changes of an event."""
        self.last_position = position
        if not self.unstored or self.unstored[-1].decision is not None:
            self.unstored.append(Segment(late=not self.is_open))
        return self.unstored[-1]

    def _end_segment(self, decision: Decision, position: Position) -> None:
        segment = self._segment(position)
        segment.decision, segment.position = decision, position

    # -- deciding ----------------------------------------------------------------------------------------------------

    def _release(self, at: float, position: Position) -> list[Effect]:
        """Close the batch if so few stations are pending that it need not wait for its deadline."""
        if self.pending > self.most_pending or self.required_pending:
            return []
        return [self._close(CompletedBy.RATIO if self.pending else CompletedBy.ALL, at, position)]

    def _close(self, completed_by: CompletedBy, closed_at: float, position: Position) -> Released:
        decision = self.decide(completed_by, closed_at)
        late_policy = self.rules.late
        if self._must_be_discarded(decision):
            decision, late_policy = replace(decision, status=Status.DISCARDED), LatePolicy.TOPIC
        self._end_segment(decision, position)
        released = Released(decision, self._observation(decision))
        self.close_with(decision, late_policy)
        return released

    def _must_be_discarded(self, decision: Decision) -> bool:
        if decision.completed_by is CompletedBy.OPERATOR:
            return self.operator is not None and self.operator.action is Action.DISCARD
        return decision.completed_by is CompletedBy.TIMEOUT and self.rules.partial.problem(decision) is not None

    def _observation(self, decision: Decision) -> Observation:
        """Observe the course of the batch, for the timeouts of later ones."""
        return observe(
            self.batch_id,
            decision.completed_by,
            stations=len(decision.expected),
            since=max(source.opened_at for source in self.sources.values()),
            deadline=self.deadline,
            arrived_at=self.arrived_at,
            skipped=bool(self.skipped),
        )

    def close_with(self, decision: Decision, late_policy: LatePolicy) -> None:
        """Close, without looking at any rule; recovery does this too. Whatever comes from now on is late."""
        self.decision = decision
        self.late_policy = late_policy
        self.is_open = False
        self.skipped.clear()
        for source in self.sources.values():
            found = map(source.outcomes.get, source.stations, repeat(_NOTHING))
            source.codes = "".join(map(_CODE, found))

    def decide(self, completed_by: CompletedBy, closed_at: float, *, revision: int = FIRST_REVISION) -> Decision:
        """Return what the batch would publish now; revisions after the first have what has come late, too."""
        with_late = revision > FIRST_REVISION
        named = self._named_by_all() if with_late else self.expected
        results, missing, failed, empty = self._outcomes_of(named)
        sources = [source for source in self.sources.values() if with_late or not source.late]
        return Decision(
            batch_id=self.batch_id,
            revision=revision,
            completed_by=completed_by,
            status=Status.PARTIAL if missing else Status.COMPLETE,
            opened_at=self.opened_at,
            deadline=self.deadline,
            closed_at=closed_at,
            expected=tuple(named),
            results=tuple(results),
            missing=tuple(missing),
            failed=tuple(failed),
            empty=tuple(empty),
            operator=self.operator,
            timeout=sources[0].timeout,
            traces=tuple([source.trace for source in sources if source.trace is not None]),
        )

    def _outcomes_of(self, named: Mapping[str, SourceState]) -> _Lists:
        """Sort stations, each with the latest message that names it, by what has come for them."""
        results: list[str] = []
        missing: list[str] = []
        failed: list[tuple[str, str]] = []
        empty: list[str] = []
        several = len(self.sources) > 1
        if not several:  # most batches have one message, and a result for every station
            outcomes = next(iter(self.sources.values())).outcomes
            found = list(map(outcomes.get, named, repeat(_NOTHING)))
            if _RESULTS_ONLY.issuperset(map(_CODE, found)):
                return [value or "null" for _, value in found], missing, failed, empty
        for station, source in named.items():
            code, value = source.outcomes.get(station) or _NOTHING
            if several and code in (ABSENT, Code.SKIPPED):
                code, value = self._older_result(station)
            if code == Code.RESULT:
                results.append(value or "null")
            elif code == Code.EMPTY:
                empty.append(station)
            elif code == Code.FAILED:
                failed.append((station, value or ""))
            else:
                missing.append(station)
        return results, missing, failed, empty

    def _named_by_all(self) -> Mapping[str, SourceState]:
        """Return the stations with the latest message that names each, late ones too."""
        named = dict(self.expected)
        for source in self.sources.values():
            if source.late:
                named.update(dict.fromkeys(source.stations, source))
        return named

    def _older_result(self, station: str) -> tuple[str, str | None]:
        """Return an older message's result, for a station for which the latest message that names it has nothing.

        Only the newest outcome counts: a result that is older than an empty or failed one is never used.
        """
        source = self.newest.get(station)
        outcome = source.outcomes[station] if source else _NOTHING
        return outcome if outcome[0] == Code.RESULT else _NOTHING


def _has_arrived(source: SourceState, station: str) -> bool:
    outcome = source.outcomes.get(station)
    return outcome is not None and outcome[0] != Code.SKIPPED


def _content(decision: Decision) -> tuple[object, ...]:
    """Return all that can differ between two revisions for their readers, besides numbers and times."""
    return decision.expected, decision.results, decision.missing, decision.failed, decision.empty


def _group(event: Arrived, position: Position, taken: Sequence[int], values: list[str | None]) -> Group:
    if len(taken) == len(event.stations):
        return Group(position, event.source, event.stations, event.codes, values, event.at)
    return Group(
        position,
        event.source,
        [event.stations[index] for index in taken],
        "".join([event.codes[index] for index in taken]),
        [values[index] for index in taken],
        event.at,
    )
