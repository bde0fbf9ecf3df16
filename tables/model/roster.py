"""Who is expected in a batch and what has come of them: the state under the rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tables.model.enums import Action, Code
from tables.model.events import Command, Open, Operator, Position, Source
from tables.model.policies import Rules
from tables.model.sources import ABSENT, Extension, Group, SourceState

__all__ = ["Lists", "Roster"]

NOTHING: tuple[str, str | None] = (ABSENT, None)


@dataclass(slots=True)
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
