"""One message of the late topic as it is read back, whoever has written it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.messages.message import Headers
from tables.storage import exact_json

_MOST = 2**53  # a number that is larger is none of ours


@dataclass(frozen=True, slots=True)
class LateRecord:
    """A late outcome. What the message does not tell is None.

    Attributes:
        batch_id: of its batch; the message's key where its value does not tell it.
        station_id: of its station.
        status: what came of the callback: result, failed, empty or skipped.
        text: the result as JSON, or the error.
        reason: why it is late.
        revision: of the output that went without it.
        closed_at: when its batch was closed, Unix seconds.
        timestamp: when it came, Unix seconds.
    """

    batch_id: str
    station_id: str | None
    status: str | None
    text: str
    reason: str | None
    revision: int | None
    closed_at: float | None
    timestamp: float | None


def read_late(key: bytes | None, value: bytes | None, headers: Headers = ()) -> LateRecord:
    """Read a message of the late topic: nothing is raised."""
    late = _object_of(value)
    given = dict(headers)
    text = exact_json.dumps(late["result"]).decode() if "result" in late else _text(str(late.get("error") or ""))
    revision = late.get("revision")
    return LateRecord(
        batch_id=_text(str(late.get("batch_id") or "")) or _text(key or b""),
        station_id=_word(late.get("station_id"), given.get("station-id")),
        status=_word(late.get("status"), None),
        text=text,
        reason=_word(late.get("reason"), given.get("reason")),
        revision=revision if type(revision) is int and 0 <= revision < _MOST else None,
        closed_at=_seconds(late.get("closed_at")),
        timestamp=_seconds(late.get("timestamp")),
    )


def _object_of(value: bytes | None) -> dict[str, Any]:
    try:
        payload = exact_json.loads(value or b"null")
    except ValueError:
        return {}
    return payload if isinstance(payload, dict) else {}


def _word(told: Any, header: bytes | None) -> str | None:
    if told is not None:
        return _text(str(told))
    return None if header is None else _text(header)


def _seconds(told: Any) -> float | None:
    return told if type(told) in {int, float} and abs(told) < _MOST else None


def _text(given: str | bytes) -> str:
    """Return text that can be written as UTF-8."""
    return (given.encode(errors="replace") if isinstance(given, str) else given).decode(errors="replace")
