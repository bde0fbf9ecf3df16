"""Letters of failed stations: a source message with that station's records."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from zoneinfo import ZoneInfo

import orjson

from app.inputs.grouping import BadMessage
from app.inputs.source_message import parse_message
from app.messages.dead_letters import TOO_LARGE_BYTES
from app.messages.message import InMessage
from tables.context import Record
from tables.model.events import FailedStation, FailureLetter, SkippedFailed, Source

__all__ = ["FindSources", "SourceLetters", "failure_letter"]

LETTER_CHARACTERS = 8 * 1024 * 1024  # of a failed station's records: they travel as text inside JSON, which grows them

FindSources = Callable[[Sequence[Source]], Awaitable[Mapping[Source, InMessage]]]


def failure_letter(topic: str, records: Sequence[Record], key: bytes | None, error: str) -> FailureLetter:
    """The letter of a station with these records; `topic` and `key` are the source message's."""
    value = orjson.dumps({topic: records}).decode()
    if len(value) > LETTER_CHARACTERS:
        error = f"{error}\nthe station's records have {len(value)} characters; only the start of them is kept here"
        return FailureLetter(value[:TOO_LARGE_BYTES], key, error, too_large=True)
    return FailureLetter(value, key, error)


class SourceLetters:
    """Makes the letters of stations that have failed without having been run: their source messages are read again.

    A skipped event could carry its records along. But events are skipped after a backlog, when there is too much to do
    already, and hardly any of them ends as a failure.
    """

    def __init__(self, find: FindSources, *, envelope_keys: Sequence[str], timezone: ZoneInfo) -> None:
        """Nothing is read yet.

        Args:
            find: the messages that stand at these places, as far as they are still there.
            envelope_keys: as the splitter has them.
            timezone: the same.
        """
        self._find = find
        self._envelope_keys = envelope_keys
        self._timezone = timezone

    async def of(self, failed: Sequence[SkippedFailed]) -> list[FailedStation]:
        """The same stations with their letters; one whose message is gone has a letter without records."""
        by_source: dict[Source, list[SkippedFailed]] = {}
        for one in failed:
            by_source.setdefault(one.source, []).append(one)
        messages = await self._find(list(by_source))
        made: list[FailedStation] = []
        for source, group in by_source.items():
            message = messages.get(source)
            stations = self._stations(message)
            for one in group:
                records = stations.get(one.station, [])
                error = one.error if records else f"{one.error}\nits source message can't be read any more"
                letter = failure_letter(source.topic, records, message.key if message else None, error)
                made.append(FailedStation(one.batch_id, source, one.station, one.at, letter, one.trace))
        return made

    def _stations(self, message: InMessage | None) -> Mapping[str, list[Record]]:
        if message is None:
            return {}
        try:
            return parse_message(
                message.value, topic=message.topic, envelope_keys=self._envelope_keys, timezone=self._timezone
            ).stations
        except BadMessage:  # the settings are others now than when it was split
            return {}
