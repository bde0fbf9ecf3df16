"""Waiting for conditions, never for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["PATIENCE", "eventually", "wait_for"]

# Seconds until what is waited for counts as never coming: no measure of speed, a busy machine takes its time.
PATIENCE = 240.0
LOOK_SECONDS = 0.03


def eventually(condition: Callable[[], object], within: float = PATIENCE) -> bool:
    """Whether the condition has come true within so many seconds."""
    deadline = time.monotonic() + within
    while not (reached := bool(condition())) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    return reached


def wait_for(condition: Callable[[], object], what: str | Callable[[], str], within: float = PATIENCE) -> None:
    """Wait until the condition is true; `what` says what did not happen, or how things stand."""
    if not eventually(condition, within):
        text = what if isinstance(what, str) else what()
        message = f"not within {within:g} s: {text}"
        raise AssertionError(message)
