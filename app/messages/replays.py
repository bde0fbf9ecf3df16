"""Dead letters that are sent again: which are meant, which have been, and what comes of each. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import orjson

from app.messages.dead_letters import Letter
from app.messages.message import InMessage, OutMessage
from app.words import words

CLOCK_SLACK = 24 * 3600.0  # seconds by which a plant's clock, which `failed-at` may come from, may be fast
LOG_FORMAT = 1  # version of the records of what has been replayed

_PLACE = re.compile(r"([0-9]{1,9})@([0-9]{1,18})")


# -- which letters ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions that a letter has to meet; an empty set is none.

    `since` and `until` (Unix seconds) are compared to `failed_at`; the range ends before `until`.
    """

    reasons: frozenset[str] = frozenset()
    batches: frozenset[str] = frozenset()
    stations: frozenset[str] = frozenset()
    since: float | None = None
    until: float | None = None

    def match(self, letter: Letter) -> bool:
        """Tell whether the letter is one of those that are asked for."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.batches or letter.batch_id in self.batches)
            and (not self.stations or letter.station_id in self.stations)
            and (self.since is None or letter.failed_at >= self.since)
            and (self.until is None or letter.failed_at < self.until)
        )


def parse_place(text: str) -> tuple[int, int]:
    """Partition and offset of `PARTITION@OFFSET`.

    Raises:
        ValueError: it has another form.
    """
    found = _PLACE.fullmatch(text)
    if found is None:
        message = words(
            "{text!r} is not of the form PARTITION@OFFSET, such as 3@17",
            "{text!r} 不是 PARTITION@OFFSET 的形式，例如 3@17",
            text=text,
        )
        raise ValueError(message)
    return int(found[1]), int(found[2])


# -- what comes of a letter ------------------------------------------------------------------------------------------


class Fate(StrEnum):
    """What comes of a letter that is to be sent again."""

    WOULD_SEND = "send"  # it would be sent
    SENT = "sent"  # the broker has confirmed it
    SENT_BEFORE = "sent-before"  # it has been replayed; it is not sent twice unless that is asked for
    IMPOSSIBLE = "impossible"  # it can't be sent, whatever is done
    FAILED = "failed"  # it could not be sent now
    UNKNOWN = "unknown"  # there is no such letter, or not any more


@dataclass(frozen=True, slots=True)
class Replay:
    """A letter and what has come of it.

    Attributes:
        place: of the letter, `PARTITION@OFFSET`.
        fate: what has come of it.
        to: the topic that it would go to, or the places where it stands now; None where it goes nowhere.
        why: the reason where nothing was sent, else "".
        name: of the letter, in a line that tells of it.
    """

    place: str
    fate: Fate
    to: str | None = None
    why: str = ""
    name: str = ""


# -- what has been replayed ------------------------------------------------------------------------------------------


class ReplayLog:
    """The letters that have been replayed, as the compacted topic `<app id>-replayed` has them. Pure.

    The key is the letter's place. A dead-letter topic that was deleted and created again has other letters at the same
    places, so a record also says when its letter was written.
    """

    def __init__(self, topic: str, messages: Iterable[InMessage] = ()) -> None:
        """Read all messages of the topic, each key's in the order of their offsets. Foreign ones are passed over."""
        self._topic = topic
        self._known: dict[bytes, tuple[float, float]] = {}  # place -> letter's writing, last replay: Unix seconds
        self.take(messages)

    def take(self, messages: Iterable[InMessage]) -> None:
        """Read what has been appended since, in the same order."""
        for message in messages:
            if message.value is None:
                self._known.pop(message.key or b"", None)
            elif (times := _decode(message.value)) is not None:
                self._known[message.key or b""] = times

    def replayed_at(self, letter: Letter) -> float | None:
        """Return when the letter was replayed last, Unix seconds; None: never."""
        written_at, replayed_at = self._known.get(letter.place.encode(), (None, None))
        return replayed_at if written_at == letter.written_at else None

    def record(self, letter: Letter, now: float) -> OutMessage:
        """Make the record of a letter that is replayed now."""
        value = {"v": LOG_FORMAT, "written_at": letter.written_at, "replayed_at": now}
        return OutMessage(self._topic, orjson.dumps(value), key=letter.place.encode())

    def tombstones(self, first_offsets: Mapping[int, int]) -> list[OutMessage]:
        """Make those for letters that are gone: before the first offset of their partition, or in no partition."""
        return [OutMessage(self._topic, None, key=key) for key in self._known if _is_gone(key, first_offsets)]


def _decode(value: bytes) -> tuple[float, float] | None:
    try:
        record = orjson.loads(value)
        return float(record["written_at"]), float(record["replayed_at"])
    except (ValueError, TypeError, LookupError):
        return None


def _is_gone(key: bytes, first_offsets: Mapping[int, int]) -> bool:
    try:
        partition, offset = parse_place(key.decode(errors="replace"))
    except ValueError:
        return True
    return partition not in first_offsets or offset < first_offsets[partition]
