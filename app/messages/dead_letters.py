"""One message of the dead-letter topic: how it is made, and how it is read back. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import dropwhile, takewhile

from app.messages.message import Headers, InMessage
from app.messages.trace_context import TRACE_HEADERS, trace_headers
from tables.model.events import Source
from tables.model.fast_dataclass import fast_dataclass

LETTER_BYTES = 60 * 1024 * 1024  # the topic takes 64 MiB, headers and all
TOO_LARGE_BYTES = 64 * 1024
ERROR_BYTES = 8 * 1024

_LEFT_OUT = " … ".encode()
_LINE_CHARACTERS = 2_000  # of an error in one line
_FRAME = '\n  File "'
_EXCEPTION = re.compile(r"\n(?=\S)")  # frames, their code and its marks are indented
_GROUPS_TRACEBACK, _GROUPS_MARGIN, _GROUPS_RULE = "  + Exception Group Traceback", "  | ", "  +-+-"
_NUMBER = re.compile(r"[0-9]{1,19}")
_NO_NUMBER = 2**63  # Kafka's have 64 bits
_SOURCE_HEADERS = ("source-topic", "source-partition", "source-offset")


class Reason(StrEnum):
    """The header `reason`: why something is in the dead-letter topic."""

    BAD_MESSAGE = "bad-message"
    BAD_RECORD = "bad-record"
    STATION_FAILED = "station-failed"
    DISCARDED = "discarded"
    HANDLER_FAILED = "handler-failed"
    TOO_LARGE = "too-large"


@fast_dataclass(frozen=True, slots=True)
class Subject:
    """The subject of a letter: where it comes from, as far as that is known.

    `failed_at` (Unix seconds) is a time from the log (of the message, the outcome or the closing), never the time of
    the attempt, so that a letter that a crash makes go out again is identical.
    """

    failed_at: float
    source: Source | None = None
    batch_id: str | None = None
    station_id: str | None = None
    trace: str | None = None


# -- made --------------------------------------------------------------------------------------------------------------


def fit_letter(reason: Reason, error: str, value: bytes | None) -> tuple[Reason, str, bytes | None]:
    """Return the reason, the error and the value of a letter so that the topic takes it.

    A value above LETTER_BYTES makes the letter a `too-large` one. Of the value of a `too-large` letter the first
    TOO_LARGE_BYTES are kept.
    """
    if value is not None and len(value) > LETTER_BYTES:
        error = f"{error}\nthe {reason.value} letter would have {len(value)} bytes, more than {LETTER_BYTES}"
        reason = Reason.TOO_LARGE
    if value is not None and reason is Reason.TOO_LARGE:
        value = value[:TOO_LARGE_BYTES]
    return reason, error, value


def letter_headers(reason: Reason, error: str, subject: Subject) -> Headers:
    """Return the headers of a letter, the error cut to ERROR_BYTES. A header whose fact is not known is left out."""
    known: dict[str, object] = {"reason": reason.value, "error": _cut(error), "failed-at": repr(subject.failed_at)}
    if subject.source is not None:
        known.update(zip(_SOURCE_HEADERS, subject.source, strict=True))
    known.update({"batch-id": subject.batch_id, "station-id": subject.station_id})
    headers = [(name, str(fact).encode()) for name, fact in known.items() if fact is not None]
    return headers + trace_headers(subject.trace)


def _cut(error: str) -> str:
    """Cut an error to ERROR_BYTES of UTF-8 in the middle.

    A traceback's last lines say what happened; of a long message the beginning does, which has the error's name.
    """
    encoded = error.encode(errors="replace")
    if len(encoded) <= ERROR_BYTES:
        return encoded.decode()
    head = (ERROR_BYTES - len(_LEFT_OUT)) // 2
    tail = ERROR_BYTES - len(_LEFT_OUT) - head
    return (encoded[:head] + _LEFT_OUT + encoded[-tail:]).decode(errors="ignore")


# -- read back ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as it was read.

    Attributes:
        partition: of the letter itself.
        offset: of the letter itself.
        written_at: when it was appended, Unix seconds.
        failed_at: its header `failed-at`; `written_at` where that cannot be read.
        reason: its header, "" where there is none.
        error: its header, "" where there is none.
        source: the message that it is about, where the headers name one.
        batch_id: its header, where there is one.
        station_id: its header, where there is one.
        size: bytes of the value.
        key: the message's key.
        value: None also in what a listing keeps.
        trace: those of its headers that name a span.
    """

    partition: int
    offset: int
    written_at: float
    failed_at: float
    reason: str
    error: str
    source: Source | None
    batch_id: str | None
    station_id: str | None
    size: int
    key: bytes | None
    value: bytes | None
    trace: Headers = ()

    @property
    def place(self) -> str:
        """The letter's name: `PARTITION@OFFSET`."""
        return place_of(self.partition, self.offset)


def read_letter(message: InMessage) -> Letter:
    """Read a message of the dead-letter topic, whoever has written it: nothing is raised."""
    headers = {name: value.decode(errors="replace") for name, value in message.headers if value is not None}
    return Letter(
        partition=message.partition,
        offset=message.offset,
        written_at=message.timestamp,
        failed_at=_seconds(headers.get("failed-at"), message.timestamp),
        reason=headers.get("reason", ""),
        error=headers.get("error", ""),
        source=_source(*(headers.get(name, "") for name in _SOURCE_HEADERS)),
        batch_id=headers.get("batch-id"),
        station_id=headers.get("station-id"),
        size=message.size,
        key=message.key,
        value=message.value,
        trace=tuple((name, value) for name, value in message.headers if name in TRACE_HEADERS and value is not None),
    )


def _seconds(text: str | None, otherwise: float) -> float:
    try:
        seconds = float(text or "")
    except ValueError:
        return otherwise
    return seconds if math.isfinite(seconds) else otherwise


def _source(topic: str, partition: str, offset: str) -> Source | None:
    numbers = [int(text) if _NUMBER.fullmatch(text) else _NO_NUMBER for text in (partition, offset)]
    return Source(topic, *numbers) if topic and max(numbers) < _NO_NUMBER else None


def light(letter: Letter) -> Letter:
    """Return the part of a letter that a listing keeps: no key, no value, and one line of the error."""
    return replace(letter, error=last_line(letter.error), key=None, value=None)


def place_of(partition: int, offset: int) -> str:
    """Name a letter by where it stands."""
    return f"{partition}@{offset}"


def last_line(error: str) -> str:
    """Return what a traceback ends with, the exception, in one line: its text may have had several.

    Of a group of exceptions it is the group's own text; of what is no traceback, the last line as it is.
    """
    groups, frame = error.rfind(_GROUPS_TRACEBACK), error.rfind(_FRAME)
    if groups >= 0 and (own := _text_of_group(error[groups:])):
        text = own
    elif frame >= 0 and (found := _EXCEPTION.search(error, frame + 1)) is not None:
        text = error[found.end() :]
    else:
        return error.rstrip().rpartition("\n")[2]
    return " ".join(text[:_LINE_CHARACTERS].split())


def _text_of_group(error: str) -> str:
    """Return what stands between the frames of a group's traceback and the first exception in it; "" if that is not so.

    It takes the time of its length, whatever it is: a regular expression took seconds for 8 KiB of rules.
    """
    lines = error.rstrip().split("\n")
    within = list(takewhile(lambda line: not line.startswith(_GROUPS_RULE), lines))
    if len(within) == len(lines) or not lines[-1].endswith("-"):
        return ""
    texts = [line.removeprefix(_GROUPS_MARGIN) for line in within if line.startswith(_GROUPS_MARGIN)]
    return "\n".join(dropwhile(lambda text: text.startswith(" "), texts))
