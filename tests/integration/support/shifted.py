"""`faust` on a machine whose clock is ahead by so many seconds (negative: behind); others know nothing of it."""

from __future__ import annotations

import os
import time

from faust.cli.faust import cli

__all__ = ["AHEAD"]

AHEAD = "MODEL_CLOCK_AHEAD"

if __name__ == "__main__":
    real, ahead = time.time, float(os.environ[AHEAD])
    time.time = lambda: real() + ahead
    cli()
