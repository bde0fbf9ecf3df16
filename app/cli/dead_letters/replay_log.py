"""What has been replayed, as it is remembered in the compacted topic `<app id>-replayed`. Pure.

The key is the letter's place. A dead-letter topic that was deleted and made anew has other letters at the same places,
so a record says also when its letter was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson

from app.cli.dead_letters.filters import parse_place
from app.messages.dead_letters import Letter
from app.messages.message import InMessage, OutMessage

__all__ = ["ReplayMemory"]

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class _Replayed:
    """Times in Unix seconds."""

    written_at: float
    replayed_at: float


class ReplayMemory:
    """Which letters have been replayed, and when."""

    def __init__(self, topic: str, messages: Iterable[InMessage]) -> None:
        """From all messages of the topic, each key's in the order of their offsets. Foreign ones are passed over."""
        self._topic = topic
        self._known: dict[bytes, _Replayed] = {}
        for message in messages:
            if message.value is None:
                self._known.pop(message.key or b"", None)
            elif (replayed := _decode(message.value)) is not None:
                self._known[message.key or b""] = replayed

    def replayed_at(self, letter: Letter) -> float | None:
        """When the letter was replayed last, Unix seconds; None: never."""
        known = self._known.get(letter.place.encode())
        return known.replayed_at if known is not None and known.written_at == letter.written_at else None

    def record(self, letter: Letter, now: float) -> OutMessage:
        """What remembers that the letter has been replayed."""
        value = {"v": FORMAT_VERSION, "written_at": letter.written_at, "replayed_at": now}
        return OutMessage(self._topic, orjson.dumps(value), key=letter.place.encode())

    def outdated(self, first_offsets: Mapping[int, int]) -> list[OutMessage]:
        """What forgets the letters that are gone: before the first offset of their partition, or in none."""
        return [OutMessage(self._topic, None, key=key) for key in self._known if _is_gone(key, first_offsets)]


def _decode(value: bytes) -> _Replayed | None:
    try:
        record = orjson.loads(value)
        return _Replayed(float(record["written_at"]), float(record["replayed_at"]))
    except (ValueError, TypeError, LookupError):
        return None


def _is_gone(key: bytes, first_offsets: Mapping[int, int]) -> bool:
    try:
        partition, offset = parse_place(key.decode(errors="replace"))
    except ValueError:
        return True
    return partition not in first_offsets or offset < first_offsets[partition]
