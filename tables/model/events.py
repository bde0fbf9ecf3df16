"""Events of the batch log, the effects that they have, and the changes that they make to a batch: plain records.

Every change of a batch is an event on the `batch-events` topic. An event carries its sender's time, and the
state machine takes every time from there, never from a clock of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tables.model.enums import Action, Code, CompletedBy, LatePolicy, Status
from tables.model.fast_dataclass import fast_dataclass
from tables.model.timeouts import Observation


class Source(NamedTuple):
    """The source message that an event comes from; identifies it for ever."""

    topic: str
    partition: int
    offset: int


class Position(NamedTuple):
    """Place of an event in the log of its partition: the message's offset, and which event of that frame it is."""

    offset: int
    ordinal: int


# -- events ------------------------------------------------------------------------------------------------------------


@fast_dataclass(frozen=True, slots=True)
class Open:
    """A source message has been split: these stations are expected.

    `opened_at` and `deadline` are Unix seconds as the splitter stamped them; `stations` are unique, in the order in
    which the message names them. `replayed` says that it is a dead letter that was sent again, which never opens a
    batch. `timeout` (seconds) is there where it follows the durations of recent batches. `trace` is the message's trace
    context, None where it has none.
    """

    batch_id: str
    source: Source
    opened_at: float
    deadline: float
    stations: tuple[str, ...]
    replayed: bool = False
    timeout: float | None = None
    trace: str | None = None


@fast_dataclass(frozen=True, slots=True)
class FailureLetter:
    """The dead letter of a failed station, made where it failed, so that a repeat is identical.

    `value` is a source message with that station's records, `key` the source message's; `error` ends with the
    traceback. `too_large` says that `value` is only the start of them.
    """

    value: str
    key: bytes | None
    error: str
    too_large: bool = False


@fast_dataclass(frozen=True, slots=True)
class Arrived:
    """Outcomes of stations of one source message, in parallel lists.

    `values[i]` is the JSON text of a result, the error text of a failed or skipped station, None for an empty one.
    `at` is the time when the sender gathered them, Unix seconds. `letters` maps indices of failed stations. `trace` is
    the source message's.
    """

    batch_id: str
    source: Source
    at: float
    stations: list[str]
    codes: str
    values: list[str | None]
    letters: dict[int, FailureLetter]
    trace: str | None = None


@fast_dataclass(frozen=True, slots=True)
class Expire:
    """The deadline that its sender saw has come; void if the batch's deadline is later by now."""

    batch_id: str
    deadline: float
    at: float


@fast_dataclass(frozen=True, slots=True)
class Forget:
    """A closed batch has been remembered for long enough."""

    batch_id: str
    closed_at: float
    at: float


@fast_dataclass(frozen=True, slots=True)
class Command:
    """An operator's command; void where the batch is not open.

    `at` is the time at which the operator gave it, Unix seconds, `by` the operator. `seconds` is how far `extend` moves
    the deadline. Two equal commands are one that has come twice.
    """

    batch_id: str
    action: Action
    at: float
    by: str
    seconds: float = 0.0


@fast_dataclass(frozen=True, slots=True)
class Revise:
    """Late outcomes have been gathered for long enough; void where that revision is there already."""

    batch_id: str
    revision: int
    at: float


BatchEvent = Open | Arrived | Expire | Forget | Command | Revise


# -- decisions and effects ---------------------------------------------------------------------------------------------


class Operator(NamedTuple):
    """The last thing that an operator did to a batch: what, who, and when (Unix seconds)."""

    action: Action
    by: str
    at: float


@fast_dataclass(frozen=True, slots=True)
class Decision:
    """The content of a batch's output, one revision of it: a function of the log alone.

    `results` are JSON texts in the order in which the messages named the stations; the id lists keep that order too.
    `traces` are the trace contexts of its messages, the first one's first.
    """

    batch_id: str
    revision: int
    completed_by: CompletedBy
    status: Status
    opened_at: float
    deadline: float
    closed_at: float
    expected: tuple[str, ...]
    results: tuple[str, ...]
    missing: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    empty: tuple[str, ...]
    operator: Operator | None = None
    timeout: float | None = None
    traces: tuple[str, ...] = ()

    @property
    def arrived_count(self) -> int:
        """Stations with a result, empty or failed."""
        return len(self.expected) - len(self.missing)


@fast_dataclass(frozen=True, slots=True)
class Opened:
    """A batch has been opened."""

    batch_id: str
    expected: tuple[str, ...]


@fast_dataclass(frozen=True, slots=True)
class Released:
    """A batch has closed, or has been revised; the decision goes to the outbox."""

    decision: Decision
    observation: Observation | None = field(default=None, compare=False)  # of a first closing


@fast_dataclass(frozen=True, slots=True)
class Late:
    """An outcome that came after its batch had closed, or for a batch that is not known.

    `revision` and `closed_at` are None where the batch is not known. `at` is the time of the event that carried it.
    """

    batch_id: str
    station: str
    code: Code
    value: str | None
    reason: str
    revision: int | None
    closed_at: float | None
    at: float
    trace: str | None = None


@fast_dataclass(frozen=True, slots=True)
class FailedStation:
    """A station has failed; a repeat of it is no effect."""

    batch_id: str
    source: Source
    station: str
    at: float
    letter: FailureLetter
    trace: str | None = None


@fast_dataclass(frozen=True, slots=True)
class SkippedFailed:
    """A skipped station has failed: its batch lives on past the deadline that it was skipped for.

    It has brought no letter, because hardly any skipped station needs one: its records are in the source message.
    """

    batch_id: str
    source: Source
    station: str
    at: float
    error: str
    trace: str | None


@fast_dataclass(frozen=True, slots=True)
class Commanded:
    """An operator's command has been carried out; a repeat of it is no effect. `deadline` is the batch's now.

    None: it changed nothing, because the batch is not open, or can't be extended further.
    """

    command: Command
    deadline: float | None


@fast_dataclass(frozen=True, slots=True)
class LateTaken:
    """Late outcomes that the late topic does not get; `policy` is the one that they are treated by."""

    batch_id: str
    stations: tuple[str, ...]
    codes: str
    reason: str
    policy: LatePolicy
    at: float


Effect = Opened | Released | Late | LateTaken | FailedStation | SkippedFailed | Commanded


# -- changes, as they are kept in memory and stored --------------------------------------------------------------------


ABSENT = "-"  # stands in a codes string for a station that has no outcome
START = Position(-1, 0)  # before every place in the log


@dataclass(slots=True)
class SourceState:
    """A source message of a batch: the stations that it names, and their outcomes.

    Attributes:
        position: that of its opening; the message with the later position is the newer one.
        codes: of the outcomes in time, a letter for each of `stations`, ABSENT for none; "" while the batch is open.
        late: whether the message itself came after the batch had closed.
        outcomes: code and value by station, late ones too.
    """

    source: Source
    opened_at: float
    deadline: float
    stations: tuple[str, ...]
    position: Position
    codes: str = ""
    timeout: float | None = None
    trace: str | None = None
    late: bool = False
    outcomes: dict[str, tuple[str, str | None]] = field(default_factory=dict)


@fast_dataclass(frozen=True, slots=True)
class Group:
    """Outcomes that the batch took from one event, in parallel lists. `at` is the event's time, Unix seconds."""

    position: Position
    source: Source
    stations: list[str]
    codes: str
    values: list[str | None]
    at: float = 0.0


@fast_dataclass(frozen=True, slots=True)
class Extension:
    """An operator's `extend` that has moved the deadline to `deadline` (Unix seconds)."""

    position: Position
    deadline: float
    at: float
    by: str
    seconds: float


@dataclass(slots=True)
class Segment:
    """Changes of one batch by successive events of the log, all of them in time or all of them `late`.

    It ends at the latest with a decision, made by the event at `position`.
    """

    late: bool = False
    sources: list[SourceState] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    extensions: list[Extension] = field(default_factory=list)
    decision: Decision | None = None
    position: Position = START


# -- effects of single outcomes ----------------------------------------------------------------------------------------


def all_late(event: Arrived, reason: str, decision: Decision | None) -> list[Effect]:
    """Return the effects of an event all of whose outcomes are late, for one `reason`."""
    effects: list[Effect] = []
    for index in range(len(event.codes)):
        if index in event.letters:
            effects.append(failure(event, index))
        effects.append(late(event, index, reason, decision))
    return effects


def failure(event: Arrived, index: int) -> FailedStation:
    """Return the effect of one failed station of an event."""
    return FailedStation(
        event.batch_id, event.source, event.stations[index], event.at, event.letters[index], event.trace
    )


def late(event: Arrived, index: int, reason: str, decision: Decision | None) -> Late:
    """Return the effect of one late outcome of an event. `decision` is its batch's; None where there is none."""
    return Late(
        batch_id=event.batch_id,
        station=event.stations[index],
        code=Code(event.codes[index]),
        value=event.values[index],
        reason=reason,
        revision=decision.revision if decision else None,
        closed_at=decision.closed_at if decision else None,
        at=event.at,
        trace=event.trace,
    )


def late_taken(event: Arrived, indices: Sequence[int], reason: str, policy: LatePolicy) -> LateTaken:
    """Return the effect of some late outcomes of an event."""
    stations = tuple(event.stations[index] for index in indices)
    codes = "".join(event.codes[index] for index in indices)
    return LateTaken(event.batch_id, stations, codes, reason, policy, event.at)
