"""What became of stations in the closed batches of a range of time, from the tables: a worker's death changes nothing.

A batch counts when it has closed for the first time in the range, as it closed then, published or not.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Set
from time import perf_counter
from typing import Final, NamedTuple

from app.web.figures import Seldom, Span, rules_of, sum_of
from app.web.state import WorkerState
from app.web.turns import Pace, Turns
from tables.closed_batches import Block, ClosedBatch
from tables.tally import Tally, count_line, count_more, drop_large, tally_of
from tables.working_set import WorkingSet

GIVE_UP: Final = 1.1  # seconds of an answer; what has been counted by then is kept for the next one
_STEP: Final = 500  # stations that are counted at once
_ALL: Final = 1_000_000_000
_SUMS: Final = 4  # ranges whose sums are kept: each has all stations
_KEEP_SECONDS: Final = 10.0  # between two rounds of counting what is new
_KEEP_STEP: Final = 5_000  # stations that are counted in a turn of that, in one to two milliseconds
_KEEP_PAUSE: Final = 0.01  # seconds between two of its turns


class Tallied(NamedTuple):
    """The counts of a range, and whether all of its batches are in them."""

    tally: Tally
    is_whole: bool


class _Sum:
    """The sum of counts that stay as they are: when others are wanted, only what comes and what goes is added up."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._in: dict[int, Tally] = {}  # by identity
        self._changing = asyncio.Lock()

    async def of(self, parts: Iterable[Tally], turns: Turns) -> Tally:
        """Return the sum of these, which is the caller's."""
        wanted = {id(part): part for part in parts}
        async with self._changing:
            for number in self._in.keys() - wanted.keys():
                self._tally.take_out(self._in.pop(number))
                await turns.rest()
            for number in wanted.keys() - self._in.keys():
                self._in[number] = wanted[number]
                self._tally.add(wanted[number])
                await turns.rest()
            return self._tally.copy()


async def _tally(sets: Mapping[int, WorkingSet], span: Span, turns: Turns, whole: _Sum) -> Tallied:
    """Count the batches of these partitions that closed in a range; `whole` is the sum that is kept for it."""
    give_up_at = perf_counter() + GIVE_UP
    tally, parts = Tally(), list[Tally]()
    for working_set in list(sets.values()):  # partitions may be taken away meanwhile
        done = list(working_set.closed_blocks[:-1])  # what closes meanwhile gets into the last one, or behind it
        for block in done:
            if _is_in(block, span):
                counted = await _counted(working_set, block, give_up_at, turns)
                if block.counted is counted:
                    parts.append(counted.fixed())
                else:
                    tally.add(counted)
            else:
                for line in _lines_in(block, span):
                    count_line(working_set, line, tally)
                    await turns.rest()
            await turns.rest()
            if perf_counter() > give_up_at:
                for part in parts:
                    tally.add(part)
                    await turns.rest()
                return Tallied(tally, is_whole=False)
        for block in working_set.closed_blocks[-1:]:
            while not count_more(working_set, block, _STEP):
                await turns.rest()
        _add_newest(working_set, span, set(map(id, done)), tally)
        await turns.rest()
    summed = await whole.of(parts, turns)
    summed.add(tally)
    return Tallied(summed, is_whole=True)


async def _counted(working_set: WorkingSet, block: Block, give_up_at: float, turns: Turns) -> Tally:
    """Count a block, as far as there is time."""
    while not count_more(working_set, block, _STEP) and perf_counter() < give_up_at:
        await turns.rest()
    counted = tally_of(block)
    drop_large(block)
    return counted


def _add_newest(working_set: WorkingSet, span: Span, done: Set[int], tally: Tally) -> None:
    """Add what is not in blocks that are done, as of one moment: a batch is in one place then."""
    for block in working_set.closed_blocks:
        if id(block) in done:
            continue
        if _is_in(block, span):
            count_more(working_set, block, _ALL)
            tally.add(tally_of(block))
        else:
            for line in _lines_in(block, span):
                count_line(working_set, line, tally)
    for batch in working_set.closing.values():
        if batch.decision is not None and span.has(batch.decision.closed_at):
            tally.add_decision(batch.decision)


def _is_in(block: Block, span: Span) -> bool:
    lines = block.lines
    return bool(lines) and span.since <= lines[0].first_closed_at and lines[-1].first_closed_at < span.until


def _lines_in(block: Block, span: Span) -> list[ClosedBatch]:
    since, until = span.since, span.until
    return [line for line in block.lines if since <= line.first_closed_at < until]


class Tallies:
    """The counts of one worker's partitions."""

    def __init__(self, state: WorkerState, pace: Pace) -> None:
        self._state = state
        self._made: Seldom[Tallied] = Seldom(self._count, pace, lambda made: made.is_whole)
        self._sums: OrderedDict[tuple[str, str], _Sum] = OrderedDict()  # by range as it was asked for

    async def between(self, asked: tuple[str, str], since: float | None, until: float | None) -> Tallied:
        """Count a range (Unix seconds; None: no end); see `Span` for `asked`."""
        start, end = -math.inf if since is None else since, math.inf if until is None else until
        return await self._made.of(self._state.working_sets(), Span(start, end, asked))

    async def _count(self, sets: Mapping[int, WorkingSet], span: Span, turns: Turns) -> Tallied:
        whole = self._sums.setdefault(span.asked, _Sum())
        self._sums.move_to_end(span.asked)
        if len(self._sums) > _SUMS:
            self._sums.popitem(last=False)
        return await _tally(sets, span, turns, whole)


async def _count(working_set: WorkingSet, block: Block) -> None:
    is_whole = False
    while not is_whole:
        is_whole = count_more(working_set, block, _KEEP_STEP)
        await asyncio.sleep(_KEEP_PAUSE)


async def keep_counting(state: WorkerState) -> None:
    """Count what is new for ever, so that nobody has to wait for it; run beside the web.

    After a recovery that is all that is remembered: it takes a tenth of the event loop's time at most.
    """
    while True:
        for working_set in list(state.working_sets().values()):
            for block in list(working_set.closed_blocks):
                if block.lines and rules_of(block) is None:
                    sum_of(block)
                    await asyncio.sleep(_KEEP_PAUSE)
                if block.is_kept and block.counted_lines < len(block.lines):
                    await _count(working_set, block)
                    drop_large(block)
        await asyncio.sleep(_KEEP_SECONDS)
