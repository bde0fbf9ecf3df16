"""What became of stations in the closed batches of a range of time, from the tables: a worker's death changes nothing.

A batch counts when it has closed for the first time in the range, as it closed then, published or not.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Set
from time import perf_counter
from typing import Final, NamedTuple

from app.web.figures import Seldom
from app.web.paging import Turns
from app.web.state import WorkerState
from tables.closed_batches import Block, ClosedBatch
from tables.tally import Tally, count_line, count_more, drop_large, tally_of
from tables.working_set import WorkingSet

GIVE_UP: Final = 1.1  # seconds of an answer; what has been counted by then is kept for the next one
_STEP: Final = 500  # stations that are counted at once
_ALL: Final = 1_000_000_000
_KEEP_SECONDS: Final = 10.0  # between two rounds of counting what is new
_KEEP_STEP: Final = 5_000  # stations that are counted in a turn of that, in one to two milliseconds
_KEEP_PAUSE: Final = 0.01  # seconds between two of its turns


class Tallied(NamedTuple):
    """The counts of a range, and whether all of its batches are in them."""

    tally: Tally
    is_whole: bool


async def tally_between(sets: Mapping[int, WorkingSet], since: float, until: float) -> Tallied:
    """Count the batches of these partitions that closed between `since` and `until` (Unix seconds)."""
    turns, give_up_at = Turns(), perf_counter() + GIVE_UP
    tally = Tally()
    for working_set in list(sets.values()):  # partitions may be taken away meanwhile
        done = list(working_set.closed_blocks[:-1])  # what closes meanwhile gets into the last one, or behind it
        for block in done:
            if _is_in(block, since, until):
                while not count_more(working_set, block, _STEP) and perf_counter() < give_up_at:
                    await turns.rest()
                tally.add(tally_of(block))
                drop_large(block)
            else:
                for line in _lines_in(block, since, until):
                    count_line(working_set, line, tally)
                    await turns.rest()
            await turns.rest()
            if perf_counter() > give_up_at:
                return Tallied(tally, is_whole=False)
        for block in working_set.closed_blocks[-1:]:
            while not count_more(working_set, block, _STEP):
                await turns.rest()
        _add_newest(working_set, since, until, set(map(id, done)), tally)
        await turns.rest()
    return Tallied(tally, is_whole=True)


def _add_newest(working_set: WorkingSet, since: float, until: float, done: Set[int], tally: Tally) -> None:
    """Add what is not in blocks that are done, as of one moment: a batch is in one place then."""
    for block in working_set.closed_blocks:
        if id(block) in done:
            continue
        if _is_in(block, since, until):
            count_more(working_set, block, _ALL)
            tally.add(tally_of(block))
        else:
            for line in _lines_in(block, since, until):
                count_line(working_set, line, tally)
    for batch in working_set.closing.values():
        if batch.decision is not None and since <= batch.decision.closed_at < until:
            tally.add_decision(batch.decision)


def _is_in(block: Block, since: float, until: float) -> bool:
    return bool(block.lines) and since <= block.lines[0].first_closed_at and block.lines[-1].first_closed_at < until


def _lines_in(block: Block, since: float, until: float) -> list[ClosedBatch]:
    return [line for line in block.lines if since <= line.first_closed_at < until]


class Tallies:
    """The counts of one worker's partitions."""

    def __init__(self, state: WorkerState) -> None:
        self._state = state
        self._made: Seldom[Tallied] = Seldom(tally_between, lambda made: made.is_whole)

    async def between(self, asked: tuple[str, str], since: float | None, until: float | None) -> Tallied:
        """Count a range (Unix seconds; None: no end); see `Seldom.of` for `asked`."""
        start, end = -math.inf if since is None else since, math.inf if until is None else until
        return await self._made.of(self._state.working_sets(), asked, start, end)


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
                if block.is_kept and block.counted_lines < len(block.lines):
                    await _count(working_set, block)
                    drop_large(block)
        await asyncio.sleep(_KEEP_SECONDS)
