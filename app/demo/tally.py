"""What has come out, held against what was sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

__all__ = ["Output", "Tally", "read_json"]


@dataclass(frozen=True, slots=True)
class Output:
    """A message of the output topic. What its payload does not tell (a custom one, or one without `meta`) is None."""

    batch_id: str
    revision: int
    part: int
    parts: int
    completed_by: str
    status: str | None = None
    results: int | None = None
    arrived: int | None = None
    expected: int | None = None
    missing: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    seconds: float | None = None
    """From the opening of the batch to its closing."""

    @classmethod
    def read(cls, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> Output:
        """Read a message, whatever its payload."""
        payload = read_json(value)
        meta = payload.get("meta") or {}
        return cls(
            batch_id=(key or b"").decode(errors="replace"),
            revision=_number(headers.get("revision")),
            part=_number(headers.get("part")),
            parts=_number(headers.get("parts")),
            completed_by=headers.get("completed-by", b"").decode(errors="replace"),
            results=payload.get("station_count"),
            status=meta.get("status"),
            arrived=meta.get("arrived_count"),
            expected=meta.get("expected_count"),
            missing=tuple(meta.get("missing", ())),
            failed=tuple(failure["station_id"] for failure in meta.get("failed", ())),
            empty=tuple(meta.get("empty", ())),
            seconds=meta["closed_at"] - meta["opened_at"] if meta else None,
        )


@dataclass(slots=True)
class Tally:
    """Counts sent batches and their outputs. Messages of other batches are none of its business."""

    sent: dict[str, float] = field(default_factory=dict)
    """Batch id -> when it was sent."""
    late: int = 0
    dead_letters: int = 0
    _parts: dict[str, Counter[tuple[int, int]]] = field(default_factory=dict)  # batch -> (revision, part) -> times
    _first: dict[str, Output] = field(default_factory=dict)

    def take(self, output: Output) -> None:
        """Count a message of the output topic."""
        if output.batch_id in self.sent:
            self._first.setdefault(output.batch_id, output)
            self._parts.setdefault(output.batch_id, Counter())[output.revision, output.part] += 1

    @property
    def outputs(self) -> list[Output]:
        """The first output of each batch that has come out, whole, in the order of coming."""
        return [output for output in self._first.values() if self._is_whole(output)]

    @property
    def awaited(self) -> list[str]:
        """The batches that have not come out, in the order of sending."""
        out = {output.batch_id for output in self.outputs}
        return [batch_id for batch_id in self.sent if batch_id not in out]

    @property
    def repeated(self) -> list[str]:
        """The batches of which something came out twice."""
        return [batch_id for batch_id, parts in self._parts.items() if max(parts.values()) > 1]

    @property
    def owed(self) -> int:
        """How many stations were missing: each should still show up in the late topic."""
        return sum(len(output.missing) for output in self.outputs)

    def _is_whole(self, output: Output) -> bool:
        parts = {part for revision, part in self._parts[output.batch_id] if revision == output.revision}
        return len(parts) == output.parts


def read_json(value: bytes | None) -> dict[str, Any]:
    """The JSON object that a message holds; an empty one if it holds something else."""
    try:
        loaded = orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _number(header: bytes | None) -> int:
    return int(header) if header and header.isdigit() else 1
