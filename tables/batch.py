"""The batch state machine: events of the log go in, effects come out. No Kafka, no clock of its own.

The rules are CONTRACT 7. Applying an event twice is the same as once, and the effects of a log do not depend on how it
is cut into chunks, because the rules are looked at after each outcome and every time comes from an event.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tables.codes import Action, Code, CompletedBy, State, Status
from tables.effects import all_late, failure, late
from tables.events import (
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
    Source,
)

__all__ = ["ABSENT", "Batch", "Extension", "Group", "SourceState"]

ABSENT = "-"  # stands in a codes string for a station that has no outcome

FIRST_REVISION = 1


@dataclass(frozen=True, slots=True)
class Group:
    """Outcomes that one event brought and that the batch took in, as they are stored; lists run in parallel."""

    position: Position
    source: Source
    stations: list[str]
    codes: str
    values: list[str | None]


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


class Batch:
    """One batch: expected stations by message, outcomes by message and station, and the decision once it is closed.

    What has changed and is not stored yet is kept in `fresh_sources`, `fresh_extensions`, `fresh_groups` and
    `fresh_late`, for the owner to take. Outcomes that came in time and those that came late are kept apart because the
    former are deleted once the batch has been published.
    """

    __slots__ = (
        "batch_id",
        "deadline",
        "decision",
        "expected",
        "extensions",
        "fresh_extensions",
        "fresh_groups",
        "fresh_late",
        "fresh_sources",
        "newest",
        "opened_at",
        "operator",
        "pending",
        "skipped",
        "sources",
        "state",
    )

    def __init__(self, batch_id: str, opened_at: float) -> None:
        self.batch_id = batch_id
        self.opened_at = opened_at
        self.deadline = opened_at
        self.state = State.OPEN
        self.sources: dict[Source, SourceState] = {}
        # Station -> the latest message that names it. A dict keeps the place of the first naming when a later message
        # takes a station over, which is the order of the output.
        self.expected: dict[str, SourceState] = {}
        # Station -> the latest message whose outcome for it is there; kept only once there are several messages.
        self.newest: dict[str, SourceState] = {}
        # What stays missing if the batch closes at its deadline, and has failed if it lives on past it.
        self.skipped: list[tuple[SourceState, str]] = []
        self.pending = 0
        self.decision: Decision | None = None
        self.operator: Operator | None = None
        self.extensions: set[Command] = set()
        self.fresh_extensions: list[Extension] = []
        self.fresh_sources: list[SourceState] = []
        self.fresh_groups: list[Group] = []
        self.fresh_late: list[Group] = []

    @property
    def first_position(self) -> Position:
        """Where in the log the batch was opened."""
        return next(iter(self.sources.values())).position

    # -- events ------------------------------------------------------------------------------------------------------

    def open(self, event: Open, position: Position, *, max_age: float) -> list[Effect]:
        """Take in a source message: the first one opens the batch, others supplement it or are late."""
        if event.source in self.sources:
            return []
        first = not self.sources
        self.add_source(event, position, max_age=max_age)
        effects: list[Effect] = [Opened(self.batch_id, event.stations)] if first else []
        if self.state is State.OPEN and not self.pending:
            effects.append(self._close(CompletedBy.ALL, event.opened_at))
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
        if self.state is State.OPEN:
            start = self._arrive_in_time(source, event, position, effects)
        if start < len(event.stations):
            self._arrive_late(source, event, position, start, effects)
        return effects

    def expire(self, event: Expire) -> list[Effect]:
        """Close at the deadline with what has arrived; void when the deadline has moved since."""
        if self.state is not State.OPEN or event.deadline < self.deadline:
            return []
        return [self._close(CompletedBy.TIMEOUT, event.at)]

    def command(self, event: Command, position: Position, *, max_age: float) -> list[Effect]:
        """Do what an operator asks for."""
        is_open = self.state is State.OPEN
        if event in self.extensions or (not is_open and self.operator == (event.action, event.by, event.at)):
            return []
        # What stands before the opening in the log is read again after a crash: it had no effect then either.
        if not is_open or position < self.first_position:
            return [Commanded(event, None)]
        if event.action is Action.EXTEND:
            return self._extend(event, position, max_age)
        self.operator = Operator(event.action, event.by, event.at)
        discarded = event.action is Action.DISCARD
        effects: list[Effect] = [Commanded(event, self.deadline)]
        return [*effects, self._close(CompletedBy.OPERATOR, event.at, discarded=discarded)]

    def _extend(self, event: Command, position: Position, max_age: float) -> list[Effect]:
        deadline = min(self.deadline + event.seconds, self.opened_at + max_age)
        if deadline <= self.deadline:
            return [Commanded(event, None)]
        extension = Extension(position, deadline, event.at, event.by, event.seconds)
        self.add_extension(extension)
        self.fresh_extensions.append(extension)
        effects: list[Effect] = [Commanded(event, deadline)]
        return effects if self.pending else [*effects, self._close(CompletedBy.ALL, event.at)]

    # -- taking in ---------------------------------------------------------------------------------------------------

    def add_source(self, event: Open, position: Position, *, max_age: float) -> SourceState:
        """Record a message without looking at any rule; recovery rebuilds a batch by this too."""
        came_late = self.state is not State.OPEN
        source = SourceState(event.source, event.opened_at, event.deadline, event.stations, position, came_late)
        if len(self.sources) == 1:
            self._begin_to_compare()
        self.sources[event.source] = source
        self.fresh_sources.append(source)
        if came_late:
            return source
        if not self.expected:
            self.expected = dict.fromkeys(event.stations, source)
            self.pending = len(event.stations)
            self.deadline = event.deadline
        else:
            for station in event.stations:
                named_by = self.expected.get(station)
                # A station that had arrived for an older message is awaited again for this one.
                if named_by is None or _has_arrived(named_by, station):
                    self.pending += 1
                self.expected[station] = source
            self._move_deadline(min(event.deadline, self.opened_at + max_age))
        return source

    def add_extension(self, extension: Extension) -> None:
        """Move the deadline for an operator, without looking at any rule; recovery does this too."""
        self.extensions.add(Command(self.batch_id, Action.EXTEND, extension.at, extension.by, extension.seconds))
        self.operator = Operator(Action.EXTEND, extension.by, extension.at)
        self._move_deadline(extension.deadline)

    def _move_deadline(self, deadline: float) -> None:
        if deadline > self.deadline:
            self.deadline = deadline
            self._fail_skipped()

    def _begin_to_compare(self) -> None:
        """A second message has come: from now on `newest` is kept."""
        for source in self.sources.values():
            for station, (code, _) in source.outcomes.items():
                if code != Code.SKIPPED:
                    self.newest[station] = source

    def _note(self, source: SourceState, station: str) -> None:
        newest = self.newest.get(station)
        if newest is None or newest.position < source.position:
            self.newest[station] = source

    def _fail_skipped(self) -> None:
        """A station that was skipped for an earlier deadline can't come any more once the batch lives on past it."""
        due: list[tuple[SourceState, str]] = []
        for source, station in self.skipped:
            if source.deadline >= self.deadline:
                due.append((source, station))
                continue
            source.outcomes[station] = (Code.FAILED, source.outcomes[station][1])
            self._note(source, station)
            if self.expected.get(station) is source:
                self.pending -= 1
        self.skipped = due

    def take_group(self, source: SourceState, group: Group) -> None:
        """Record stored outcomes without looking at any rule: for recovery. The first one wins here too."""
        for station, code, value in zip(group.stations, group.codes, group.values, strict=True):
            if station not in source.outcomes:
                self.take(source, station, code, value)

    def take(self, source: SourceState, station: str, code: str, value: str | None) -> None:
        """Record a first outcome without looking at any rule."""
        is_open = self.state is State.OPEN
        if code == Code.SKIPPED:
            if not is_open or self.deadline <= source.deadline:
                source.outcomes[station] = (code, value)
                if is_open:
                    self.skipped.append((source, station))
                return
            code = Code.FAILED
        source.outcomes[station] = (code, value)
        if len(self.sources) > 1:
            self._note(source, station)
        if is_open and self.expected.get(station) is source:
            self.pending -= 1

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
            if not self.pending:
                break
        effects.extend(failure(event, index) for index in taken if index in event.letters)
        if taken:
            self.fresh_groups.append(_group(event, position, taken))
        if not self.pending:
            effects.append(self._close(CompletedBy.ALL, event.at))
        return seen

    def _arrive_late(
        self, source: SourceState, event: Arrived, position: Position, start: int, effects: list[Effect]
    ) -> None:
        taken: list[int] = []
        for index in range(start, len(event.stations)):
            station = event.stations[index]
            if station in source.outcomes:
                continue
            taken.append(index)
            # An outcome of a later message that names this station makes this one no news.
            newest = self.newest.get(station)
            superseded = newest is not None and newest.position > source.position
            self.take(source, station, event.codes[index], None)
            if index in event.letters:
                effects.append(failure(event, index))
            if not superseded:
                reason = "late-message" if source.late else "batch-closed"
                effects.append(late(event, index, reason, self.decision))
        if taken:
            group = _group(event, position, taken)
            # The late topic has the values; here a repeat has to be told from a first, no more.
            self.fresh_late.append(Group(position, group.source, group.stations, group.codes, [None] * len(taken)))

    # -- closing -----------------------------------------------------------------------------------------------------

    def _close(self, completed_by: CompletedBy, closed_at: float, *, discarded: bool = False) -> Released:
        self.decision = self.decide(completed_by, closed_at, discarded=discarded)
        self.freeze()
        return Released(self.decision)

    def freeze(self) -> None:
        """Fix the codes of all that came in time; what comes from now on is late."""
        self.state = State.CLOSING
        self.skipped.clear()
        for source in self.sources.values():
            outcomes = source.outcomes
            none = (ABSENT, None)
            source.codes = "".join([outcomes.get(station, none)[0] for station in source.stations])

    def decide(self, completed_by: CompletedBy, closed_at: float, *, discarded: bool = False) -> Decision:
        """List what the batch has now: results, missing, failed and empty, in the order of the messages."""
        results: list[str] = []
        missing: list[str] = []
        failed: list[tuple[str, str]] = []
        empty: list[str] = []
        several = len(self.sources) > 1
        for station, source in self.expected.items():
            code, value = source.outcomes.get(station) or (ABSENT, None)
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
        status = Status.PARTIAL if missing else Status.COMPLETE
        return Decision(
            batch_id=self.batch_id,
            revision=FIRST_REVISION,
            completed_by=completed_by,
            status=Status.DISCARDED if discarded else status,
            opened_at=self.opened_at,
            deadline=self.deadline,
            closed_at=closed_at,
            expected=tuple(self.expected),
            results=tuple(results),
            missing=tuple(missing),
            failed=tuple(failed),
            empty=tuple(empty),
            operator=self.operator,
        )

    def _older_result(self, station: str) -> tuple[str, str | None]:
        """What an older message's result gives, where the latest that names the station has nothing.

        Only the newest outcome counts: a result that is older than an empty or failed one is never used.
        """
        source = self.newest.get(station)
        outcome = source.outcomes[station] if source else (ABSENT, None)
        return outcome if outcome[0] == Code.RESULT else (ABSENT, None)

    def waiting_for(self) -> Iterable[str]:
        """Stations that have not arrived yet, lazily, in the order of the messages."""
        return (station for station, source in self.expected.items() if not _has_arrived(source, station))


def _has_arrived(source: SourceState, station: str) -> bool:
    outcome = source.outcomes.get(station)
    return outcome is not None and outcome[0] != Code.SKIPPED


def _group(event: Arrived, position: Position, taken: list[int]) -> Group:
    if len(taken) == len(event.stations):
        return Group(position, event.source, event.stations, event.codes, event.values)
    return Group(
        position,
        event.source,
        [event.stations[index] for index in taken],
        "".join([event.codes[index] for index in taken]),
        [event.values[index] for index in taken],
    )
