"""Which offsets of a partition are done, and how far that lets us commit: only ever a run without holes. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["OffsetLedger"]

TP = TypeVar("TP", bound=Hashable)


@dataclass(slots=True)
class _Partition:
    base: int  # everything below is done
    done: set[int] = field(default_factory=set)

    def advance(self) -> None:
        while self.base in self.done:
            self.done.discard(self.base)
            self.base += 1


class OffsetLedger(Generic[TP]):
    """Finished offsets by partition. A partition counts from the moment it is given a base."""

    def __init__(self) -> None:
        self._partitions: dict[TP, _Partition] = {}

    def rebase(self, tp: TP, base: int) -> None:
        """Start (again) at `base`: the next offset to be read and the lowest that is not done."""
        self._partitions[tp] = _Partition(base)

    def forget(self, tps: Iterable[TP]) -> None:
        """Drop partitions that are no longer ours."""
        for tp in tps:
            self._partitions.pop(tp, None)

    def done(self, tp: TP, offset: int) -> None:
        """An offset is finished: all that was made of it is stored."""
        self.skip(tp, offset, offset + 1)

    def skip(self, tp: TP, start: int, stop: int) -> None:
        """Offsets from `start` up to `stop`, exclusive, hold nothing to do."""
        partition = self._partitions.get(tp)
        if partition is not None:
            partition.done.update(range(max(start, partition.base), stop))
            partition.advance()

    def committable(self, tp: TP) -> int | None:
        """The offset to commit: everything below it is done. None for a partition that has no base."""
        partition = self._partitions.get(tp)
        return None if partition is None else partition.base

    def partitions(self) -> list[TP]:
        """The partitions that have a base."""
        return list(self._partitions)
