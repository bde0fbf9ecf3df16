"""The producer's journal: a line before a batch is sent, another when the broker has it. It outlives a kill -9."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Journal", "Writer"]

SENT, ACKNOWLEDGED = "sent", "acknowledged"


@dataclass(slots=True)
class Journal:
    """Batches by number, with the time (Unix seconds) of the last line about each.

    Attributes:
        sent: written before each sending; the broker need not have it.
        acknowledged: the broker has it.
        repeated: sent more than once, and the broker may have it more than once.
    """

    path: Path
    sent: dict[int, float] = field(default_factory=dict)
    acknowledged: dict[int, float] = field(default_factory=dict)
    repeated: set[int] = field(default_factory=set)
    _read: int = 0

    def follow(self) -> Journal:
        """Read what has been written since the last time. A line that is not whole is read the next time."""
        if not self.path.exists():
            return self
        with self.path.open("rb") as file:
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")[0]
        self._read += len(whole) + bool(whole)
        for line in whole.decode().splitlines():
            what, number, at = line.split()
            self._note(what, int(number), float(at))
        return self

    def unacknowledged(self) -> list[int]:
        """Return the batches of which it is not known whether the broker has them."""
        return sorted(self.sent.keys() - self.acknowledged.keys())

    def _note(self, what: str, number: int, at: float) -> None:
        if what == SENT and number in self.sent:
            self.repeated.add(number)
        (self.sent if what == SENT else self.acknowledged)[number] = at


class Writer:
    """Appends to a journal; what is written is in the kernel when a method returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def sent(self, number: int) -> None:
        """Note that a batch is about to be sent."""
        self._write(SENT, number)

    def acknowledged(self, number: int) -> None:
        """Note that the broker has a batch."""
        self._write(ACKNOWLEDGED, number)

    def close(self) -> None:
        """Write nothing more."""
        self._file.close()

    def _write(self, what: str, number: int) -> None:
        self._file.write(f"{what} {number} {time.time():.6f}\n".encode())
