"""The outbox: from a stored decision to the output message, once.

A decision is stored before it comes here. With a result handler of the user's: call it, store its answer, publish that.
Then publish, then store that it is out. After a crash the new owner goes on from the last stored step, and looks in the
output's partition whether the message is there before it sends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from app.callbacks.handlers import ResultHandler
from app.messages.dead_letters import LETTER_BYTES, TOO_LARGE_BYTES, Reason
from app.messages.message import OutMessage, Sender
from app.messages.output import OutputId, Part, headers_of, output_id, parts_of
from app.messages.partitioner import Partitioner
from app.messages.trace_context import publish_trace
from app.observability.batch_log import BatchLog
from app.observability.counters import Metrics
from app.observability.tracing import Traces
from app.pipeline.dead_letters import DeadLetters
from tables.model.enums import Action, Status
from tables.model.events import Decision
from tables.model.policies import PartialPolicy
from tables.storage.records import Destination, Prepared

__all__ = ["Publisher", "PublisherConfig", "Release"]

SETTLE_SECONDS = 3.0  # what publications without a handler get to finish when partitions are taken away


@dataclass(frozen=True, slots=True)
class PublisherConfig:
    """What goes into an output, and where to. Sizes in bytes."""

    output_topic: str
    module: str
    with_meta: bool
    max_message_bytes: int
    output_limit: int  # what the output topic takes; a part may be over max_message_bytes for its meta, not over this
    partial: PartialPolicy  # to say why a batch was discarded


@dataclass(slots=True, eq=False)
class Release:
    """A decision on its way out; the two functions change the stored state and give the messages that make it so."""

    decision: Decision
    destination: Destination
    store_prepared: Callable[[Prepared], list[OutMessage]]
    store_published: Callable[[], list[OutMessage]]
    prepared: Prepared | None = None


class Publisher:
    """Publishes decisions outside of the partitions' loops.

    `partitioner` is the output topic's. `find_outputs(topic, partition, since)` answers which output messages stand in
    a partition from that time (Unix seconds) on. `save` makes a change of the stored state durable. `on_error` gets
    what a publication raised; its decision is then still stored and not lost.
    """

    def __init__(
        self,
        config: PublisherConfig,
        *,
        partitioner: Partitioner,
        sender: Sender,
        save: Callable[[Sequence[OutMessage]], Awaitable[None]],
        handler: ResultHandler | None,
        dead_letters: DeadLetters,
        find_outputs: Callable[[str, int, float], Awaitable[set[OutputId]]],
        on_error: Callable[[BaseException], None],
        log: BatchLog,
        metrics: Metrics,
        traces: Traces,
    ) -> None:
        self._config = config
        self._partition_of = partitioner
        self._sender = sender
        self._save = save
        self._handler = handler
        self._dead_letters = dead_letters
        self._find_outputs = find_outputs
        self._on_error = on_error
        self._log = log
        self._metrics = metrics
        self._traces = traces
        self._tasks: set[asyncio.Task[None]] = set()
        self._latest: dict[str, asyncio.Task[None]] = {}  # batch -> the publication that its next revision waits for

    @property
    def busy(self) -> int:
        """Publications that are under way."""
        return len(self._tasks)

    def destination(self, batch_id: str) -> Destination:
        """Where the output of a batch goes."""
        return Destination(self._config.output_topic, self._partition_of(batch_id))

    def release(self, releases: Sequence[Release]) -> None:
        """Publish decisions that have just been stored; a batch's revisions one after the other."""
        ready = [release for release in releases if self._is_ready(release)]
        if ready:
            self._start(partial(self._publish_all, ready), ready)
        for release in releases:
            if not self._is_ready(release):
                self._start(partial(self._handle, release), [release])

    def recover(self, releases: Sequence[Release]) -> None:
        """Go on with decisions that a predecessor has stored and perhaps published."""
        by_destination: dict[Destination, list[Release]] = {}
        for release in releases:
            by_destination.setdefault(release.destination, []).append(release)
        for destination, group in by_destination.items():
            self._start(partial(self._recover, destination, group), group)

    async def cancel(self) -> None:
        """Stop at once with handlers, and within SETTLE_SECONDS with the rest; the next owner goes on from there."""
        if self._tasks and self._handler is None:
            await asyncio.wait(self._tasks, timeout=SETTLE_SECONDS)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SETTLE_SECONDS)

    # -- steps -------------------------------------------------------------------------------------------------------

    async def _recover(self, destination: Destination, releases: Sequence[Release]) -> None:
        since = min(release.decision.closed_at for release in releases)
        found = await self._find_outputs(destination.topic, destination.partition, since)
        await self._publish_all([release for release in releases if self._is_ready(release)], found)
        waiting = [release for release in releases if not self._is_ready(release)]
        # An owner that was none any more may have stored a decision again that is out already.
        out = [release for release in waiting if _id_of(release.decision) in found]
        await self._save([message for release in out for message in release.store_published()])
        self.release([release for release in waiting if release not in out])

    def _is_ready(self, release: Release) -> bool:
        """Whether the user's handler has no say in it any more, or never had."""
        return self._handler is None or release.prepared is not None or release.decision.status is Status.DISCARDED

    async def _handle(self, release: Release) -> None:
        if self._handler is None:
            message = "there is no result handler to call"
            raise RuntimeError(message)
        started = self._traces.now()
        release.prepared = self._bounded(release.decision, await self._handler(release.decision))
        self._traces.handled(release.decision, release.prepared.error, started)
        await self._save(release.store_prepared(release.prepared))
        await self._publish_all([release])

    async def _publish_all(self, releases: Sequence[Release], found: set[OutputId] | None = None) -> None:
        if not releases:
            return
        outputs = [self._outputs(release) for release in releases]
        messages = [message for one in outputs for message in one]
        if found is not None:
            missing = [message for message in messages if output_id(message.key, message.headers) not in found]
            self._metrics.outbox_recoveries["found"] += len(messages) - len(missing)
            self._metrics.outbox_recoveries["sent"] += len(missing)
            messages = missing
        started = self._traces.now()
        await self._sender.send(messages)
        for release, own in zip(releases, outputs, strict=True):
            self._traces.published(release.decision, len(own), started)
            # A handler that answers None has uploaded by itself. Otherwise dead letters may have taken its place.
            if not own or any(message.topic == release.destination.topic for message in own):
                self._log.published(release.decision.batch_id, len(release.decision.results))
        await self._save([message for release in releases for message in release.store_published()])

    def _outputs(self, release: Release) -> list[OutMessage]:
        """The messages of one decision; they are the same whenever they are made."""
        decision, prepared = release.decision, release.prepared
        if decision.status is Status.DISCARDED:
            return self._letters(decision, Reason.DISCARDED, self._why_discarded(decision))
        if prepared is None:
            config = self._config
            parts = parts_of(decision, config.module, with_meta=config.with_meta, max_bytes=config.max_message_bytes)
            return [
                self._output(release, part.value, part.number, part.count)
                if len(part.value) <= config.output_limit
                else self._too_large_letter(decision, part.value, self._part_error(decision, part))
                for part in parts
            ]
        if prepared.error is not None:
            if prepared.value is None:
                return self._letters(decision, Reason.HANDLER_FAILED, prepared.error)
            return [self._too_large_letter(decision, prepared.value.encode(), prepared.error)]
        if prepared.value is None:
            return []
        return [self._output(release, prepared.value.encode(), 1, 1)]

    def _bounded(self, decision: Decision, prepared: Prepared) -> Prepared:
        """What is over the limit for messages would not get into the table either: of that only the start is kept."""
        size = len((prepared.value or "").encode())
        if prepared.value is None or size <= self._config.max_message_bytes:
            return prepared
        error = (
            f"the result handler's payload for batch {decision.batch_id} has {size} bytes, more than the "
            f"{self._config.max_message_bytes} of AGG_MAX_MESSAGE_BYTES"
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
        """A batch's default payload as dead letters: in parts as it would have been published, so that none is lost."""
        parts = parts_of(
            replace(decision, status=Status.DISCARDED),
            self._config.module,
            with_meta=True,
            max_bytes=min(self._config.max_message_bytes, LETTER_BYTES),
        )
        return [
            self._dead_letters.letter(
                reason,
                error,
                value=part.value,
                key=decision.batch_id.encode(),
                failed_at=decision.closed_at,
                batch_id=decision.batch_id,
                trace=publish_trace(decision),
            )
            for part in parts
        ]

    def _too_large_letter(self, decision: Decision, value: bytes, error: str) -> OutMessage:
        return self._dead_letters.letter(
            Reason.TOO_LARGE,
            error,
            value=value,
            key=decision.batch_id.encode(),
            failed_at=decision.closed_at,
            batch_id=decision.batch_id,
            trace=publish_trace(decision),
        )

    def _part_error(self, decision: Decision, part: Part) -> str:
        return (
            f"part {part.number} of {part.count} of batch {decision.batch_id} has {len(part.value)} bytes, more than "
            f"the {self._config.output_limit} that {self._config.output_topic} takes"
        )

    def _why_discarded(self, decision: Decision) -> str:
        arrived = f"{decision.arrived_count} of {len(decision.expected)} stations"
        discarded = f"batch {decision.batch_id} was discarded with {arrived}"
        operator = decision.operator
        if operator is not None and operator.action is Action.DISCARD:
            return f"{discarded} by the operator {operator.by}"
        return f"{discarded} at its deadline: {self._config.partial.problem(decision)}"

    # -- tasks -------------------------------------------------------------------------------------------------------

    def _start(self, work: Callable[[], Awaitable[None]], releases: Sequence[Release]) -> None:
        """Do it once what is under way of the same batches has ended."""
        batches = [release.decision.batch_id for release in releases]
        before = {self._latest[batch_id] for batch_id in batches if batch_id in self._latest}
        task = asyncio.get_running_loop().create_task(self._guard(work, before))
        self._tasks.add(task)
        self._latest.update(dict.fromkeys(batches, task))
        task.add_done_callback(partial(self._ended, batches))

    def _ended(self, batches: Sequence[str], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        for batch_id in batches:
            if self._latest.get(batch_id) is task:
                del self._latest[batch_id]

    async def _guard(self, work: Callable[[], Awaitable[None]], before: set[asyncio.Task[None]]) -> None:
        try:
            if before:
                await asyncio.wait(before)
            await work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the decision is stored, and the owner decides
            self._on_error(error)


def _id_of(decision: Decision) -> OutputId:
    """The first message of a decision's output."""
    return decision.batch_id.encode(), decision.revision, 1
