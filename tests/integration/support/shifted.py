"""`faust` on a machine whose clock is ahead by so many seconds (negative: behind); others know nothing of it."""

from __future__ import annotations

import os
import time
from typing import Any

from aiokafka.producer.message_accumulator import BatchBuilder
from faust.cli.faust import cli

__all__ = ["AHEAD"]

AHEAD = "MODEL_CLOCK_AHEAD"


def shift_clock(ahead: float) -> None:
    """Shift the clock of this process: what Python asks, and what aiokafka's compiled code stamps messages with."""
    real, append = time.time, BatchBuilder.append

    def stamped(self: Any, *, timestamp: int | None, **message: Any) -> Any:
        return append(self, timestamp=int(time.time() * 1000) if timestamp is None else timestamp, **message)

    time.time = lambda: real() + ahead
    BatchBuilder.append = stamped


if __name__ == "__main__":
    shift_clock(float(os.environ[AHEAD]))
    cli()
