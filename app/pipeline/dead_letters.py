"""Dead letters: what could not be used, with the reason, kept so that it can be looked at and sent again.

A letter is counted and logged when the broker has confirmed it, not when it is made: a crash in between makes it again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from app.inputs.grouping import BadMessage, Reject
from app.inputs.source_message import parse_message
from app.inputs.timestamps import latest_usable
from app.messages.dead_letters import TOO_LARGE_BYTES, Reason, Subject, fit_letter, last_line, letter_headers
from app.messages.frames import StationGroup
from app.messages.message import InMessage, OutMessage, Sender
from app.messages.trace_context import station_trace
from app.pipeline.ports import FindSources, Telemetry
from app.settings import Settings
from tables.context import Record
from tables.model.events import FailedStation, FailureLetter, SkippedFailed, Source
from tables.model.fast_dataclass import fast_dataclass
from tables.storage import exact_json

LETTER_CHARACTERS = 8 * 1024 * 1024  # of a failed station's records: they travel as text inside JSON, which grows them


@fast_dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter(OutMessage):
    """A message for the dead-letter topic, with what its log line says."""

    reason: Reason
    last_line: str  # of the error
    subject: Subject


class LetterSender:
    """Sends messages, and counts and logs the dead letters among them once they are confirmed."""

    def __init__(self, sender: Sender, telemetry: Telemetry) -> None:
        self._sender = sender
        self._log = telemetry.log
        self._counts = telemetry.statistics.metrics.dead_letters

    async def send(self, messages: Sequence[OutMessage]) -> list[int]:
        """Append the messages in this order; returns their offsets when the broker has confirmed every one of them."""
        offsets = await self._sender.send(messages)
        for message in messages:
            if isinstance(message, DeadLetter):
                self._counts[message.reason] += 1
                self._log.dead_letter(message.reason, message.last_line, message.subject)
        return offsets


class DeadLetters:
    """Makes dead letters for one topic."""

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def letter(
        self, reason: Reason, error: str, subject: Subject, *, value: bytes | None, key: bytes | None
    ) -> DeadLetter:
        """Make a letter; headers that are not known are left out."""
        reason, error, value = fit_letter(reason, error, value)
        headers = letter_headers(reason, error, subject)
        return DeadLetter(
            self._topic, value, key, headers=headers, reason=reason, last_line=last_line(error), subject=subject
        )

    def of_message(
        self, message: InMessage, error: str, *, batch_id: str | None = None, trace: str | None = None
    ) -> DeadLetter:
        """Make the letter of a message that could not be read: its bytes and its key as they came.

        `batch_id` is known where a header of the message gives it.
        """
        subject = Subject(message.timestamp, message.source, batch_id, trace=trace)
        return self.letter(Reason.BAD_MESSAGE, error, subject, value=message.value, key=message.key)

    def of_record(
        self, message: InMessage, reject: Reject, *, batch_id: str | None = None, trace: str | None = None
    ) -> DeadLetter:
        """Make the letter of a record that can't be used; the rest of its message goes on."""
        subject = Subject(message.timestamp, message.source, batch_id, reject.station_id, trace)
        return self.letter(Reason.BAD_RECORD, reject.error, subject, value=reject.record, key=message.key)

    def of_station(
        self, reason: Reason, error: str, group: StationGroup, station_id: str, *, value: bytes, key: bytes | None
    ) -> DeadLetter:
        """Make the letter of a station that passes through; `group` is the message that it came with."""
        trace = station_trace(group.trace, station_id)
        subject = Subject(group.opened_at, group.source, station_id=station_id, trace=trace)
        return self.letter(reason, error, subject, value=value, key=key)


# -- failed stations ---------------------------------------------------------------------------------------------------


def failure_letter(topic: str, records: Sequence[Record], key: bytes | None, error: str) -> FailureLetter:
    """Make what the letter of a station with these records holds; `topic` and `key` are the source message's."""
    data, remark = records_json(topic, records)
    value, error = data.decode(), error + remark
    if len(value) > LETTER_CHARACTERS:
        error = f"{error}\nthe station's records have {len(value)} characters; only the start of them is kept here"
        return FailureLetter(value[:TOO_LARGE_BYTES], key, error, too_large=True)
    return FailureLetter(value, key, error)


def records_json(topic: str, records: Sequence[Record]) -> tuple[bytes, str]:
    """Return a source message with the records, and what is to be added to a letter's error; never raises.

    Without a letter the station could not be failed, and its event never be acknowledged.
    """
    try:
        return exact_json.dumps({topic: records}), ""
    except Exception as problem:  # noqa: BLE001 - see above
        return b"", f"\nthe station's records can't be written as JSON: {type(problem).__name__}: {problem}"


class SourceLetters:
    """Makes the letters of stations that have failed without having been run: their source messages are read again.

    A skipped event could carry its records along. But events are skipped after a backlog, when there is too much to do
    already, and hardly any of them ends as a failure.
    """

    def __init__(self, settings: Settings, find: FindSources) -> None:
        self._find = find
        self._envelope_keys = settings.envelope_keys
        self._timezone = settings.timezone
        self._max_ahead = settings.max_ahead

    async def of(self, skipped: Sequence[SkippedFailed]) -> list[FailedStation]:
        """Return the same stations with their letters; one whose message is gone has a letter without records."""
        by_source: dict[Source, list[SkippedFailed]] = {}
        for failed in skipped:
            by_source.setdefault(failed.source, []).append(failed)
        messages = await self._find(list(by_source))
        made: list[FailedStation] = []
        for source, group in by_source.items():
            message = messages.get(source)
            stations = self._stations(message)
            for failed in group:
                records = stations.get(failed.station, [])
                error = failed.error if records else f"{failed.error}\nits source message can't be read any more"
                letter = failure_letter(source.topic, records, message.key if message else None, error)
                made.append(FailedStation(failed.batch_id, source, failed.station, failed.at, letter, failed.trace))
        return made

    def _stations(self, message: InMessage | None) -> Mapping[str, list[Record]]:
        if message is None:
            return {}
        try:
            return parse_message(
                message.value,
                topic=message.topic,
                envelope_keys=self._envelope_keys,
                timezone=self._timezone,
                latest=latest_usable(message.timestamp, self._max_ahead) if message.is_dated else math.inf,
            ).stations
        except BadMessage:  # the settings are others now than when it was split
            return {}
