"""The outbox: from a stored decision to the output message, once.

A decision is stored before it comes here. With a result handler of the user's: call it, store its answer, publish that.
Then publish, then store that it is out. After a crash the new owner goes on from the last stored step, and looks in the
output's partition whether the message is there before it sends it.

That partition is stored with the decision. When it is gone, because the topic was made again with fewer, the decision
gets another one, chosen by its key. It is stored before anything is sent there: the next owner looks in the same place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from app.callbacks.handlers import ResultHandler
from app.messages.dead_letters import LETTER_BYTES, TOO_LARGE_BYTES, Reason, Subject
from app.messages.message import OutMessage, PlaceGoneError
from app.messages.output import OutputId, Part, headers_of, output_id, parts_of, whole_outputs
from app.messages.partitioner import Partitioner, partition_of
from app.messages.trace_context import publish_trace
from app.pipeline.dead_letters import DeadLetters
from app.pipeline.ports import SETTLE_SECONDS, Backend, OneAtATime, Telemetry
from app.pipeline.splitting.flow_control import OpenBatches
from app.settings import Settings
from tables.model.enums import Action, Status
from tables.model.events import Decision
from tables.model.policies import PartialPolicy
from tables.storage.records import Destination, Prepared
from tables.working_set import WorkingSet


@dataclass(slots=True, eq=False)
class Release:
    """A decision on its way out, with the batches of its partition, where its steps are stored."""

    decision: Decision
    destination: Destination
    partition: int
    working_set: WorkingSet
    prepared: Prepared | None = None


class Publisher:
    """Publishes decisions outside of the partitions' loops; a batch's revisions one after the other.

    `partitioner` is the output topic's. `partial_policy` says why a batch was discarded. `on_error` gets what a
    publication raised; its decision is then still stored and not lost.
    """

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        *,
        partitioner: Partitioner,
        partial_policy: PartialPolicy,
        handler: ResultHandler | None,
        open_batches: OpenBatches,
        telemetry: Telemetry,
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._output_topic = settings.output_topic
        self._module = settings.module
        self._with_meta = settings.output_meta
        self._largest_part = backend.largest_result(settings)  # bytes; only its `meta` may bring a part above this,
        self._largest_output = backend.largest_output(settings)  # and nothing above this
        self._partition_of = partitioner
        self._partial_policy = partial_policy
        self._sender = backend.sender
        self._store = backend.store
        self._find_outputs = backend.find_outputs
        self._handler = handler
        self._open_batches = open_batches
        self._dead_letters = DeadLetters(settings.dead_letter_topic)
        self._log = telemetry.log
        self._recoveries = telemetry.statistics.metrics.outbox_recoveries
        self._traces = telemetry.traces
        self._publications = OneAtATime(on_error)  # by batch: a revision waits for the one before it

    def destination(self, batch_id: str) -> Destination:
        """Return where the output of a batch goes."""
        return Destination(self._output_topic, self._partition_of(batch_id))

    def release(self, releases: Sequence[Release]) -> None:
        """Publish decisions that have just been stored."""
        ready = [release for release in releases if self._is_ready(release)]
        if ready:
            self._start(ready, partial(self._publish_all, ready))
        for release in releases:
            if not self._is_ready(release):
                self._start([release], partial(self._handle, release))

    def recover(self, releases: Sequence[Release]) -> None:
        """Go on with decisions that a predecessor has stored and perhaps published."""
        by_destination: dict[Destination, list[Release]] = {}
        for release in releases:
            by_destination.setdefault(release.destination, []).append(release)
        for destination, group in by_destination.items():
            self._start(group, partial(self._recover, destination, group))

    async def cancel(self) -> None:
        """Stop at once with handlers, and within SETTLE_SECONDS with the rest; the next owner goes on from there."""
        await self._publications.cancel(SETTLE_SECONDS if self._handler is None else 0.0)

    def _start(self, releases: Sequence[Release], work: Callable[[], Awaitable[None]]) -> None:
        self._publications.start([release.decision.batch_id for release in releases], work)

    # -- steps -------------------------------------------------------------------------------------------------------

    async def _recover(self, destination: Destination, releases: Sequence[Release]) -> None:
        since = min(release.decision.closed_at for release in releases)
        found = await self._find_outputs(destination.topic, destination.partition, since)
        await self._publish_all([release for release in releases if self._is_ready(release)], found)
        waiting = [release for release in releases if not self._is_ready(release)]
        # A zombie may have stored a decision again that is out already.
        whole = whole_outputs(found)
        out = [one for one in waiting if (one.decision.batch_id.encode(), one.decision.revision) in whole]
        await self._store_published(out)
        self.release([release for release in waiting if release not in out])

    def _is_ready(self, release: Release) -> bool:
        """Return whether the user's handler need not be called for it, or not any more."""
        return self._handler is None or release.prepared is not None or release.decision.status is Status.DISCARDED

    async def _handle(self, release: Release) -> None:
        if self._handler is None:
            message = "there is no result handler to call"
            raise RuntimeError(message)
        started = self._traces.now()
        release.prepared = self._bounded(release.decision, await self._handler(release.decision))
        self._traces.handled(release.decision, release.prepared.error, started)
        writes = release.working_set.prepared(release.decision.batch_id, release.decision.revision, release.prepared)
        await self._store.save(self._store.apply(release.partition, writes))
        await self._publish_all([release])

    async def _publish_all(self, releases: Sequence[Release], found: set[OutputId] | None = None) -> None:
        if not releases:
            return
        outputs = [self._outputs(release) for release in releases]
        messages = [message for own in outputs for message in own]
        if found is not None:
            missing = [one for one in messages if output_id(one.key, one.headers, one.value) not in found]
            self._recoveries["found"] += len(messages) - len(missing)
            self._recoveries["sent"] += len(missing)
            messages = missing
        started = self._traces.now()
        moved: list[Release] = []
        try:
            await self._sender.send(messages)
        except PlaceGoneError as gone:
            moved = [one for one, own in zip(releases, outputs, strict=True) if any(map(gone.is_of, own))]
            if not moved or gone.counts.get(self._output_topic) == 0:
                raise
            await self._move(moved, gone)
        out = [(one, own) for one, own in zip(releases, outputs, strict=True) if one not in moved]
        for release, own in out:
            self._traces.published(release.decision, len(own), started)
            # A handler that answers None has uploaded by itself. Otherwise dead letters may have taken its place.
            if not own or any(message.topic == release.destination.topic for message in own):
                self._log.published(release.decision.batch_id, len(release.decision.results))
        await self._store_published([release for release, _ in out])
        await self._publish_all(moved)

    async def _move(self, releases: Sequence[Release], gone: PlaceGoneError) -> None:
        """Store another destination of each; nothing has been sent there, for whoever does that stores it before."""
        if self._output_topic in gone.counts:
            self._partition_of = Partitioner(gone.counts[self._output_topic])
        changes: list[OutMessage] = []
        places = [(release, release.destination, self._destination_instead(release, gone)) for release in releases]
        for release, _, new in places:
            writes = release.working_set.moved(release.decision.batch_id, release.decision.revision, new)
            changes += self._store.apply(release.partition, writes)
            release.destination = new
        await self._store.save(changes)
        for release, old, new in places:
            self._log.moved(release.decision.batch_id, (old.topic, old.partition), (new.topic, new.partition))

    def _destination_instead(self, release: Release, gone: PlaceGoneError) -> Destination:
        """Choose by the key alone, so that whoever does it again chooses the same."""
        batch_id, topic = release.decision.batch_id, release.destination.topic
        if topic == self._output_topic or not gone.counts[topic]:  # AGG_OUTPUT_TOPIC has changed since
            return self.destination(batch_id)
        return Destination(topic, partition_of(batch_id.encode(), gone.counts[topic]))

    async def _store_published(self, releases: Sequence[Release]) -> None:
        changes: list[OutMessage] = []
        for release in releases:
            batch_id = release.decision.batch_id
            self._open_batches.closed(batch_id)
            writes = release.working_set.published(batch_id, release.decision.revision)
            changes += self._store.apply(release.partition, writes)
        await self._store.save(changes)

    def _outputs(self, release: Release) -> list[OutMessage]:
        """Make the messages of one decision; they are the same whenever they are made."""
        decision, prepared = release.decision, release.prepared
        if decision.status is Status.DISCARDED:
            return self._letters(decision, Reason.DISCARDED, self._why_discarded(decision))
        if prepared is None:
            parts = parts_of(decision, self._module, with_meta=self._with_meta, max_bytes=self._largest_part)
            return [
                self._output(release, part.value, part.number, part.count)
                if len(part.value) <= self._largest_output
                else self._letter(
                    decision, Reason.TOO_LARGE, self._too_large(_name_of(decision, part), part.value), part.value
                )
                for part in parts
            ]
        return self._handled(release, prepared)

    def _handled(self, release: Release, prepared: Prepared) -> list[OutMessage]:
        """Make what a handler's answer leads to."""
        decision = release.decision
        if prepared.error is not None:
            if prepared.value is None:
                return self._letters(decision, Reason.HANDLER_FAILED, prepared.error)
            return [self._letter(decision, Reason.TOO_LARGE, prepared.error, prepared.value.encode())]
        if prepared.value is None:
            return []
        value = prepared.value.encode()
        if len(value) > self._largest_output:  # the topic, or the setting, is another now than when it was stored
            error = self._too_large(f"the stored payload for batch {decision.batch_id}", value)
            return [self._letter(decision, Reason.TOO_LARGE, error, value)]
        return [self._output(release, value, 1, 1)]

    def _bounded(self, decision: Decision, prepared: Prepared) -> Prepared:
        """Keep only the start of a payload over the limit for messages: it would not get into the table either."""
        size = len((prepared.value or "").encode())
        if prepared.value is None or size <= self._largest_part:
            return prepared
        error = (
            f"the result handler's payload for batch {decision.batch_id} has {size} bytes, more than the "
            f"{self._largest_part} of AGG_MAX_MESSAGE_BYTES"
        )
        return Prepared(prepared.value[:TOO_LARGE_BYTES], error)

    def _output(self, release: Release, value: bytes, part: int, parts: int) -> OutMessage:
        decision = release.decision
        return OutMessage(
            release.destination.topic,
            value,
            key=decision.batch_id.encode(),
            partition=release.destination.partition,
            headers=headers_of(decision, part, parts),
            timestamp=decision.closed_at,
        )

    def _letters(self, decision: Decision, reason: Reason, error: str) -> list[OutMessage]:
        """Make dead letters of a batch's default payload: in parts like an output, so that nothing is lost."""
        parts = parts_of(
            replace(decision, status=Status.DISCARDED),
            self._module,
            with_meta=True,
            max_bytes=min(self._largest_part, LETTER_BYTES),
        )
        return [self._letter(decision, reason, error, part.value) for part in parts]

    def _letter(self, decision: Decision, reason: Reason, error: str, value: bytes) -> OutMessage:
        batch_id = decision.batch_id
        subject = Subject(decision.closed_at, batch_id=batch_id, trace=publish_trace(decision))
        return self._dead_letters.letter(reason, error, subject, value=value, key=batch_id.encode())

    def _too_large(self, what: str, value: bytes) -> str:
        return f"{what} has {len(value)} bytes, more than the {self._largest_output} that {self._output_topic} takes"

    def _why_discarded(self, decision: Decision) -> str:
        arrived = f"{decision.arrived_count} of {len(decision.expected)} stations"
        discarded = f"batch {decision.batch_id} was discarded with {arrived}"
        operator = decision.operator
        if operator is not None and operator.action is Action.DISCARD:
            return f"{discarded} by the operator {operator.by}"
        return f"{discarded} at its deadline: {self._partial_policy.problem(decision)}"


def _name_of(decision: Decision, part: Part) -> str:
    return f"part {part.number} of {part.count} of batch {decision.batch_id}"
