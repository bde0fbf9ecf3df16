"""What the web answers with, and how it is made of the batches. Pure.

Times are Unix seconds. `arrived` are the stations with a result, failed or empty, as in the output's meta.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from tables.model.batch import Batch
from tables.model.enums import Code, CompletedBy, Status
from tables.model.events import Decision
from tables.working_set import ClosedBatch

__all__ = [
    "Answer",
    "BatchDetail",
    "BatchList",
    "BatchRow",
    "Error",
    "ErrorAnswer",
    "Health",
    "StationError",
    "detail_of",
    "row_of",
]


class Answer(BaseModel):
    """What is answered."""

    model_config = ConfigDict(frozen=True)


class Health(Answer):
    """The answer of a worker that is well."""

    status: str = "ok"


class Error(Answer):
    """What was wrong: `code` is for programs, `message` for people."""

    code: str
    message: str


class ErrorAnswer(Answer):
    """The body of every answer that is an error."""

    error: Error


class BatchRow(Answer):
    """One batch, open or closed."""

    batch_id: str
    status: Status
    completed_by: CompletedBy | None = Field(description="The rule that closed it; null while it is open")
    expected_count: int
    arrived_count: int = Field(description="Stations with a result, failed or empty")
    failed_count: int
    empty_count: int
    opened_at: float = Field(description="Unix seconds")
    deadline: float = Field(description="Unix seconds")
    closed_at: float | None = Field(description="Unix seconds; null while it is open")
    revision: int = Field(description="The output's revision; 0 while it is open")
    partition: int
    worker: str = Field(description="URL of the worker that owns it")


class StationError(Answer):
    """A station that failed, and why."""

    station_id: str
    error: str


class BatchDetail(BatchRow):
    """One batch with its stations, each list in the order in which the source messages named them."""

    expected: list[str]
    arrived: list[str]
    missing: list[str] = Field(description="What has not arrived: so far while it is open, for good once it is closed")
    failed: list[StationError]
    empty: list[str]


class BatchList(Answer):
    """One page of batches, newest opened first."""

    batches: list[BatchRow]
    next: str | None = Field(description="The `cursor` of the next page; null on the last one")
    incomplete: list[str] = Field(description="URLs of workers that did not answer")


def row_of(batch: Batch | ClosedBatch, *, partition: int, worker: str) -> BatchRow:
    """A batch as a row: an open one as it is now, a closed one as it was decided, whether it is published yet or not.

    `worker` is the URL of the worker that owns `partition`.
    """
    if isinstance(batch, ClosedBatch):
        return _closed_row(batch, partition, worker)
    if batch.decision is not None:
        return _decided_row(batch.decision, partition, worker)
    return _open_row(batch, partition, worker)


def detail_of(batch: Batch, *, partition: int, worker: str) -> BatchDetail:
    """A batch with its lists of stations."""
    row = row_of(batch, partition=partition, worker=worker).model_dump()
    if batch.decision is not None:
        expected, missing = list(batch.decision.expected), list(batch.decision.missing)
        failed, empty = list(batch.decision.failed), list(batch.decision.empty)
    else:
        expected, missing = list(batch.expected), list(batch.waiting_for())
        failed, empty = _failed_so_far(batch), _empty_so_far(batch)
    absent = set(missing)
    return BatchDetail(
        **row,
        expected=expected,
        arrived=[station for station in expected if station not in absent],
        missing=missing,
        failed=[StationError(station_id=station, error=error) for station, error in failed],
        empty=empty,
    )


def _closed_row(line: ClosedBatch, partition: int, worker: str) -> BatchRow:
    return BatchRow(
        batch_id=line.batch_id,
        status=line.status,
        completed_by=line.completed_by,
        expected_count=line.expected_count,
        arrived_count=line.arrived_count,
        failed_count=line.failed_count,
        empty_count=line.empty_count,
        opened_at=line.opened_at,
        deadline=line.deadline,
        closed_at=line.closed_at,
        revision=line.revision,
        partition=partition,
        worker=worker,
    )


def _decided_row(decision: Decision, partition: int, worker: str) -> BatchRow:
    return BatchRow(
        batch_id=decision.batch_id,
        status=decision.status,
        completed_by=decision.completed_by,
        expected_count=len(decision.expected),
        arrived_count=decision.arrived_count,
        failed_count=len(decision.failed),
        empty_count=len(decision.empty),
        opened_at=decision.opened_at,
        deadline=decision.deadline,
        closed_at=decision.closed_at,
        revision=decision.revision,
        partition=partition,
        worker=worker,
    )


def _open_row(batch: Batch, partition: int, worker: str) -> BatchRow:
    return BatchRow(
        batch_id=batch.batch_id,
        status=Status.OPEN,
        completed_by=None,
        expected_count=len(batch.expected),
        arrived_count=len(batch.expected) - batch.pending,
        failed_count=len(_failed_so_far(batch)),
        empty_count=len(_empty_so_far(batch)),
        opened_at=batch.opened_at,
        deadline=batch.deadline,
        closed_at=None,
        revision=0,
        partition=partition,
        worker=worker,
    )


def _failed_so_far(batch: Batch) -> list[tuple[str, str]]:
    return [
        (station, outcome[1] or "")
        for station, source in batch.expected.items()
        if (outcome := source.outcomes.get(station)) is not None and outcome[0] == Code.FAILED
    ]


def _empty_so_far(batch: Batch) -> list[str]:
    return [
        station
        for station, source in batch.expected.items()
        if (outcome := source.outcomes.get(station)) is not None and outcome[0] == Code.EMPTY
    ]
