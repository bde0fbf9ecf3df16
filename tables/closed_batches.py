"""Closed batches that are remembered: a line each, and a few as objects, because late outcomes come in runs. Pure.

A worker remembers up to 100,000 of them, so a line is small, and a batch that nothing is to happen to has nothing else.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator

from tables.model.batch import FIRST_REVISION, Batch
from tables.model.enums import CompletedBy, Status
from tables.model.events import Decision, Forget
from tables.model.fast_dataclass import fast_dataclass
from tables.storage.records import Header, Revision

BLOCK = 128  # lines of a block, about
LIVE_STATIONS = 10_000  # of closed batches that are kept as objects for a run of late outcomes, in a partition


@fast_dataclass(frozen=True, slots=True)
class ClosedBatch:
    """The line of a closed batch: the row of a listing, as of the latest revision. Times are Unix seconds.

    The batch is remembered for AGG_CLOSED_TTL from `first_closed_at` on, however it is revised later.
    """

    batch_id: str
    status: Status
    completed_by: CompletedBy
    revision: int
    opened_at: float
    deadline: float
    closed_at: float
    expected_count: int
    arrived_count: int
    failed_count: int
    empty_count: int
    first_closed_at: float
    first_completed_by: CompletedBy


def _place(line: ClosedBatch) -> tuple[float, str]:
    return line.first_closed_at, line.batch_id


class Block:
    """Lines that follow one another by the time of their first closing: a range of time is looked up block by block.

    Attributes:
        lines: in order, one at least.
        opened_at: no batch of the block was opened later.
        counted: what somebody has counted in the first `counted_lines`, as the batches first closed; None for nothing.
        is_kept: whether it is worth its memory.
        summed: what somebody has made of the lines as they are; None for nothing.
    """

    __slots__ = ("counted", "counted_lines", "is_kept", "lines", "opened_at", "summed")

    def __init__(self, lines: list[ClosedBatch]) -> None:
        self.lines = lines
        self.opened_at = max(line.opened_at for line in lines)
        self.summed: object = None
        self.drop_count()

    def drop_count(self) -> None:
        """Forget what was counted: it is not of the first lines any more."""
        self.counted: object = None
        self.counted_lines = 0
        self.is_kept = True


class ClosedBatches:
    """The lines by batch and in the order of closing, the objects that are kept, and ids whose `forget` is under way.

    Attributes:
        lines: by batch id.
        blocks: the same lines, in order.
        live: the objects, by batch id.
        live_stations: of these.
        forgetting: the ids.
    """

    def __init__(self) -> None:
        self.lines: dict[str, ClosedBatch] = {}
        self.blocks: list[Block] = []
        self.live: OrderedDict[str, Batch] = OrderedDict()
        self.live_stations = 0
        self.forgetting: set[str] = set()

    def put(self, line: ClosedBatch) -> None:
        """Take the line of a batch that has closed, or has been revised."""
        known = self.lines.get(line.batch_id)
        self.lines[line.batch_id] = line
        if known is not None:  # its first closing is the same
            block, place = self._find(known)
            block.lines[place], block.summed = line, None
        else:
            self._insert(line)

    def _insert(self, line: ClosedBatch) -> None:
        place = _place(line)
        number = bisect_right(self.blocks, place, key=lambda block: _place(block.lines[0])) - 1
        if number < 0 and not self.blocks:
            self.blocks.append(Block([line]))
            return
        block = self.blocks[max(0, number)]
        lines = block.lines
        if _place(lines[-1]) < place:
            if len(lines) >= BLOCK and block is self.blocks[-1]:
                self.blocks.append(Block([line]))
                return
            lines.append(line)
        else:
            insort(lines, line, key=_place)
            block.drop_count()
        block.opened_at, block.summed = max(block.opened_at, line.opened_at), None
        if len(lines) > 2 * BLOCK:
            self.blocks[max(0, number)] = Block(lines[:BLOCK])
            self.blocks.insert(max(0, number) + 1, Block(lines[BLOCK:]))

    def _find(self, line: ClosedBatch) -> tuple[Block, int]:
        place = _place(line)
        block = self.blocks[bisect_right(self.blocks, place, key=lambda block: _place(block.lines[0])) - 1]
        return block, bisect_left(block.lines, place, key=_place)

    def in_order(self) -> Iterator[ClosedBatch]:
        """Go through the lines, those that closed first first."""
        for block in self.blocks:
            yield from block.lines

    def newest_first(self) -> Iterator[ClosedBatch]:
        """Go through the lines the other way."""
        for block in reversed(self.blocks):
            yield from reversed(block.lines)

    def keep_live(self, batch: Batch) -> None:
        """Keep an object, and drop those that have not been used for longest."""
        if batch.batch_id not in self.live:
            self.live[batch.batch_id] = batch
            self.live_stations += len(batch.expected)
        self.live.move_to_end(batch.batch_id)
        while self.live_stations > LIVE_STATIONS and len(self.live) > 1:
            self._drop_live(next(iter(self.live)))

    def _drop_live(self, batch_id: str) -> None:
        batch = self.live.pop(batch_id, None)
        if batch is not None:
            self.live_stations -= len(batch.expected)

    def restore(self, lines: Iterable[ClosedBatch]) -> None:
        """Take all lines that there are, in any order."""
        ordered = sorted(lines, key=_place)
        self.lines = {line.batch_id: line for line in ordered}
        self.blocks = [Block(ordered[start : start + BLOCK]) for start in range(0, len(ordered), BLOCK)]

    def forgettable(
        self, now: float, *, ttl: float, beyond: int, held: float, is_busy: Callable[[str], bool]
    ) -> list[Forget]:
        """Return the events of `WorkingSet.forgettable`, but for batches that are busy."""
        events: list[Forget] = []
        for age_rank, line in enumerate(self.in_order()):
            if age_rank >= beyond and line.first_closed_at + ttl > now:
                break
            if age_rank >= beyond and line.first_closed_at < held:
                continue
            if line.batch_id not in self.forgetting and not is_busy(line.batch_id):
                self.forgetting.add(line.batch_id)
                events.append(Forget(line.batch_id, line.first_closed_at, now))
        return events

    def forget(self, batch_id: str) -> None:
        """Drop a batch."""
        block, place = self._find(self.lines.pop(batch_id))
        del block.lines[place]
        block.summed = None
        if block.lines:
            block.drop_count()
        else:
            self.blocks.remove(block)
        self._drop_live(batch_id)
        self.forgetting.discard(batch_id)


def line_of_decision(
    decision: Decision, first_closed_at: float, first_completed_by: CompletedBy | None = None
) -> ClosedBatch:
    """Make the line of a batch from its latest decision; without `first_completed_by` that is the first one."""
    return ClosedBatch(
        batch_id=decision.batch_id,
        status=decision.status,
        completed_by=decision.completed_by,
        revision=decision.revision,
        opened_at=decision.opened_at,
        deadline=decision.deadline,
        closed_at=decision.closed_at,
        expected_count=len(decision.expected),
        arrived_count=decision.arrived_count,
        failed_count=len(decision.failed),
        empty_count=len(decision.empty),
        first_closed_at=first_closed_at,
        first_completed_by=first_completed_by or decision.completed_by,
    )


def line_of_records(header: Header, revision: Revision | None) -> ClosedBatch:
    """Make the line of a batch from its header and its latest revision, None where that is the first."""
    latest = revision or header
    return ClosedBatch(
        batch_id=header.batch_id,
        status=latest.status,
        completed_by=CompletedBy.REVISION if revision else header.completed_by,
        revision=revision.number if revision else FIRST_REVISION,
        opened_at=header.opened_at,
        deadline=header.deadline,
        closed_at=latest.closed_at,
        expected_count=latest.counts.expected,
        arrived_count=latest.counts.arrived,
        failed_count=latest.counts.failed,
        empty_count=latest.counts.empty,
        first_closed_at=header.closed_at,
        first_completed_by=header.completed_by,
    )
