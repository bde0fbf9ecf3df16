"""The models of answers, and how those of batches are made. Pure.

Times are Unix seconds. `arrived` are the stations with a result, failed or empty, as in the output's meta.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from tables.closed_batches import ClosedBatch, line_of_decision
from tables.model.batch import Batch
from tables.model.enums import Code, CompletedBy, Status
from tables.model.events import ABSENT


class Answer(BaseModel):
    """The base of all models of answers."""

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


class _BatchFacts(Answer):
    """A row without its place. The attributes of a `ClosedBatch` have the same names."""

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


class BatchRow(_BatchFacts):
    """One batch, open or closed."""

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


class OutcomeStatus(StrEnum):
    """What became of a station in a batch."""

    RESULT = "result"
    EMPTY = "empty"
    FAILED = "failed"
    MISSING = "missing"
    SKIPPED = "skipped"


STATUS_OF: Final = {
    Code.RESULT: OutcomeStatus.RESULT,
    Code.EMPTY: OutcomeStatus.EMPTY,
    Code.FAILED: OutcomeStatus.FAILED,
    Code.SKIPPED: OutcomeStatus.SKIPPED,
    ABSENT: OutcomeStatus.MISSING,
}
"""By the code of an outcome."""


def row_of(batch: Batch | ClosedBatch, *, partition: int, worker: str) -> BatchRow:
    """Return a batch as a row: an open one as it is now, a closed one as it was decided, published or not.

    `worker` is the URL of the worker that owns `partition`.
    """
    if isinstance(batch, ClosedBatch):
        facts = _BatchFacts.model_validate(batch, from_attributes=True)
    elif batch.decision is not None:
        closed = line_of_decision(batch.decision, batch.decision.closed_at)
        facts = _BatchFacts.model_validate(closed, from_attributes=True)
    else:
        facts = _BatchFacts(
            batch_id=batch.batch_id,
            status=Status.OPEN,
            completed_by=None,
            expected_count=len(batch.expected),
            arrived_count=len(batch.expected) - batch.pending,
            failed_count=len(_so_far(batch, Code.FAILED)),
            empty_count=len(_so_far(batch, Code.EMPTY)),
            opened_at=batch.opened_at,
            deadline=batch.deadline,
            closed_at=None,
            revision=0,
        )
    return BatchRow(**dict(facts), partition=partition, worker=worker)


def detail_of(batch: Batch, *, partition: int, worker: str) -> BatchDetail:
    """Return a batch with its lists of stations."""
    row = row_of(batch, partition=partition, worker=worker)
    if batch.decision is not None:
        expected, missing = list(batch.decision.expected), list(batch.decision.missing)
        failed, empty = list(batch.decision.failed), list(batch.decision.empty)
    else:
        expected, missing = list(batch.expected), list(batch.waiting_for())
        failed, empty = list(_so_far(batch, Code.FAILED).items()), list(_so_far(batch, Code.EMPTY))
    absent = set(missing)
    return BatchDetail(
        **dict(row),
        expected=expected,
        arrived=[station for station in expected if station not in absent],
        missing=missing,
        failed=[StationError(station_id=station, error=error) for station, error in failed],
        empty=empty,
    )


def _so_far(batch: Batch, code: Code) -> dict[str, str]:
    """Return the stations of an open batch with this outcome, and its text."""
    return {
        station: outcome[1] or ""
        for station, source in batch.expected.items()
        if (outcome := source.outcomes.get(station)) is not None and outcome[0] == code
    }
