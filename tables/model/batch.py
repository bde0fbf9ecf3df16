"""The batch state machine: events of the log go in, effects come out. No Kafka, no clock of its own.

The rules are CONTRACT 7. Applying an event twice is the same as once, and the effects of a log do not depend on how it
is cut into chunks, because the rules are looked at after each outcome and every time comes from an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tables.model.effects import all_late, failure, late, late_taken
from tables.model.enums import Action, Code, CompletedBy, LatePolicy, Status
from tables.model.events import (
    Arrived,
    Command,
    Commanded,
    Decision,
    Effect,
    Expire,
    Open,
    Opened,
    Operator,
    Position,
    Released,
    Revise,
    SkippedFailed,
)
from tables.model.policies import Rules
from tables.model.roster import Roster
from tables.model.sources import START, Extension, Group, Piece, SourceState
from tables.model.timeouts import Observation, observe

__all__ = ["BATCH_CLOSED", "FIRST_REVISION", "LATE_MESSAGE", "Batch"]

FIRST_REVISION = 1
BATCH_CLOSED = "batch-closed"  # why an outcome is late
LATE_MESSAGE = "late-message"


class Batch(Roster):
    """One batch under its rules: the roster, and the latest decision once it is closed.

    What has changed and is not stored yet is kept in `fresh`, for the owner to take, in the order of the log and cut at
    every decision: whatever of it a crash leaves is then a state that the batch was in. `pending_since` is the time of
    the first late event that no revision has yet, None where there is none, or where nothing is revised. `has_news`
    tells that an outcome is among these events, which makes a revision even when it says the same again.
    """

    __slots__ = ("decision", "fresh", "has_news", "last_position", "late_policy", "pending_since")

    def __init__(self, batch_id: str, opened_at: float, rules: Rules) -> None:
        super().__init__(batch_id, opened_at, rules)
        self.decision: Decision | None = None
        self.late_policy = LatePolicy.TOPIC
        self.pending_since: float | None = None
        self.has_news = False
        self.last_position = START  # in the log, of what has changed it
        self.fresh: list[Piece] = []

    # -- events ------------------------------------------------------------------------------------------------------

    def open(self, event: Open, position: Position) -> list[Effect]:
        """Take in a source message: the first one opens the batch, others supplement it or are late."""
        if event.source in self.sources:
            return []
        effects: list[Effect] = [] if self.sources else [Opened(self.batch_id, event.stations)]
        skipped = list(self.skipped)
        self._piece(position).sources.append(self.add_source(event, position))
        effects += self._failed_unrun(skipped, event.opened_at)
        if not self.is_open:
            self._await_revision(event.opened_at)
        elif self.is_releasable:
            effects.append(self._release(event.opened_at, position))
        return effects

    def arrive(self, event: Arrived, position: Position) -> list[Effect]:
        """Take in outcomes, one after the other; the first in the log wins for a message and station."""
        source = self.sources.get(event.source)
        # A replayed message may be read twice, and be taken in only the second time: what stands before that in the log
        # stays without a message, also when it is read again.
        if source is None or position < source.position:
            return all_late(event, "unknown-message", self.decision)
        effects: list[Effect] = []
        start = 0
        if self.is_open:
            start = self._arrive_in_time(source, event, position, effects)
        if start < len(event.stations):
            self._arrive_late(source, event, position, start, effects)
        return effects

    def expire(self, event: Expire, position: Position) -> list[Effect]:
        """Close at the deadline with what has arrived; void when the deadline has moved since."""
        if not self.is_open or event.deadline < self.deadline:
            return []
        return [self._close(CompletedBy.TIMEOUT, event.at, position)]

    def command(self, event: Command, position: Position) -> list[Effect]:
        """Do what an operator asks for."""
        if event in self.extensions or (not self.is_open and self.operator == (event.action, event.by, event.at)):
            return []
        # What stands before the opening in the log is read again after a crash: it had no effect then either.
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
        skipped = list(self.skipped)
        self.add_extension(extension)
        self._piece(position).extensions.append(extension)
        effects: list[Effect] = [Commanded(event, deadline), *self._failed_unrun(skipped, event.at)]
        return [*effects, self._release(event.at, position)] if self.is_releasable else effects

    def revise(self, event: Revise, position: Position) -> list[Effect]:
        """Decide again with what has come late; void where that is no outcome and changes nothing."""
        before = self.decision
        if before is None or self.late_policy is not LatePolicy.REVISE or event.revision != before.revision + 1:
            return []
        # What stands in the log before something that is known here has been looked at then, and is read again.
        if position < self.last_position:
            return []
        self.pending_since = None
        decision = self.decide(CompletedBy.REVISION, event.at, revision=event.revision)
        if not self.has_news and _content(decision) == _content(before):
            return []
        return [self._decided(decision, position)]

    # -- taking in ---------------------------------------------------------------------------------------------------

    def _piece(self, position: Position) -> Piece:
        """Where what an event has brought is put until it is stored."""
        self.last_position = position
        if not self.fresh or self.fresh[-1].decision is not None:
            self.fresh.append(Piece(late=not self.is_open))
        return self.fresh[-1]

    def _arrive_in_time(self, source: SourceState, event: Arrived, position: Position, effects: list[Effect]) -> int:
        """Take outcomes until the batch closes; returns the index of the first that has not been looked at."""
        outcomes = source.outcomes
        taken: list[int] = []
        seen = 0
        for station, code, value in zip(event.stations, event.codes, event.values, strict=True):
            seen += 1
            if station in outcomes:
                continue
            taken.append(seen - 1)
            self.take(source, station, code, value)
            if self.pending <= self.most_pending and not self.required_pending:
                break
        effects.extend(failure(event, index) for index in taken if index in event.letters)
        skipped = [(source, event.stations[index]) for index in taken if event.codes[index] == Code.SKIPPED]
        effects += self._failed_unrun(skipped, event.at)
        if taken:
            self._piece(position).groups.append(_group(event, position, taken, event.values))
            self.note_arrival(event.codes, event.at)
        if self.is_releasable:
            effects.append(self._release(event.at, position))
        return seen

    def _failed_unrun(self, skipped: Sequence[tuple[SourceState, str]], at: float) -> list[Effect]:
        """Effects of those stations that have been skipped, by message, and have failed by that now."""
        return [
            SkippedFailed(self.batch_id, source.source, station, at, source.outcomes[station][1] or "", source.trace)
            for source, station in skipped
            if source.outcomes[station][0] == Code.FAILED
        ]

    def _arrive_late(
        self, source: SourceState, event: Arrived, position: Position, start: int, effects: list[Effect]
    ) -> None:
        # The late topic has the values, or nobody has: then a repeat has to be told from a first, no more.
        revise = self.late_policy is LatePolicy.REVISE
        values: list[str | None] = event.values if revise else [None] * len(event.stations)
        reason = LATE_MESSAGE if source.late else BATCH_CLOSED
        taken: list[int] = []
        kept: list[int] = []
        skipped: list[int] = []  # there is nothing in it to revise with
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
                (skipped if revise and code == Code.SKIPPED else kept).append(index)
        if taken:
            self._piece(position).groups.append(_group(event, position, taken, values))
        effects += [late_taken(event, some, reason, self.late_policy) for some in (kept, skipped) if some]
        if kept:
            self.has_news = True
            self._await_revision(event.at)

    def _await_revision(self, at: float) -> None:
        if self.late_policy is LatePolicy.REVISE and self.pending_since is None:
            self.pending_since = at

    # -- deciding ----------------------------------------------------------------------------------------------------

    def _release(self, closed_at: float, position: Position) -> Released:
        return self._close(CompletedBy.RATIO if self.pending else CompletedBy.ALL, closed_at, position)

    def _close(self, completed_by: CompletedBy, closed_at: float, position: Position) -> Released:
        decision = self.decide(completed_by, closed_at)
        if completed_by is CompletedBy.OPERATOR:
            discarded = self.operator is not None and self.operator.action is Action.DISCARD
        else:
            discarded = completed_by is CompletedBy.TIMEOUT and self.rules.partial.problem(decision) is not None
        if discarded:
            decision = replace(decision, status=Status.DISCARDED)
        released = Released(self._decided(decision, position).decision, self._observation(decision))
        self.close_with(decision, LatePolicy.TOPIC if discarded else self.rules.late)
        return released

    def _observation(self, decision: Decision) -> Observation:
        """How the batch has gone, for the timeouts of those to come."""
        return observe(
            self.batch_id,
            decision.completed_by,
            stations=len(decision.expected),
            since=max(source.opened_at for source in self.sources.values()),
            deadline=self.deadline,
            arrived_at=self.arrived_at,
            skipped=bool(self.skipped),
        )

    def _decided(self, decision: Decision, position: Position) -> Released:
        piece = self._piece(position)
        piece.decision, piece.position = decision, position
        self.decision = decision
        self.has_news = False
        return Released(decision)

    def close_with(self, decision: Decision, late_policy: LatePolicy) -> None:
        """Be closed, without looking at any rule; recovery does this too."""
        self.decision = decision
        self.late_policy = late_policy
        self.freeze()

    def decide(self, completed_by: CompletedBy, closed_at: float, *, revision: int = FIRST_REVISION) -> Decision:
        """What the batch would publish now: a first revision without what has come late, a later one with it."""
        with_late = revision > FIRST_REVISION
        lists = self.lists(with_late=with_late)
        return Decision(
            batch_id=self.batch_id,
            revision=revision,
            completed_by=completed_by,
            status=Status.PARTIAL if lists.missing else Status.COMPLETE,
            opened_at=self.opened_at,
            deadline=self.deadline,
            closed_at=closed_at,
            expected=lists.expected,
            results=tuple(lists.results),
            missing=tuple(lists.missing),
            failed=tuple(lists.failed),
            empty=tuple(lists.empty),
            operator=self.operator,
            timeout=self.timeout,
            traces=self.traces(with_late=with_late),
        )


def _content(decision: Decision) -> tuple[object, ...]:
    """What a reader of two revisions can tell them apart by, besides their numbers and times."""
    return decision.expected, decision.results, decision.missing, decision.failed, decision.empty


def _group(event: Arrived, position: Position, taken: list[int], values: list[str | None]) -> Group:
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
