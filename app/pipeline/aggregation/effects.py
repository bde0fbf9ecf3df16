"""What a batch's effects mean to others: log lines, counters, late records, letters of failed stations."""

from __future__ import annotations

import orjson

from app.messages.dead_letters import Reason
from app.messages.message import OutMessage
from app.messages.trace_context import station_trace, trace_headers
from app.observability.batch_log import BatchLog
from app.observability.counters import Statistics
from app.pipeline.dead_letters import DeadLetters
from tables.model.batch import BATCH_CLOSED, FIRST_REVISION
from tables.model.enums import ANSWERED, Code, CompletedBy, LatePolicy, Status
from tables.model.events import Commanded, Decision, Effect, FailedStation, Late, LateTaken, Opened, Released
from tables.model.timeouts import TimeoutPolicy

__all__ = ["EffectWriter"]

STATUS_OF = {Code.RESULT: "result", Code.EMPTY: "empty", Code.FAILED: "failed", Code.SKIPPED: "skipped"}


class EffectWriter:
    """Tells of effects. What a decision leads to besides is the publisher's work."""

    def __init__(
        self,
        late_topic: str,
        *,
        dead_letters: DeadLetters,
        log: BatchLog,
        statistics: Statistics,
        timeouts: TimeoutPolicy,
    ) -> None:
        self._late_topic = late_topic
        self._dead_letters = dead_letters
        self._log = log
        self._statistics = statistics
        self._timeouts = timeouts
        self._metrics = statistics.metrics

    def carry_out(self, effect: Effect) -> list[OutMessage]:
        """Log and count one effect; returns the messages that it sends, the same ones whenever it is a repeat."""
        if isinstance(effect, Released):
            self._released(effect)
        elif isinstance(effect, Late):
            self._count_late(effect.batch_id, effect.reason, effect.code, effect.at)
            self._log.late(effect.batch_id, effect.station, STATUS_OF[effect.code], effect.reason)
            return [self._late_message(effect)]
        elif isinstance(effect, LateTaken):
            self._count_late(effect.batch_id, effect.reason, effect.codes, effect.at)
            self._log.late_taken(
                effect.batch_id, effect.stations, effect.policy, skipped=effect.codes[0] == Code.SKIPPED
            )
            if effect.policy is LatePolicy.DROP:
                self._metrics.late_dropped += len(effect.stations)
        elif isinstance(effect, FailedStation):
            return [self._failure_letter(effect)]
        elif isinstance(effect, Opened):
            self._metrics.batches_opened += 1
            self._log.opened(effect.batch_id, effect.expected)
        elif isinstance(effect, Commanded):
            self._log.commanded(effect.command, effect.deadline)
        return []

    def _count_late(self, batch_id: str, reason: str, codes: str, at: float) -> None:
        self._metrics.late_outcomes[reason] += len(codes)
        if reason == BATCH_CLOSED and not ANSWERED.isdisjoint(codes):
            self._timeouts.late(batch_id, at)

    def _released(self, effect: Released) -> None:
        self._statistics.released(effect.decision)
        self._tell_decision(effect.decision)
        if effect.observation is not None:
            self._timeouts.closed(effect.observation)

    def _tell_decision(self, decision: Decision) -> None:
        batch_id, rule = decision.batch_id, decision.completed_by
        arrived, expected, missing = decision.arrived_count, len(decision.expected), decision.missing
        if decision.revision > FIRST_REVISION:
            self._log.revised(batch_id, decision.revision, arrived, expected, missing)
        elif rule is CompletedBy.TIMEOUT:
            self._log.timed_out(batch_id, arrived, expected, missing)
        elif decision.status is Status.PARTIAL:
            self._log.released_early(batch_id, rule, arrived, expected, missing)
        elif decision.status is Status.COMPLETE:
            self._log.completed(batch_id, decision.expected)
        if decision.status is Status.DISCARDED:
            self._log.discarded(batch_id, rule, arrived, expected)

    def _late_message(self, late: Late) -> OutMessage:
        record: dict[str, object] = {"batch_id": late.batch_id, "station_id": late.station}
        record["status"] = STATUS_OF[late.code]
        if late.code is Code.RESULT:
            record["result"] = orjson.Fragment(late.value or "null")
        elif late.value is not None:
            record["error"] = late.value
        record["reason"] = late.reason
        record["revision"] = late.revision
        record["closed_at"] = late.closed_at
        record["timestamp"] = late.at
        headers = [
            ("batch-id", late.batch_id.encode()),
            ("station-id", late.station.encode()),
            ("reason", late.reason.encode()),
            *trace_headers(station_trace(late.trace, late.station)),
        ]
        return OutMessage(self._late_topic, orjson.dumps(record), key=late.batch_id.encode(), headers=headers)

    def _failure_letter(self, failed: FailedStation) -> OutMessage:
        letter = failed.letter
        reason = Reason.TOO_LARGE if letter.too_large else Reason.STATION_FAILED
        return self._dead_letters.letter(
            reason,
            letter.error,
            value=letter.value.encode(),
            key=letter.key,
            failed_at=failed.at,
            source=failed.source,
            batch_id=failed.batch_id,
            station_id=failed.station,
            trace=station_trace(failed.trace, failed.station),
        )
