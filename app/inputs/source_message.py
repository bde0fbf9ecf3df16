"""Reading a source message: bytes -> the stations it names with their records, and what has to be rejected."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from zoneinfo import ZoneInfo

from app.inputs.grouping import STATION_ID_KEYS, SourceBatch, divide, find_records, load_json
from tables.model.fast_dataclass import fast_dataclass

__all__ = ["ENVELOPE_KEY", "Overrides", "batch_id", "parse_message", "read_overrides"]

ENVELOPE_KEY = "realTimeData"  # What the plants send today.
_BATCH_ID = re.compile(r"[A-Za-z0-9._:-]{1,200}")
# One made of a topic's name, of 249 characters at most, and a time.
_OLD_BATCH_ID = re.compile(r"[A-Za-z0-9._:-]{1,261}")
_SECONDS = re.compile(r"\s*\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")  # float() takes far more: 1_0, nan.
_VALUE_SHOWN = 100


@fast_dataclass(frozen=True, slots=True)
class Overrides:
    """What the Kafka headers of a source message ask for."""

    timeout: float | None
    """Seconds from `batch-timeout`, capped; None: the default."""
    batch_id: str | None
    """From `batch-id`; None: made of the topic and the latest time."""
    replayed: bool
    """The message is a replayed dead letter and must not open a batch."""
    problems: tuple[str, ...]
    """One text for each invalid header, naming it and its value, for the log."""


_NO_OVERRIDES = Overrides(None, None, replayed=False, problems=())


def batch_id(topic: str, timestamp: int) -> str:
    """Name the batch that a message from `topic`, whose latest time is `timestamp` (Unix seconds), belongs to."""
    return f"{topic}_{timestamp}"


def parse_message(
    value: bytes | None,
    *,
    topic: str,
    envelope_keys: Sequence[str],
    timezone: ZoneInfo,
    id_keys: Sequence[str] = STATION_ID_KEYS,
) -> SourceBatch:
    """Divide a source message by station.

    Args:
        value: The message: JSON, an object with the list of records under an envelope key, the list itself, or one
            record.
        topic: The topic it came on, which is the first envelope key tried; `realTimeData` is the second.
        envelope_keys: The envelope keys tried after these.
        timezone: The zone of times that name none.
        id_keys: The keys that may hold a record's station id.

    Returns:
        The stations with their records; no stations and no rejects for an empty list.

    Raises:
        BadMessage: Not JSON, none of the four forms, or nested too deeply. Nothing else is raised, whatever the bytes.
    """
    keys = (topic, ENVELOPE_KEY, *envelope_keys)
    return divide(
        find_records(load_json(value), keys, id_keys),
        timezone,
        id_keys,
        exact=lambda: find_records(json.loads(value or b""), keys, id_keys),
    )


def read_overrides(headers: Iterable[tuple[str, bytes | None]], *, max_age: float) -> Overrides:
    """Read the headers `batch-timeout`, `batch-id` and `replayed` of a source message.

    An invalid value becomes a problem and the default is used. Of a header that is there twice the last one counts,
    as in Kafka. `replayed` is a flag: it counts when it is there, except with the value `false` or `0`. A replayed
    message names the batch that it was of, whose id may be longer than one that is given.

    Args:
        headers: The message's headers.
        max_age: Seconds that a timeout is capped at (`AGG_MAX_BATCH_AGE`).
    """
    last = dict(headers)
    if not last:
        return _NO_OVERRIDES
    problems: list[str] = []
    timeout: float | None = None
    if "batch-timeout" in last:
        text = _text(last["batch-timeout"])
        timeout = float(text) if _SECONDS.fullmatch(text) else math.nan
        if not 0 < timeout < math.inf:
            timeout = None
            problems.append(_problem("batch-timeout", last, "a finite number of seconds above 0"))
        else:
            timeout = min(timeout, max_age)
    replayed = "replayed" in last and _text(last["replayed"]).strip().lower() not in {"false", "0"}
    name: str | None = None
    if "batch-id" in last:
        name = _text(last["batch-id"])
        if not (_OLD_BATCH_ID if replayed else _BATCH_ID).fullmatch(name):
            name = None
            problems.append(_problem("batch-id", last, "1 to 200 characters of A-Z a-z 0-9 . _ : -"))
    return Overrides(timeout, name, replayed, tuple(problems))


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")


def _problem(header: str, headers: dict[str, bytes | None], wanted: str) -> str:
    value = headers[header]
    found = "no value" if value is None else repr(value[:_VALUE_SHOWN])[1:] + ("…" if len(value) > _VALUE_SHOWN else "")
    return f"header {header}: {found} is not {wanted}"
