"""Ledger of the offsets that are done. Only a contiguous run of them may be committed. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

TP = TypeVar("TP", bound=Hashable)


@dataclass(slots=True)
class _Partition:
    base: int  # everything below is done
    done: set[int] = field(default_factory=set)
    holes: dict[int, int] = field(default_factory=dict)  # start -> stop; a compacted topic's may be millions wide

    def advance(self) -> None:
        while True:
            if self.base in self.done:
                self.done.discard(self.base)
                self.base += 1
            elif not self.holes or not self._pass_hole():
                return

    def _pass_hole(self) -> bool:
        stops = [stop for start, stop in self.holes.items() if start <= self.base]
        self.holes = {start: stop for start, stop in self.holes.items() if start > self.base}
        before, self.base = self.base, max([self.base, *stops])
        return self.base > before


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
        """Note that an offset is finished: all that was made of its message is stored."""
        partition = self._partitions.get(tp)
        if partition is not None and offset >= partition.base:
            partition.done.add(offset)
            partition.advance()

    def skip(self, tp: TP, start: int, stop: int) -> None:
        """Note that offsets from `start` up to `stop`, exclusive, hold nothing to do."""
        partition = self._partitions.get(tp)
        if partition is not None and stop > max(start, partition.base):
            partition.holes[start] = max(stop, partition.holes.get(start, 0))
            partition.advance()

    def committable(self, tp: TP) -> int | None:
        """The offset to commit: everything below it is done. None for a partition that has no base."""
        partition = self._partitions.get(tp)
        return None if partition is None else partition.base

    def partitions(self) -> list[TP]:
        """The partitions that have a base."""
        return list(self._partitions)
