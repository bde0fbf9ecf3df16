"""What one worker tells another that has been asked about the whole cluster."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict

from app.web.state import WorkerState

__all__ = ["Gathered", "Part", "part_of"]

T = TypeVar("T")


class Part(BaseModel, Generic[T]):
    """A worker's own part of an answer, and the partitions that it covers: those that it owns and has recovered."""

    model_config = ConfigDict(frozen=True)

    partitions: frozenset[int]
    answer: T


class Gathered(NamedTuple, Generic[T]):
    """The parts of those that have answered, ours first, and the URLs of those that have not, or not for all."""

    parts: list[T]
    incomplete: list[str]


def part_of(state: WorkerState, answer: T) -> Part[T]:
    """This worker's part; while it is not sure of its partitions, it covers none."""
    return Part(partitions=frozenset(state.working_sets()) if state.ready() else frozenset(), answer=answer)
