"""Dead letters: what could not be used, with the reason, kept so that it can be looked at and sent again."""

from __future__ import annotations

from app.inputs.grouping import Reject
from app.messages.dead_letters import Reason, fit_letter, last_line, letter_headers
from app.messages.message import InMessage, OutMessage
from app.observability.batch_log import BatchLog
from app.observability.counters import Metrics
from tables.model.events import Source

__all__ = ["DeadLetters"]


class DeadLetters:
    """Makes dead letters for one topic, and tells of them.

    `failed-at` is a time from the log (of the message, the outcome or the closing), never the time of the attempt, so
    that a letter that a crash makes go out again is identical.
    """

    def __init__(self, topic: str, *, log: BatchLog, metrics: Metrics) -> None:
        self._topic = topic
        self._log = log
        self._metrics = metrics

    def letter(
        self,
        reason: Reason,
        error: str,
        *,
        value: bytes | None,
        key: bytes | None,
        failed_at: float,
        source: Source | None = None,
        batch_id: str | None = None,
        station_id: str | None = None,
        trace: str | None = None,
    ) -> OutMessage:
        """One letter, told in the log and counted; headers that are not known are left out."""
        reason, error, value = fit_letter(reason, error, value)
        self._tell(reason, error, source, batch_id, station_id)
        headers = letter_headers(
            reason, error, failed_at=failed_at, source=source, batch_id=batch_id, station_id=station_id, trace=trace
        )
        return OutMessage(self._topic, value, key=key, headers=headers)

    def _tell(
        self, reason: Reason, error: str, source: Source | None, batch_id: str | None, station_id: str | None
    ) -> None:
        self._metrics.dead_letters[reason] += 1
        self._log.dead_letter(
            reason,
            last_line(error),
            topic=source.topic if source else None,
            partition=source.partition if source else None,
            offset=source.offset if source else None,
            batch_id=batch_id,
            station_id=station_id,
        )

    def of_message(
        self, message: InMessage, error: str, *, batch_id: str | None = None, trace: str | None = None
    ) -> OutMessage:
        """A message that could not be read: its bytes and its key as they came.

        `batch_id` is known where a header of the message gives it.
        """
        return self.letter(
            Reason.BAD_MESSAGE,
            error,
            value=message.value,
            key=message.key,
            failed_at=message.timestamp,
            source=Source(message.topic, message.partition, message.offset),
            batch_id=batch_id,
            trace=trace,
        )

    def of_record(
        self, message: InMessage, reject: Reject, *, batch_id: str | None = None, trace: str | None = None
    ) -> OutMessage:
        """A record of a message that can't be used; the rest of the message goes on."""
        return self.letter(
            Reason.BAD_RECORD,
            reject.error,
            value=reject.record,
            key=message.key,
            failed_at=message.timestamp,
            source=Source(message.topic, message.partition, message.offset),
            batch_id=batch_id,
            station_id=reject.station_id,
            trace=trace,
        )
