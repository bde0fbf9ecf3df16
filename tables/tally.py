"""What became of stations in closed batches, added up by station, as the batches first closed. Pure.

A block of closed batches keeps its sum: so a range of time costs what is new since the last question, and its ends.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from tables.closed_batches import BLOCK, Block, ClosedBatch
from tables.model.enums import Code
from tables.model.events import ABSENT, Decision
from tables.storage.exact_json import loads_marked
from tables.storage.one_station import CODES, STATIONS, code_of
from tables.storage.records import RecordKind
from tables.working_set import WorkingSet

_SHARED: Final = 4  # batches that name a station, on average, for the sum of a block to be worth its memory


@dataclass(slots=True)
class Tally:
    """Closed batches by station: those that expected it, and of these where it was missing, failed or was empty."""

    expected: Counter[str] = field(default_factory=Counter)
    misses: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    empties: Counter[str] = field(default_factory=Counter)
    is_fixed: bool = False

    def fixed(self) -> Tally:
        """Return it, to stay as it is: what comes to its block is counted in a copy."""
        self.is_fixed = True
        return self

    def copy(self) -> Tally:
        """Return one with the same counts."""
        return Tally(self.expected.copy(), self.misses.copy(), self.failures.copy(), self.empties.copy())

    def take_out(self, other: Tally) -> None:
        """Undo `add`."""
        for own, others in zip(self._counts(), other._counts(), strict=True):
            own.subtract(others)
            for station in others:
                if not own[station]:
                    del own[station]

    def add(self, other: Tally) -> None:
        """Add another one."""
        for own, others in zip(self._counts(), other._counts(), strict=True):
            own.update(others)

    def _counts(self) -> tuple[Counter[str], ...]:
        return self.expected, self.misses, self.failures, self.empties

    def add_decision(self, decision: Decision) -> None:
        """Count a batch by its first decision."""
        self.expected.update(decision.expected)
        self.misses.update(decision.missing)
        self.failures.update([station for station, _ in decision.failed])
        self.empties.update(decision.empty)

    def add_header(self, value: bytes) -> None:
        """Count a batch by the bytes of its stored header."""
        sources = loads_marked(value)["sources"]
        if len(sources) == 1:
            stations, codes = sources[0][STATIONS], sources[0][CODES]
            self._add(stations)
            if codes.count(Code.RESULT) < len(codes):
                self._add_odd(zip(stations, codes, strict=True))
            return
        by_station: dict[str, list[str]] = {}
        for source in sources:
            for station, code in zip(source[STATIONS], source[CODES], strict=True):
                by_station.setdefault(station, []).append(code)
        self._add(list(by_station))
        self._add_odd((station, code_of(codes)) for station, codes in by_station.items())

    def _add(self, stations: list[str]) -> None:
        """Count expected stations; the first ids stay as keys: all tallies of a process share these."""
        self.expected.update(stations if self.expected else [sys.intern(station) for station in stations])

    def _add_odd(self, codes: Iterable[tuple[str, str]]) -> None:
        for station, code in codes:
            if code == Code.FAILED:
                self.failures[station] += 1
            elif code == Code.EMPTY:
                self.empties[station] += 1
            elif code in (Code.SKIPPED, ABSENT):
                self.misses[station] += 1

    @property
    def is_compact(self) -> bool:
        """Whether it takes far less memory than the headers that it was made of: several batches name each station."""
        return self.expected.total() >= _SHARED * len(self.expected)


def count_line(working_set: WorkingSet, line: ClosedBatch, tally: Tally) -> None:
    """Count a closed batch, unless it has been forgotten meanwhile."""
    for _, value in working_set.stored_of(line.batch_id, RecordKind.HEADER):
        tally.add_header(value)


def count_more(working_set: WorkingSet, block: Block, stations: int) -> bool:
    """Count batches of a block that are not counted yet, of about so many stations; returns whether all are now."""
    tally = tally_of(block)
    if tally.is_fixed and block.counted_lines < len(block.lines):
        tally = tally.copy()
    while block.counted_lines < len(block.lines) and stations > 0:
        line = block.lines[block.counted_lines]
        count_line(working_set, line, tally)
        stations -= line.expected_count
        block.counted_lines += 1
    block.counted = tally
    return block.counted_lines == len(block.lines)


def drop_large(block: Block) -> None:
    """Drop what has been counted of a block where it is not worth its memory: it is counted anew each time."""
    if len(block.lines) >= BLOCK // 2 and not tally_of(block).is_compact:
        block.drop_count()
        block.is_kept = False


def tally_of(block: Block) -> Tally:
    """Return what has been counted of a block so far."""
    return block.counted if isinstance(block.counted, Tally) else Tally()
