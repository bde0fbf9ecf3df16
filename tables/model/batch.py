"""The batch state machine: events of the log go in, effects come out. No Kafka, no clock of its own.

The rules are CONTRACT 7. Applying an event twice is the same as once, and the effects of a log do not depend on how it
is cut into chunks, because the rules are looked at after each outcome and every time comes from an event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace

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
    Source,
    all_late,
    failure,
    late,
    late_taken,
)
from tables.model.fast_dataclass import fast_dataclass
from tables.model.policies import Rules
from tables.model.timeouts import Observation, observe

__all__ = [
    "ABSENT",
    "BATCH_CLOSED",
    "FIRST_REVISION",
    "LATE_MESSAGE",
    "START",
    "Batch",
    "Extension",
    "Group",
    "Lists",
    "Piece",
    "Roster",
    "SourceState",
]


ABSENT = "-"  # stands in a codes string for a station that has no outcome


START = Position(-1, 0)  # before every place in the log


@fast_dataclass(frozen=True, slots=True)
class Group:
    """Outcomes that one event brought and that the batch took in, as they are stored; lists run in parallel.

    `at` is the event's time, Unix seconds.
    """

    position: Position
    source: Source
    stations: list[str]
    codes: str
    values: list[str | None]
    at: float = 0.0


@fast_dataclass(frozen=True, slots=True)
class Extension:
    """An operator's `extend` that has moved the deadline (Unix seconds) to where it says."""

    position: Position
    deadline: float
    at: float
    by: str
    seconds: float


@fast_dataclass(slots=True, eq=False)
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
    timeout: float | None = None
    trace: str | None = None


@fast_dataclass(slots=True)
class Piece:
    """What a stretch of the log brought to a batch and is not stored yet, up to a decision if one ends it.

    `late` says that the batch had closed before. `position` is that of the event that led to the decision.
    """

    late: bool
    sources: list[SourceState] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    extensions: list[Extension] = field(default_factory=list)
    decision: Decision | None = None
    position: Position = START


NOTHING: tuple[str, str | None] = (ABSENT, None)


@fast_dataclass(slots=True)
class Lists:
    """A batch's stations by what has become of them, each list in the order in which the messages named them."""

    expected: tuple[str, ...]
    results: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


class Roster:
    """Expected stations by message, outcomes by message and station. Changing it looks at no rule."""

    __slots__ = (
        "arrived_at",
        "batch_id",
        "deadline",
        "expected",
        "extensions",
        "is_open",
        "most_pending",
        "newest",
        "opened_at",
        "operator",
        "pending",
        "required_pending",
        "rules",
        "skipped",
        "sources",
    )

    def __init__(self, batch_id: str, opened_at: float, rules: Rules) -> None:
        self.batch_id = batch_id
        self.opened_at = opened_at
        self.rules = rules
        self.deadline = opened_at
        self.arrived_at: float | None = None  # the last arrival in time
        self.is_open = True
        self.sources: dict[Source, SourceState] = {}
        # Station -> the latest message in time that names it. A dict keeps the place of the first naming when a later
        # message takes a station over, which is the order of the output.
        self.expected: dict[str, SourceState] = {}
        # Station -> the latest message whose outcome for it is there; kept only once there are several messages.
        self.newest: dict[str, SourceState] = {}
        # What stays missing if the batch closes at its deadline, and has failed if it lives on past it.
        self.skipped: list[tuple[SourceState, str]] = []
        self.pending = 0
        self.required_pending = 0  # of these, the ones without which it is not released before its deadline
        self.most_pending = 0  # with so many it is released
        self.operator: Operator | None = None
        self.extensions: dict[Command, None] = {}  # an ordered set

    @property
    def first_position(self) -> Position:
        """Where in the log the batch was opened."""
        return next(iter(self.sources.values())).position

    @property
    def timeout(self) -> float | None:
        """The timeout that its first message was given, where that follows the durations of recent batches."""
        return next(iter(self.sources.values())).timeout

    def traces(self, *, with_late: bool) -> tuple[str, ...]:
        """The trace contexts of its messages, in the order of the log."""
        sources = self.sources.values()
        return tuple([one.trace for one in sources if one.trace is not None and (with_late or not one.late)])

    @property
    def is_releasable(self) -> bool:
        """Whether so few stations are pending that the batch need not wait for its deadline."""
        return self.pending <= self.most_pending and not self.required_pending

    # -- messages ----------------------------------------------------------------------------------------------------

    def add_source(self, event: Open, position: Position) -> SourceState:
        """Record a message."""
        late = not self.is_open
        source = SourceState(event.source, event.opened_at, event.deadline, event.stations, position, late)
        source.timeout, source.trace = event.timeout, event.trace
        if len(self.sources) == 1:
            self._begin_to_compare()
        self.sources[event.source] = source
        if late:
            return source
        if not self.expected:
            self.expected = dict.fromkeys(event.stations, source)
            self._await(event.stations)
            self.deadline = event.deadline
        else:
            # A station that had arrived for an older message is awaited again for this one.
            expected = self.expected
            self._await([s for s in event.stations if s not in expected or _has_arrived(expected[s], s)])
            for station in event.stations:
                expected[station] = source
            self.move_deadline(min(event.deadline, self.opened_at + self.rules.max_age))
        self.most_pending = self.rules.release.most_pending(len(self.expected))
        return source

    def _await(self, stations: Iterable[str]) -> None:
        required = self.rules.release.required
        stations = list(stations)
        self.pending += len(stations)
        if required:
            self.required_pending += sum(station in required for station in stations)

    def _begin_to_compare(self) -> None:
        """A second message has come: from now on `newest` is kept."""
        for source in self.sources.values():
            for station, (code, _) in source.outcomes.items():
                if code != Code.SKIPPED:
                    self.newest[station] = source

    # -- the deadline ------------------------------------------------------------------------------------------------

    def add_extension(self, extension: Extension) -> None:
        """Move the deadline for an operator."""
        command = Command(self.batch_id, Action.EXTEND, extension.at, extension.by, extension.seconds)
        self.extensions[command] = None
        self.operator = Operator(Action.EXTEND, extension.by, extension.at)
        self.move_deadline(extension.deadline)

    def move_deadline(self, deadline: float) -> None:
        """Move the deadline, but never back."""
        if deadline > self.deadline:
            self.deadline = deadline
            self._fail_skipped()

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
                self._settle(station)
        self.skipped = due

    # -- outcomes ----------------------------------------------------------------------------------------------------

    def take_group(self, source: SourceState, group: Group) -> None:
        """Record stored outcomes; the first one of a station wins."""
        for station, code, value in zip(group.stations, group.codes, group.values, strict=True):
            if station not in source.outcomes:
                self.take(source, station, code, value)

    def take(self, source: SourceState, station: str, code: str, value: str | None) -> None:
        """Record a first outcome."""
        is_open = self.is_open
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
            self._settle(station)

    def note_arrival(self, codes: str, at: float) -> None:
        """Outcomes have come in time; what was skipped has not arrived."""
        if codes.count(Code.SKIPPED) < len(codes):
            self.arrived_at = at

    def _note(self, source: SourceState, station: str) -> None:
        newest = self.newest.get(station)
        if newest is None or newest.position < source.position:
            self.newest[station] = source

    def _settle(self, station: str) -> None:
        self.pending -= 1
        if self.required_pending and station in self.rules.release.required:
            self.required_pending -= 1

    def is_superseded(self, source: SourceState, station: str) -> bool:
        """Whether the outcome of a later message that names this station makes this message's one no news."""
        newest = self.newest.get(station)
        return newest is not None and newest.position > source.position

    def freeze(self) -> None:
        """Fix the codes of all that came in time; what comes from now on is late."""
        self.is_open = False
        self.skipped.clear()
        for source in self.sources.values():
            outcomes = source.outcomes
            source.codes = "".join([outcomes.get(station, NOTHING)[0] for station in source.stations])

    # -- what there is -----------------------------------------------------------------------------------------------

    def waiting_for(self) -> Iterable[str]:
        """Stations that have not arrived yet, lazily, in the order of the messages."""
        return (station for station, source in self.expected.items() if not _has_arrived(source, station))

    def lists(self, *, with_late: bool = False) -> Lists:
        """The stations by what has become of them; `with_late` as if the late messages had come in time."""
        named = self._named_by_all() if with_late else self.expected
        lists = Lists(tuple(named))
        several = len(self.sources) > 1
        for station, source in named.items():
            code, value = source.outcomes.get(station) or NOTHING
            if several and code in (ABSENT, Code.SKIPPED):
                code, value = self._older_result(station)
            if code == Code.RESULT:
                lists.results.append(value or "null")
            elif code == Code.EMPTY:
                lists.empty.append(station)
            elif code == Code.FAILED:
                lists.failed.append((station, value or ""))
            else:
                lists.missing.append(station)
        return lists

    def _named_by_all(self) -> Mapping[str, SourceState]:
        """The stations with the latest message that names each, late ones too."""
        named = dict(self.expected)
        for source in self.sources.values():
            if source.late:
                named.update(dict.fromkeys(source.stations, source))
        return named

    def _older_result(self, station: str) -> tuple[str, str | None]:
        """What an older message's result gives, where the latest that names the station has nothing.

        Only the newest outcome counts: a result that is older than an empty or failed one is never used.
        """
        source = self.newest.get(station)
        outcome = source.outcomes[station] if source else NOTHING
        return outcome if outcome[0] == Code.RESULT else NOTHING


def _has_arrived(source: SourceState, station: str) -> bool:
    outcome = source.outcomes.get(station)
    return outcome is not None and outcome[0] != Code.SKIPPED


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
