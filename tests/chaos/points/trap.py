"""The end of a worker at a point: SIGKILL to itself, at the n-th passing after the trap was set."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NoReturn

__all__ = ["TRAP", "Trap", "set_trap"]

TRAP = "POINTS_TRAP"  # an environment variable: the file that sets the trap


def set_trap(file: Path, point: str, passing: int) -> None:
    """Have the worker that watches this file, now or when it starts, end at a point's n-th passing from then on."""
    new = file.with_suffix(".new")
    new.write_text(f"{point} {passing}")
    new.rename(file)


class Trap:
    """Is told of each passing of a point."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._point = ""
        self._left = 0

    def passes(self, point: str) -> None:
        """End the process, if it is to end here."""
        if self.springs(point):
            self.end()

    def springs(self, point: str) -> bool:
        """Count a passing; returns whether the process is to end here."""
        if not self._point and self._file.exists():
            self._point, left = self._file.read_text().split()
            self._left = int(left)
        if point != self._point:
            return False
        self._left -= 1
        return self._left == 0

    def end(self) -> NoReturn:
        """Kill the process."""
        os.kill(os.getpid(), signal.SIGKILL)
        raise SystemExit  # it is never here
