"""The checker: what stands in the topics after the last fault, against what each batch has to give. Pure.

Nothing of the application is asked: a batch's number says all. What is lawful under faults is allowed, and counted:
- a copy of an output that is the same in each byte;
- a partial batch, each missing station of which is on the late topic, or was skipped: its deadline had passed before
  its callback began;
- a station that is failed by rule: its worker ended twice while it ran alone (a kill -9 looks like a callback that ends
  its process), or its deadline had passed and a second message of the batch, which a producer that was killed has sent,
  has extended that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.chaos.killer.expected import Kind, Outcome, number_of, outcome_of, stations_of
from tests.integration.support.reading import Received

__all__ = ["Seen", "Sent", "Verdict", "check"]

STATION_FAILED = "station-failed"
SKIPPED = "skipped"
UNKNOWN_BATCH = "unknown-batch"
ENDED_TWICE = "the worker ended twice while this callback ran alone"
OVERDUE = "the deadline had passed before the callback started"


@dataclass(frozen=True, slots=True)
class Sent:
    """Batches by number: those that the broker has for certain, those that were sent, those sent more than once."""

    topic: str
    acknowledged: AbstractSet[int]
    sent: AbstractSet[int]
    repeated: AbstractSet[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Seen:
    """All that stands in the topics; `skipped` are batch id and station of the skipped outcomes in the batches' log."""

    outputs: Sequence[Received]
    late: Sequence[Received]
    letters: Sequence[Received]
    skipped: AbstractSet[tuple[str, str]] = frozenset()


@dataclass(slots=True)
class Verdict:
    """What was found. Each member of a list is a line that names the batch, and where it is about one, the station.

    Attributes:
        sent: batches that the broker has acknowledged to the producer.
        out: how many of them came out.
        lost: those that did not.
        copies: second outputs that are identical.
        different: second outputs that are not.
        wrong: outputs, late records and dead letters that should not be as they are, or be at all.
        partial: batches that came out with stations missing.
        missing: stations of those.
        by_rule: stations that are failed by rule.
    """

    sent: int = 0
    out: int = 0
    lost: list[str] = field(default_factory=list)
    copies: int = 0
    different: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    partial: int = 0
    missing: int = 0
    by_rule: int = 0

    @property
    def good(self) -> bool:
        """Whether nothing is lost, different or wrong."""
        return not (self.lost or self.different or self.wrong)

    def add(self, other: Verdict) -> None:
        """Add what was found in another run."""
        self.sent += other.sent
        self.out += other.out
        self.copies += other.copies
        self.partial += other.partial
        self.missing += other.missing
        self.by_rule += other.by_rule
        self.lost += other.lost
        self.different += other.different
        self.wrong += other.wrong


def check(sent: Sent, seen: Seen) -> Verdict:
    """Compare what was sent with what is there."""
    return _Check(sent, seen).verdict()


class _Check:
    """One comparison."""

    def __init__(self, sent: Sent, seen: Seen) -> None:
        self._sent = sent
        self._seen = seen
        self._found = Verdict(sent=len(sent.acknowledged))
        self._late: defaultdict[int, set[str]] = defaultdict(set)
        self._forgotten: defaultdict[int, set[str]] = defaultdict(set)  # late, and their batch was not known any more
        self._letters: defaultdict[int, set[str]] = defaultdict(set)

    def verdict(self) -> Verdict:
        found = self._found
        firsts = self._firsts()
        self._read_late()
        self._read_letters()
        for number, output in firsts.items():
            self._check_output(number, output)
        self._check_surplus((self._late | self._forgotten).keys() - firsts.keys())
        lost = self._sent.acknowledged - firsts.keys()
        found.out = found.sent - len(lost)
        found.lost += [f"batch {number} was acknowledged and is not out" for number in sorted(lost)]
        return found

    def _firsts(self) -> dict[int, Received]:
        """Return the first output of each batch that was sent; copies are counted."""
        firsts: dict[int, Received] = {}
        for output in self._seen.outputs:
            number = self._number(output.name)
            if number is None:
                self._wrong(f"{_place(output)}: an output of {output.name!r}, which was never sent")
            elif number not in firsts:
                firsts[number] = output
            elif firsts[number].content == output.content:
                self._found.copies += 1
            else:
                first = firsts[number]
                line = f"batch {number}: {_place(output)} is not {_place(first)}: {_difference(first, output)}"
                self._found.different.append(line)
        return firsts

    def _check_output(self, number: int, output: Received) -> None:
        try:
            payload = orjson.loads(output.value or b"")
            missing, failed = self._check_payload(number, payload)
        except (ValueError, LookupError, TypeError) as error:
            self._wrong(f"batch {number}, {_place(output)}: no output of the default form: {error!r}")
            return
        self._found.partial += bool(missing)
        self._found.missing += len(missing)
        batch_id = output.name
        for station in missing:
            found = station in self._late[number] | self._forgotten[number]
            if not found and (batch_id, station) not in self._seen.skipped:
                self._wrong(f"batch {number}: {station} is missing, neither late nor skipped")
        if number not in self._sent.repeated:  # a second message of the batch comes late as a whole
            for station in self._late[number] - missing:
                self._wrong(f"batch {number}: {station} is late, and in the output too")
        for station in failed - self._letters[number]:
            self._wrong(f"batch {number}: {station} has failed and has no dead letter")

    def _check_payload(self, number: int, payload: Any) -> tuple[set[str], set[str]]:
        """Check an output; returns its missing and its failed stations."""
        meta = payload["meta"]
        named = stations_of(number)
        missing = set(meta["missing"])
        by_rule = {one["station_id"] for one in meta["failed"] if self._by_rule(number, one["error"])}
        self._found.by_rule += len(by_rule)
        due = {
            station: Outcome(Kind.FAILED) if station in by_rule else outcome_of(number, station)
            for station in named
            if station not in missing
        }
        results = {result["station_id"]: result for result in payload["stations"]}
        self._same(number, "results", [one["station_id"] for one in payload["stations"]], _of(due, Kind.RESULT))
        self._same(number, "empty", meta["empty"], _of(due, Kind.EMPTY))
        self._same(number, "failed", [one["station_id"] for one in meta["failed"]], _of(due, Kind.FAILED))
        self._same(number, "missing", meta["missing"], [station for station in named if station in missing])
        for station in results.keys() & due.keys():
            self._same(number, station, results[station], {"station_id": station} | (due[station].result or {}))
        expected = {
            "status": "partial" if missing else "complete",
            "completed_by": "timeout" if missing or self._waited(number, meta) else "all",
            "revision": 1,
            "expected_count": len(named),
            "arrived_count": len(named) - len(missing),
            "part": 1,
            "parts": 1,
        }
        self._same(number, "meta", {key: meta.get(key) for key in expected}, expected)
        self._same(number, "station_count", payload["station_count"], len(payload["stations"]))
        self._same(number, "batch_id", self._number(payload["batch_id"]), number)
        return missing, set(_of(due, Kind.FAILED))

    def _read_late(self) -> None:
        for record in self._seen.late:
            number, station = self._about(record)
            if number is None:
                continue
            outcome = outcome_of(number, station)
            value = record.json
            right = {"status": outcome.kind, "result": _with_id(station, outcome)}
            if value["status"] != SKIPPED and not self._by_rule(number, value.get("error") or ""):
                found = {"status": value["status"], "result": value.get("result")}
                self._same(number, f"the late record of {station}", found, right)
            (self._forgotten if value["reason"] == UNKNOWN_BATCH else self._late)[number].add(station)

    def _read_letters(self) -> None:
        for letter in self._seen.letters:
            number, station = self._about(letter)
            if number is None:
                continue
            reason, error = letter.header("reason"), letter.header("error")
            due = outcome_of(number, station).kind is Kind.FAILED or self._by_rule(number, error)
            if reason != STATION_FAILED or not due:
                self._wrong(f"batch {number}, {station}, {_place(letter)}: a dead letter, {reason}: {error[:200]}")
            self._letters[number].add(station)

    def _waited(self, number: int, meta: Any) -> bool:
        """Whether a batch may have waited until its deadline for what a second message of it would give."""
        return number in self._sent.repeated and meta["completed_by"] == "timeout"

    def _by_rule(self, number: int, error: str) -> bool:
        return error.startswith(ENDED_TWICE) or (error.startswith(OVERDUE) and number in self._sent.repeated)

    def _about(self, record: Received) -> tuple[int | None, str]:
        """Return batch and station of a late record or a dead letter; no batch where that is wrong already."""
        batch_id, station = record.header("batch-id"), record.header("station-id")
        number = self._number(batch_id)
        if number is None or station not in stations_of(number):
            reason, error = record.header("reason"), record.header("error")[:200]
            self._wrong(f"{_place(record)} is of {batch_id!r}, {station!r}, which were never sent: {reason} {error}")
            return None, station
        return number, station

    def _check_surplus(self, numbers: AbstractSet[int]) -> None:
        for number in sorted(numbers - self._sent.acknowledged):  # of those that are, the loss is told
            self._wrong(f"batch {number}: a late record of a batch that is not out")

    def _number(self, batch_id: str) -> int | None:
        number = number_of(self._sent.topic, batch_id)
        return number if number in self._sent.sent else None

    def _same(self, number: int, what: str, found: object, right: object) -> None:
        if found != right:
            self._wrong(f"batch {number}: {what}: {_shown(found, right)}")

    def _wrong(self, line: str) -> None:
        self._found.wrong.append(line)


def _of(due: dict[str, Outcome], kind: Kind) -> list[str]:
    return [station for station, outcome in due.items() if outcome.kind is kind]


def _with_id(station: str, outcome: Outcome) -> dict[str, Any] | None:
    return None if outcome.result is None else {"station_id": station} | outcome.result


def _shown(found: object, right: object) -> str:
    """Return both, of lists of names the difference only."""
    if isinstance(found, list) and isinstance(right, list):
        more, less = Counter(map(str, found)), Counter(map(str, right))
        return f"too many {_some(more - less)}, too few {_some(less - more)}, or another order"
    return f"{found!r} instead of {right!r}"


def _some(names: Collection[str]) -> list[str]:
    return sorted(names)[:5]


def _difference(first: Received, second: Received) -> str:
    """Return the fields of two outputs that differ."""
    try:
        ours, theirs = (payload | payload.pop("meta") for payload in (first.json, second.json))
        keys = [key for key in ours | theirs if ours.get(key) != theirs.get(key)]
    except (ValueError, TypeError, AttributeError, LookupError):
        return "bytes"
    shown = [f"{key} {ours.get(key)!r:.80} and {theirs.get(key)!r:.80}" for key in keys if key != "stations"]
    return "; ".join(shown + (["stations"] if "stations" in keys else [])) or "headers"


def _place(record: Received) -> str:
    return f"{record.topic}[{record.partition}]@{record.offset}"
