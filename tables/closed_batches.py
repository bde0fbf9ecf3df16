"""Closed batches that are remembered: a line each, and a few as objects, because late outcomes come in runs. Pure.

A worker remembers up to 100,000 of them, so a line is small, and a batch that nothing is to happen to has nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from tables.model.batch import FIRST_REVISION, Batch
from tables.model.enums import CompletedBy, Status
from tables.model.events import Decision, Forget
from tables.model.fast_dataclass import fast_dataclass
from tables.storage.records import Header, Revision

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


class ClosedBatches:
    """The lines in the order of closing, the objects that are kept (`live`), and ids whose `forget` is on its way."""

    def __init__(self) -> None:
        self.lines: OrderedDict[str, ClosedBatch] = OrderedDict()
        self.live: OrderedDict[str, Batch] = OrderedDict()
        self.live_stations = 0
        self.forgetting: set[str] = set()

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

    def sort(self) -> None:
        """Bring the lines into the order of closing."""
        self.lines = OrderedDict(sorted(self.lines.items(), key=lambda item: item[1].first_closed_at))

    def forgettable(
        self, now: float, *, ttl: float, beyond: int, held: float, is_busy: Callable[[str], bool]
    ) -> list[Forget]:
        """Return the events of `WorkingSet.forgettable`, but for batches that are busy."""
        events: list[Forget] = []
        for age_rank, line in enumerate(self.lines.values()):
            if age_rank >= beyond and line.first_closed_at + ttl > now:
                break
            if age_rank >= beyond and line.first_closed_at <= held:
                continue
            if line.batch_id not in self.forgetting and not is_busy(line.batch_id):
                self.forgetting.add(line.batch_id)
                events.append(Forget(line.batch_id, line.first_closed_at, now))
        return events

    def forget(self, batch_id: str) -> None:
        """Drop a batch."""
        del self.lines[batch_id]
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
