"""The samples of the last hour, from the closed batches that are remembered: what is new costs, not the hour.

What the batches of a block add to slots is kept as long as they stay as they are, and so is what all blocks add to a
slot together. Of a hundred thousand batches a question so looks at those that have closed since the last one.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from app.observability.counters import SLOT, Histogram
from app.web.figures import Figures, closing_of, sum_of
from app.web.state import WorkerState
from app.web.turns import Pace, Turns
from tables.closed_batches import Block, ClosedBatch


@dataclass(slots=True)
class Slot:
    """What the batches that closed in the SLOT seconds before `at` add up to, and how many were open then.

    `at` is Unix seconds, a multiple of SLOT; the rest is as in `Figures`.
    """

    at: int
    open_batches: int
    arrived: int
    durations: Histogram


class Hour(NamedTuple):
    """The slots of a range that are over, and where the first batch was opened.

    `begins` is the `at` of that slot, which may not be over yet, and not before the range; None: no batch is known.
    """

    begins: int | None
    slots: list[Slot]


@dataclass(slots=True)
class _Cell:
    """What some batches add to a slot.

    Attributes:
        change: of the number of open batches.
        arrived: stations of those that closed in it.
        durations: of the same.
    """

    change: int = 0
    arrived: int = 0
    durations: Histogram = field(default_factory=Histogram)

    def add(self, other: _Cell) -> None:
        self.change += other.change
        self.arrived += other.arrived
        self.durations.merge(other.durations)


_Cells = dict[int, _Cell]  # by the number of the slot: of times // SLOT


@dataclass(slots=True)
class _Part:
    """What a block adds, as long as it is the same block with the same sum: that is made anew when a batch changes."""

    block: Block
    summed: Figures
    first: int  # the slot of the first opening
    cells: _Cells


_Parts = dict[int, _Part]  # by the identity of the block


class Slots:
    """The slots of one worker's partitions."""

    def __init__(self, state: WorkerState, pace: Pace) -> None:
        self._state = state
        self._pace = pace
        self._parts: _Parts = {}
        self._whole: _Cells = {}  # of all parts
        self._making = asyncio.Lock()

    async def of(self, since: int, until: int) -> Hour:
        """Return the slots of a range (Unix seconds, multiples of SLOT), from the first batch on that is known."""
        async with self._making:
            return await self._slots(since, until, Turns(self._pace))

    async def _slots(self, since: int, until: int, turns: Turns) -> Hour:
        moving: _Cells = {}  # of batches that are in no block
        made, parts = dict(self._parts), _Parts()
        firsts: list[int] = []
        for working_set in list(self._state.working_sets().values()):  # partitions may be taken away meanwhile
            for block in list(working_set.closed_blocks):
                if block.lines:
                    _parts_of([block], since, made)
                await turns.rest()
            # What follows is as of one moment: a batch is in one place then.
            openings = [int(batch.opened_at) // SLOT for batch in working_set.open.values()]
            closing = closing_of(working_set)
            for cells in (_cells_of(closing), {slot: _Cell(change=count) for slot, count in Counter(openings).items()}):
                _add_all(moving, cells)
            own = _parts_of(working_set.closed_blocks, since, made)
            parts |= own
            openings += [int(line.opened_at) // SLOT for line in closing]
            openings += [int(block.opened_at) // SLOT for block in working_set.closed_blocks[:1]]
            firsts += [*openings, *(part.first for part in own.values())]
            await turns.rest()
        await self._take(parts, turns)
        if not firsts:
            return Hour(None, [])
        first = max(since // SLOT, min(firsts))
        return Hour(first * SLOT + SLOT, self._listed(first, until // SLOT, moving))

    async def _take(self, parts: _Parts, turns: Turns) -> None:
        """Add up anew the slots to which other batches add now than when they were asked for last."""
        gone = [part for number, part in self._parts.items() if parts.get(number) is not part]
        new = [part for number, part in parts.items() if self._parts.get(number) is not part]
        changed = {slot for part in (*gone, *new) for slot in part.cells}
        whole = {slot: cell for slot, cell in self._whole.items() if slot not in changed}
        for part in parts.values():
            _add_all(whole, {slot: part.cells[slot] for slot in changed & part.cells.keys()})
            await turns.rest()
        self._parts, self._whole = parts, whole

    def _listed(self, first: int, last: int, moving: Mapping[int, _Cell]) -> list[Slot]:
        """Return the slots from one to before another."""
        changes = chain(self._whole.items(), moving.items())
        open_batches = sum(cell.change for slot, cell in changes if slot < first)
        found: list[Slot] = []
        for slot in range(first, last):
            cell = _Cell()
            for cells in (self._whole, moving):
                if slot in cells:
                    cell.add(cells[slot])
            open_batches += cell.change
            found.append(Slot(slot * SLOT + SLOT, open_batches, cell.arrived, cell.durations))
        return found


def _parts_of(blocks: Iterable[Block], since: float, made: _Parts) -> _Parts:
    """Return what those of some blocks add that have a batch in a range; `made` takes what is new."""
    parts = _Parts()
    for block in blocks:
        if block.lines[-1].first_closed_at >= since:
            part, summed = made.get(id(block)), sum_of(block)
            if part is None or part.block is not block or part.summed is not summed:
                first = min([int(line.opened_at) // SLOT for line in block.lines])
                made[id(block)] = part = _Part(block, summed, first, _cells_of(block.lines))
            parts[id(block)] = part
    return parts


def _cells_of(lines: Sequence[ClosedBatch]) -> _Cells:
    """Return what batches add, in the order of their closing."""
    cells: _Cells = {}
    opened = [int(line.opened_at) // SLOT for line in lines]
    closed = [int(line.first_closed_at) // SLOT for line in lines]
    changes = Counter(opened)
    changes.subtract(closed)
    for slot in set(closed):
        some = lines[bisect_left(closed, slot) : bisect_right(closed, slot)]
        cells[slot] = cell = _Cell(arrived=sum([line.arrived_count for line in some]))
        cell.durations.observe_all([line.first_closed_at - line.opened_at for line in some])
    for slot, change in changes.items():
        if change:
            cells.setdefault(slot, _Cell()).change = change
    return cells


def _add_all(whole: _Cells, cells: Mapping[int, _Cell]) -> None:
    for slot, cell in cells.items():
        whole.setdefault(slot, _Cell()).add(cell)
