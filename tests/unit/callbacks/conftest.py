"""A process that is to say where it stands has the time of a busy machine for it."""

from __future__ import annotations

import pytest

from app.callbacks.executors import child_process
from tests.process_bench import PATIENCE


@pytest.fixture(autouse=True)
def patient_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a stack until it is there; who tries that nobody waits for ever sets the product's time again."""
    monkeypatch.setattr(child_process, "STACK_SECONDS", PATIENCE)
