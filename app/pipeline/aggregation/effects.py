"""Effects carried out: log lines, counters, observations for timeouts, late records, letters of failed stations."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from operator import itemgetter

import orjson

from app.messages.dead_letters import Reason, Subject
from app.messages.message import OutMessage
from app.messages.trace_context import station_trace, trace_headers
from app.pipeline.dead_letters import DeadLetters
from app.pipeline.ports import Telemetry
from app.settings import Settings
from tables.model.batch import BATCH_CLOSED, FIRST_REVISION, Batch
from tables.model.enums import ANSWERED, Code, CompletedBy, LatePolicy, Status
from tables.model.events import Commanded, Decision, Effect, FailedStation, Late, LateTaken, Opened, Released
from tables.model.timeouts import WINDOW, TimeoutPolicy
from tables.working_set import WorkingSet

STATUS_OF = {Code.RESULT: "result", Code.EMPTY: "empty", Code.FAILED: "failed", Code.SKIPPED: "skipped"}


class EffectWriter:
    """Carries effects out, all but the publication of decisions, which is the publisher's work."""

    def __init__(self, settings: Settings, timeouts: TimeoutPolicy, telemetry: Telemetry) -> None:
        self._late_topic = settings.late_topic
        self._dead_letters = DeadLetters(settings.dead_letter_topic)
        self._timeouts = timeouts
        self._log = telemetry.log
        self._statistics = telemetry.statistics
        self._metrics = telemetry.statistics.metrics

    def recovered(self, sets: Collection[WorkingSet]) -> None:
        """Give the timeouts the newest observations that the recovered partitions hold."""
        if self._timeouts.adaptive:
            observations = [observed for working_set in sets for observed in working_set.observations(WINDOW)]
            observations.sort(key=itemgetter(0))
            self._timeouts.reset(observation for _, observation in observations[-WINDOW:])

    def progressed(self, batches: Iterable[Batch]) -> None:
        """Log how far batches have come that are still open after a chunk of the log."""
        for batch in batches:
            if batch.is_open:
                expected = len(batch.expected)
                arrived = expected - batch.pending
                if arrived:
                    self._log.progress(batch.batch_id, arrived, expected, batch.waiting_for)

    def carry_out(self, effect: Effect) -> list[OutMessage]:
        """Log and count one effect; returns the messages that it leads to, the same ones whenever it is a repeat."""
        if isinstance(effect, Released):
            self._statistics.released(effect.decision)
            self._log_decision(effect.decision)
            if effect.observation is not None:
                self._timeouts.closed(effect.observation)
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

    def _log_decision(self, decision: Decision) -> None:
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
        if expected and len(decision.failed) == expected:
            self._log.all_failed(batch_id, [error for _, error in decision.failed])

    def _late_message(self, late: Late) -> OutMessage:
        known: dict[str, object] = {}
        if late.code is Code.RESULT:
            known["result"] = orjson.Fragment(late.value or "null")
        elif late.value is not None:
            known["error"] = late.value
        record = {
            "batch_id": late.batch_id,
            "station_id": late.station,
            "status": STATUS_OF[late.code],
            **known,
            "reason": late.reason,
            "revision": late.revision,
            "closed_at": late.closed_at,
            "timestamp": late.at,
        }
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
        trace = station_trace(failed.trace, failed.station)
        subject = Subject(failed.at, failed.source, failed.batch_id, failed.station, trace)
        return self._dead_letters.letter(reason, letter.error, subject, value=letter.value.encode(), key=letter.key)
