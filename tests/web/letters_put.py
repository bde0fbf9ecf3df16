"""Dead letters in the topic of a fake worker, and what has been replayed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from app.messages.dead_letters import read_letter
from app.messages.replays import ReplayLog
from tests.web.fake_worker import FakeWorker

__all__ = ["TRACE", "mark_replayed", "put"]

TRACE = "Traceback (most recent call last):\n  x\nValueError: no <b>model</b>"


def put(
    worker: FakeWorker,
    more: Mapping[str, str] = MappingProxyType({}),
    *,
    value: bytes | None = b'{"T": []}',
    partition: int = 0,
    at: float = 100.0,
    **headers: str,
) -> str:
    """Put a letter into the topic, with these headers too; returns its id."""
    given = {"reason": "station-failed", "error": TRACE, "failed-at": repr(at), **more}
    given |= {name.replace("_", "-"): text for name, text in headers.items()}
    offset = worker.append(worker.settings.dead_letter_topic, value, given, at=at, key=b"key", partition=partition)
    return f"{partition}@{offset}"


def mark_replayed(worker: FakeWorker, letter_id: str, at: float) -> None:
    """Remember that a letter was replayed then (Unix seconds)."""
    partition, offset = map(int, letter_id.split("@"))
    (message,) = [one for one in worker.logs[worker.settings.dead_letter_topic][partition] if one.offset == offset]
    record = ReplayLog(worker.settings.replayed_topic).record(read_letter(message), at)
    worker.append(worker.settings.replayed_topic, record.value, key=record.key)
