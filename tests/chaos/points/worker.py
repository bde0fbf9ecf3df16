"""`faust -A tests.chaos.points.worker`: the application, whose ports tell a trap what passes through them.

The pipeline is built as ever, on ports that are wrapped: its sender, its tables, its look for outputs, the user's
result handler, the acknowledgements of its log. What is on its way to the broker is seen where requests are sent.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from aiokafka import AIOKafkaProducer
from aiokafka.protocol.produce import ProduceRequest

from app import create_app
from app.callbacks.handler_context import HandlerContext
from app.callbacks.loading import UserFunctions
from app.kafka.producer import KafkaSender
from app.messages.message import Delivery, OutMessage, Sender
from app.messages.output import OutputId
from app.pipeline.aggregation.aggregator import Aggregator
from app.pipeline.build import Pipeline, build_pipeline
from app.pipeline.ports import Backend, FindOutputs, StateStore
from app.settings import Settings
from app.worker import app as of_worker
from tables.model.enums import State
from tables.storage.records import RecordKind, Write, kind_of
from tables.storage.recovery import Records
from tables.windows import Windows
from tests.chaos.points.trap import TRAP, Trap

FLUSHED: Final = 3  # turns of the loop after which what was written is in the kernel

# In the bytes of records: a header is the length of its name, the name, the length of its value, the value.
REVISED: Final = re.compile(rb"\x10revision\x02[2-9]")
PARTED: Final = re.compile(rb"\x08part\x02(\d)\x0aparts\x02(\d)")
STORED: Final = re.compile(rb'"state":"(\w+)"')


class WatchedSender:
    """Tells what the broker has confirmed."""

    def __init__(self, sender: Sender, trap: Trap, settings: Settings) -> None:
        self._sender, self._trap = sender, trap
        self._output = settings.output_topic
        self._aside = {settings.dead_letter_topic, settings.late_topic}
        self._internal = {settings.station_events_topic, settings.batch_events_topic}

    async def send(self, messages: Sequence[OutMessage]) -> list[int]:
        """Send, then tell."""
        offsets = await self._sender.send(messages)
        topics = {message.topic for message in messages}
        if self._output in topics:
            self._trap.passes("output-confirmed")
            if any(dict(message.headers).get("revision", b"1") != b"1" for message in messages):
                self._trap.passes("revision-confirmed")
        elif topics & self._aside:
            self._trap.passes("letters-confirmed")
        elif topics - self._internal:
            self._trap.passes("side-confirmed")
        return offsets


class WatchedStore:
    """Tells which steps of the outbox are stored; `undone` is whether one is decided and not acknowledged."""

    def __init__(self, store: StateStore, trap: Trap) -> None:
        self._store, self._trap = store, trap
        self.undone = False

    def records(self, partition: int) -> Records:
        """Return the records of one partition."""
        return self._store.records(partition)

    def windows(self, partition: int) -> Windows:
        """Return the windows of context of one partition."""
        return self._store.windows(partition)

    def apply(self, partition: int, writes: Iterable[Write]) -> list[OutMessage]:
        """Change the records in memory."""
        return self._store.apply(partition, writes)

    async def save(self, messages: Sequence[OutMessage]) -> None:
        """Store, and tell before and after."""
        steps = {step for message in messages if (step := _step_of(message)) is not None}
        if (RecordKind.HEADER, State.PREPARED) in steps:
            self._trap.passes("handler-returned")
        await self._store.save(messages)
        for kind, state in steps:
            if kind is RecordKind.REVISION:
                self._trap.passes("revision-closed" if state is State.CLOSED else "revision-stored")
            else:
                self.undone = self.undone or state is State.CLOSING
                self._trap.passes(f"{state}-stored")


def _step_of(message: OutMessage) -> tuple[RecordKind, State] | None:
    found = STORED.search(message.value or b"")
    return (kind_of(message.key or b""), State(found[1].decode())) if found else None


class WatchedWire:
    """Tells what is on its way to the broker, and what of a request's has come back."""

    def __init__(self, send: Callable[..., Any], trap: Trap, settings: Settings) -> None:
        self._send, self._trap = send, trap
        self._output = settings.output_topic
        self._changelog = f"{settings.app_id}-batches-changelog"

    async def __call__(self, node: int, request: object, **options: Any) -> Any:
        """Send a request as the client does, and return the response."""
        parts = _parts_of(request) if isinstance(request, ProduceRequest) else {}
        output, changelog = parts.get(self._output, b""), parts.get(self._changelog, b"")
        passed = ["output-sent"] * bool(output) + ["revision-sent"] * bool(REVISED.search(output))
        passed += [f"{state.decode()}-sent" for state in sorted(set(STORED.findall(changelog)))]
        if any(map(self._trap.springs, passed)):
            sending = asyncio.ensure_future(self._send(node, request, **options))
            for _ in range(FLUSHED):
                await asyncio.sleep(0)
            if sending.done():  # no response can have come by now
                sending.result()
            self._trap.end()
        response = await self._send(node, request, **options)
        if any(number < count for number, count in PARTED.findall(output)):
            self._trap.passes("part-confirmed")
        return response


def _parts_of(request: ProduceRequest) -> dict[str, bytes]:
    """Return the bytes that a request has for each topic."""
    return {topic: b"".join(bytes(records) for _, records in partitions) for topic, partitions in request._topics}


class WatchedAggregator:
    """Tells of the first acknowledgement after a decision has been stored; all else is the aggregator's."""

    def __init__(self, aggregator: Aggregator, trap: Trap, store: WatchedStore) -> None:
        self._aggregator, self._trap, self._store = aggregator, trap, store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._aggregator, name)

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Apply a chunk of the log."""
        await self._aggregator.handle([replace(one, ack=partial(self._ack, one.ack)) for one in deliveries])

    def _ack(self, ack: Callable[[], None]) -> None:
        ack()
        if self._store.undone:
            self._store.undone = False
            self._trap.passes("acknowledged")


def watched_look(find: FindOutputs, trap: Trap) -> FindOutputs:
    """Return a look for outputs that tells when it has been done."""

    async def look(topic: str, partition: int, since: float) -> set[OutputId]:
        found = await find(topic, partition, since)
        trap.passes("looked")
        return found

    return look


def watched_handler(handler: Callable[..., Any], trap: Trap) -> Callable[..., Any]:
    """Return a result handler that tells when it is called."""

    async def call(batch_id: str, results: list[dict[str, Any]], context: HandlerContext) -> Any:
        trap.passes("handler-called")
        return await handler(batch_id, results, context)

    return call


def build_watched(
    trap: Trap, settings: Settings, functions: UserFunctions, backend: Backend, **options: Any
) -> Pipeline:
    """Build the pipeline on watched ports."""
    producer = cast("AIOKafkaProducer", cast("KafkaSender", backend.sender)._producer())
    producer.client.send = WatchedWire(producer.client.send, trap, settings)
    store = WatchedStore(backend.store, trap)
    watched = replace(
        backend,
        sender=WatchedSender(backend.sender, trap, settings),
        store=store,
        find_outputs=watched_look(backend.find_outputs, trap),
    )
    if functions.result_handler is not None:
        functions = replace(functions, result_handler=watched_handler(functions.result_handler, trap))
    pipeline = build_pipeline(settings, functions, watched, **options)
    aggregator = cast("Aggregator", WatchedAggregator(pipeline.aggregator, trap, store))
    return replace(pipeline, aggregator=aggregator)


of_worker.build_pipeline = partial(build_watched, Trap(Path(os.environ[TRAP])))  # type: ignore[attr-defined]
app = create_app()
