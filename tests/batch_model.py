"""The rules of CONTRACT 7 a second time, as plainly as they read and as slowly: what the state machine is compared to.

It also draws logs: any messages, any outcomes after their opens, any repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from random import Random

from tables.model.enums import LatePolicy
from tables.model.events import (
    Arrived,
    BatchEvent,
    Command,
    Commanded,
    Effect,
    Expire,
    FailedStation,
    Late,
    LateTaken,
    Open,
    Position,
    Revise,
    SkippedFailed,
    Source,
)
from tables.model.policies import PartialPolicy, ReleasePolicy, Rules
from tests.builders import Entry, arrived, command, open_

__all__ = [
    "BATCHES",
    "MAX_AGE",
    "Model",
    "draw_log",
    "draw_rules",
    "effect_tuples",
    "first_outcomes",
    "frames_of",
    "is_unknown",
]

BATCHES = ("b0", "b1")
MAX_AGE = 12.0
END = 1000.0  # later than any deadline
UNKNOWN = 9  # a message that was never opened
REPLAYED = 20  # messages from here on are replayed letters: known or not, as their batch is

Summary = tuple[object, ...]


@dataclass
class Message:
    """A source message, and the outcome of each of its stations as code and value."""

    event: Open
    late: bool
    outcomes: dict[str, tuple[str, str | None]] = field(default_factory=dict)

    def has(self, station: str, codes: str = "ref") -> bool:
        """Whether a station has an outcome of one of these kinds."""
        return self.outcomes.get(station, ("", None))[0] in tuple(codes)


@dataclass
class ModelBatch:
    """A batch: its messages in the order of the log, late ones too."""

    opened_at: float
    deadline: float
    messages: list[Message] = field(default_factory=list)
    decisions: list[Summary] = field(default_factory=list)
    policy: str = "topic"
    commands: list[Command] = field(default_factory=list)
    has_news: bool = False

    def arrived(self) -> list[str]:
        """The stations with an outcome of the latest message that names them."""
        return [station for station in self.expected() if self.naming(station)[0].has(station)]

    def naming(self, station: str, *, late: bool = False) -> list[Message]:
        """The messages that name a station, those in time only or all, the latest first."""
        return [m for m in reversed(self.messages) if station in m.event.stations and (late or not m.late)]

    def expected(self, *, late: bool = False) -> list[str]:
        """The stations in the order in which the messages, those in time or all, named them."""
        return list(dict.fromkeys(s for m in self.messages if late or not m.late for s in m.event.stations))

    def lists(self, *, late: bool) -> tuple[tuple[object, ...], ...]:
        """Results, empty, failed and missing."""
        lists: dict[str, list[object]] = {"r": [], "e": [], "f": [], "-": []}
        for station in self.expected(late=late):
            latest, *older = self.naming(station, late=late)
            if latest.has(station):
                code, value = latest.outcomes[station]
            else:
                best = next((message for message in older if message.has(station)), None)
                code, value = best.outcomes[station] if best and best.has(station, "r") else ("-", None)
            lists[code].append({"r": value, "f": (station, value)}.get(code, station))
        return tuple(tuple(lists[code]) for code in "ref-")


class Model:
    """Applies a log; `effects` has them as tuples, `decisions` the revisions of each batch."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.batches: dict[str, ModelBatch] = {}
        self.effects: list[tuple[object, ...]] = []

    def apply(self, event: BatchEvent) -> None:
        """One event of the log."""
        batch = self.batches.get(event.batch_id)
        if isinstance(event, Open):
            self._open(batch, event)
        elif isinstance(event, Arrived):
            for index, station in enumerate(event.stations):
                self._arrive(batch, event, index, station)
        elif isinstance(event, Expire) and batch and not batch.decisions and event.deadline >= batch.deadline:
            self._close(batch, "timeout", event.at)
        elif isinstance(event, Revise) and batch and batch.policy == "revise":
            self._revise(batch, event)
        elif isinstance(event, Command) and batch and not batch.decisions and event not in batch.commands:
            self._command(batch, event)

    def _command(self, batch: ModelBatch, event: Command) -> None:
        if event.action == "extend":
            deadline = min(batch.deadline + event.seconds, batch.opened_at + MAX_AGE)
            if deadline > batch.deadline:
                batch.commands.append(event)
                self._move_deadline(batch, deadline, event)
                self._release(batch, event.at)
        else:
            batch.commands.append(event)
            self._close(batch, "operator", event.at)

    def _open(self, batch: ModelBatch | None, event: Open) -> None:
        if batch is None and event.replayed:
            return
        if batch is None:
            batch = self.batches[event.batch_id] = ModelBatch(event.opened_at, event.deadline)
        if any(message.event.source == event.source for message in batch.messages):
            return
        batch.messages.append(Message(event, late=bool(batch.decisions)))
        if not batch.decisions:
            self._move_deadline(batch, max(batch.deadline, min(event.deadline, batch.opened_at + MAX_AGE)), event)
            self._release(batch, event.opened_at)

    def _move_deadline(self, batch: ModelBatch, deadline: float, event: Open | Command) -> None:
        batch.deadline = deadline
        for message in batch.messages:
            for station, (code, value) in message.outcomes.items():
                if code == "s" and message.event.deadline < batch.deadline:
                    message.outcomes[station] = ("f", value)
                    at = event.opened_at if isinstance(event, Open) else event.at
                    self.effects.append(("unrun", event.batch_id, message.event.source, station, at, value))

    def _arrive(self, batch: ModelBatch | None, event: Arrived, index: int, station: str) -> None:
        code, value = event.codes[index], event.values[index]
        message = next((m for m in batch.messages if m.event.source == event.source), None) if batch else None
        if batch is None or message is None:
            self._failed(event, index, station)
            self._late(event, index, "unknown-message" if batch else "unknown-batch", batch)
            return
        if station in message.outcomes:
            return
        self._failed(event, index, station)
        if not batch.decisions:
            if code == "s" and batch.deadline > message.event.deadline:
                code = "f"
                self.effects.append(("unrun", event.batch_id, event.source, station, event.at, value))
            message.outcomes[station] = (code, value)
            self._release(batch, event.at)
        else:
            message.outcomes[station] = (code, value)
            newer = batch.messages[batch.messages.index(message) + 1 :]
            if not any(other.has(station) for other in newer):
                batch.has_news = batch.has_news or code != "s"
                reason = "late-message" if message.late else "batch-closed"
                if batch.policy == "topic":
                    self._late(event, index, reason, batch)
                else:
                    self.effects.append(("taken", event.batch_id, station, reason, batch.policy))

    def _release(self, batch: ModelBatch, at: float) -> None:
        """Close before the deadline where a rule says so."""
        expected, arrived = batch.expected(), batch.arrived()
        ratio, required = self.rules.release.ratio, self.rules.release.required
        if len(arrived) == len(expected):
            self._close(batch, "all", at)
        elif (
            ratio is not None
            and len(arrived) / len(expected) >= ratio
            and required.isdisjoint({*expected} - {*arrived})
        ):
            self._close(batch, "ratio", at)

    def _revise(self, batch: ModelBatch, event: Revise) -> None:
        """Decide again as if everything had come in time, unless no outcome has come and that says the same again."""
        lists = batch.lists(late=True)
        if event.revision == len(batch.decisions) + 1 and (batch.has_news or lists != batch.decisions[-1][-4:]):
            batch.has_news = False
            status = "partial" if lists[-1] else "complete"
            batch.decisions.append(("revision", status, *batch.decisions[0][2:3], event.at, batch.deadline, *lists))

    def _close(self, batch: ModelBatch, completed_by: str, at: float) -> None:
        lists = batch.lists(late=False)
        last = batch.commands[-1] if batch.commands else None
        operator = (last.action.value, last.by, last.at) if last else None
        status = "partial" if lists[-1] else "complete"
        if completed_by == "operator" and operator and operator[0] == "discard":
            status = "discarded"
        if completed_by == "timeout" and not self._is_publishable(batch, set(lists[-1])):
            status = "discarded"
        batch.policy = "topic" if status == "discarded" else self.rules.late.value
        batch.decisions.append((completed_by, status, operator, at, batch.deadline, *lists))

    def _is_publishable(self, batch: ModelBatch, missing: set[object]) -> bool:
        expected, partial = batch.expected(), self.rules.partial
        share = (len(expected) - len(missing)) / len(expected)
        return share >= partial.min_ratio and partial.required.isdisjoint(missing)

    def _failed(self, event: Arrived, index: int, station: str) -> None:
        if index in event.letters:
            self.effects.append(("failed", event.batch_id, event.source, station, event.at))

    def _late(self, event: Arrived, index: int, reason: str, batch: ModelBatch | None) -> None:
        closed_at = batch.decisions[-1][3] if batch and batch.decisions else None  # of the latest revision
        value = event.values[index]
        self.effects.append(("late", event.batch_id, event.stations[index], value, reason, closed_at, event.at))

    @property
    def decisions(self) -> dict[str, list[Summary]]:
        """What each batch that is closed has decided, one for each revision."""
        return {batch_id: batch.decisions for batch_id, batch in self.batches.items() if batch.decisions}


def effect_tuples(effect: Effect) -> list[tuple[object, ...]]:
    """A state machine's effect as the model writes it; none for those that it writes otherwise."""
    if isinstance(effect, FailedStation):
        return [("failed", effect.batch_id, effect.source, effect.station, effect.at)]
    if isinstance(effect, SkippedFailed):
        return [("unrun", effect.batch_id, effect.source, effect.station, effect.at, effect.error)]
    if isinstance(effect, Late):
        late = effect
        return [("late", late.batch_id, late.station, late.value, late.reason, late.closed_at, late.at)]
    if isinstance(effect, LateTaken):
        return [("taken", effect.batch_id, station, effect.reason, effect.policy.value) for station in effect.stations]
    return []


# -- logs ------------------------------------------------------------------------------------------------------------


def _messages(random: Random, *, replays: bool) -> list[list[BatchEvent]]:
    """For each source message its open and then its outcomes, each station's exactly once."""
    messages: list[list[BatchEvent]] = []
    for index in range(random.randint(1, 4)):
        replayed = replays and random.random() < 0.25
        number = index + (REPLAYED if replayed else 0)
        batch = random.choice(BATCHES[: random.randint(1, 2)])
        stations = random.sample("ABCD", random.randint(1, 4))
        at, timeout = float(random.randint(100, 106)), random.randint(1, 9)
        trace = f"trace-{number}" if number % 3 else None
        events: list[BatchEvent] = [
            open_(stations, message=number, at=at, timeout=timeout, batch=batch, replayed=replayed, trace=trace)
        ]
        random.shuffle(stations)
        while stations:
            size = random.randint(1, len(stations))
            codes = "".join(random.choices("rrrefs", k=size))
            when = random.randint(100, 120) + number / 8  # tells late outcomes of two messages apart
            events.append(arrived(stations[:size], codes, message=number, at=when, batch=batch))
            stations = stations[size:]
        messages.append(events)
    return messages


def _again(random: Random, event: BatchEvent) -> BatchEvent:
    """The same event as it may come again: split again, or called again with another outcome."""
    if isinstance(event, Open):
        shift = random.choice([0.0, 3.0])
        return replace(event, opened_at=event.opened_at + shift, deadline=event.deadline + shift)
    if isinstance(event, Arrived) and random.random() < 0.5:
        codes = "".join(random.sample(event.codes, len(event.codes)))
        return arrived(event.stations, codes, message=event.source.offset, at=event.at + 1, batch=event.batch_id)
    return event


def draw_rules(random: Random, late: LatePolicy | None = None) -> Rules:
    """Any policies; `late` instead of any."""
    required = frozenset(random.sample("ABCD", random.choice([0, 0, 1, 2])))
    least = random.choice([0.0, 0.0, 0.5, 1.0])
    ratio = random.choice([None, None, max(least, 0.25), max(least, 0.5), 1.0])
    return Rules(
        max_age=MAX_AGE,
        partial=PartialPolicy(least, required),
        release=ReleasePolicy(ratio, required),
        late=late or random.choice(list(LatePolicy)),
    )


def draw_log(random: Random, *, replays: bool = True) -> list[Entry]:
    """A log: messages interleaved, repeats and expiries put in anywhere, frames of one to three events.

    With `replays` some of the messages are replayed letters.
    """
    streams = _messages(random, replays=replays)
    events: list[BatchEvent] = []
    while any(streams):
        events.append(random.choice([stream for stream in streams if stream]).pop(0))
        if random.random() < 0.25:
            events.append(_again(random, random.choice(events)))
        known = [event.batch_id for event in events if isinstance(event, Open) and not event.replayed]
        if known and random.random() < 0.15:
            deadline = float(random.randint(101, 118))
            events.append(Expire(random.choice(known), deadline, deadline + 0.5))
        if random.random() < 0.12:
            named = list(BATCHES) if replays else known
            action = random.choice(["extend", "extend", "complete", "discard"])
            at, seconds = random.randint(100, 118) + 0.25, float(random.randint(1, 6))
            events += [command(action, at=at, seconds=seconds, batch=batch) for batch in named[:1]]
        if random.random() < 0.2:
            events.append(Revise(random.choice(BATCHES), random.randint(2, 3), random.randint(110, 130) + 0.5))
    if random.random() < 0.2:
        events.append(arrived("A", "f", message=UNKNOWN, batch="b1"))
    events += [Expire(batch, END, END) for batch in BATCHES]
    events += [Revise(batch, number, END + number) for batch in BATCHES for number in range(2, 12)]
    entries: list[Entry] = []
    offset, ordinal = random.randint(0, 5), 0
    for event in events:
        entries.append((Position(offset, ordinal), event))
        ordinal += 1
        if ordinal > 2 or random.random() < 0.5:
            offset, ordinal = offset + random.randint(1, 2), 0
    return entries


def frames_of(log: Sequence[Entry]) -> list[list[Entry]]:
    """The log's messages: a chunk never cuts one."""
    return [list(group) for _, group in groupby(log, key=lambda entry: entry[0].offset)]


def first_outcomes(entries: Sequence[Entry]) -> dict[tuple[str, Source, str], tuple[str, str | None]]:
    """The first outcome in the log of each station of each message, by batch, message and station."""
    found: dict[tuple[str, Source, str], tuple[str, str | None]] = {}
    for _, event in entries:
        if isinstance(event, Arrived) and event.source.offset != UNKNOWN:
            for station, code, value in zip(event.stations, event.codes, event.values, strict=True):
                found.setdefault((event.batch_id, event.source, station), (code, value))
    return found


def is_unknown(effect: Effect) -> bool:
    """Whether it is of something that the state does not know, and whose repeats can't be told from the first."""
    if isinstance(effect, (FailedStation, SkippedFailed)):
        return effect.source.offset == UNKNOWN or effect.source.offset >= REPLAYED
    if isinstance(effect, Commanded):
        return effect.deadline is None
    return isinstance(effect, Late) and effect.reason.startswith("unknown")
