"""Spans by OpenTelemetry, sent in the background over OTLP/HTTP; only imported with `AGG_TRACES`.

    split                   a source message, under the span that it comes from
      station               a callback; many
      batch                 from its opening to its closing; linked to the messages that have supplemented it
        handler
        publish             what the output carries

The ids are those of trace_context.py. Everything else is the SDK's: sampler, limits, resource, export and their
`OTEL_*` variables. Nothing global is set: a model may use OpenTelemetry in its own way.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.messages.dead_letters import last_line
from app.messages.message import InMessage
from app.messages.trace_context import (
    SPAN_ID_BYTES,
    batch_trace,
    handler_trace,
    hash_id,
    is_sampled,
    publish_trace,
    span_id_of,
    station_trace,
)
from app.observability.tracing import SourceTrace, Traces
from app.settings import SettingsError
from tables.model.batch import FIRST_REVISION
from tables.model.enums import Code
from tables.model.events import Decision

TRACE_ID_BYTES = 16
STATE_CHARACTERS = 512  # of a tracestate that is handed on: what W3C Trace Context asks for at least
QUEUED_SPANS = 16_384  # that wait for the exporter, where OTEL_BSP_MAX_QUEUE_SIZE says nothing: batches come in bursts
FLUSH_SECONDS = 1.0
PROTOCOL = "http/protobuf"
PROTOCOL_KEYS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

_KINDS = {"publish": SpanKind.PRODUCER}  # of recorded spans; all others are internal
_PROPAGATOR = TraceContextTextMapPropagator()
Attributes = Mapping[str, str | int]


class _GivenIds(IdGenerator):
    """Gives the next span the ids that are set here."""

    trace_id = 0
    span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


class OpenTelemetryTraces(Traces):
    """Makes spans. Only to be used on one thread: the event loop's."""

    def __init__(self, service: str, processor: SpanProcessor, clock: Callable[[], float]) -> None:
        """Create a tracer without any span.

        Args:
            service: the application id: the service's name unless `OTEL_SERVICE_NAME` is set, and part of every id,
                because two applications may read the same messages.
            processor: gets the spans.
            clock: Unix seconds.
        """
        self._clock = clock
        self._service = service
        self._ids = _GivenIds()
        resource = Resource.create({SERVICE_NAME: service}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(id_generator=self._ids, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("station-batch-aggregator")

    def now(self) -> float:
        """Return the clock's time."""
        return self._clock()

    def begin(self, message: InMessage) -> SourceTrace:
        """Start the message's span: with the same ids whenever the message is read."""
        ids, place = self._ids, (self._service, message.topic, message.partition, message.offset)
        parent = _extract({name: value.decode(errors="replace") for name, value in message.headers if value})
        # The timestamp makes the ids differ from those of a topic of this name in another cluster, or of one deleted.
        ids.trace_id = hash_id(TRACE_ID_BYTES, *place, message.timestamp)
        context = get_current_span(parent).get_span_context()
        ids.span_id = hash_id(SPAN_ID_BYTES, *place, context.trace_id or ids.trace_id, context.span_id)
        span = self._tracer.start_span(
            "split",
            context=parent,
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": message.topic,
                "messaging.destination.partition.id": str(message.partition),
                "messaging.kafka.offset": message.offset,
            },
            start_time=_nanoseconds(self._clock()),
        )
        return _SourceSpan(span, self._clock)

    def wants(self, context: str) -> bool:
        """Say whether the trace is sampled."""
        return is_sampled(context)

    def station(self, context: str | None, station_id: str, code: Code, error: str | None, started: float) -> None:
        """Record a span of the callback."""
        attributes = {"station.id": station_id, "station.outcome": code.name.lower()}
        if code is not Code.FAILED:
            error = None
        self._record("station", station_trace(context, station_id), context, started, attributes, error=error)

    def handled(self, decision: Decision, error: str | None, started: float) -> None:
        """Record a span of all calls of the handler."""
        attributes: Attributes = {"batch.id": decision.batch_id, "batch.revision": decision.revision}
        line = error and last_line(error)
        self._record("handler", handler_trace(decision), batch_trace(decision), started, attributes, error=line)

    def published(self, decision: Decision, messages: int, started: float) -> None:
        """Record a span of the publication, and with the first one the batch's own."""
        traces, batch = decision.traces, batch_trace(decision)
        facts = _facts(decision)
        if decision.revision == FIRST_REVISION and traces:
            self._record(
                "batch", batch, traces[0], decision.opened_at, facts, links=traces[1:], ended=decision.closed_at
            )
        self._record(
            "publish",
            publish_trace(decision),
            batch,
            started,
            {**facts, "messaging.system": "kafka", "messaging.batch.message_count": messages},
            links=() if decision.revision == FIRST_REVISION else traces[1:],
        )

    def _record(
        self,
        name: str,
        own: str | None,
        parent: str | None,
        started: float,
        attributes: Attributes,
        *,
        error: str | None = None,
        links: Sequence[str] = (),
        ended: float | None = None,
    ) -> None:
        """Record a span that has ended; nothing where there is no trace, or it is not sampled."""
        if own is None or parent is None or not is_sampled(own):
            return
        self._ids.span_id = span_id_of(own)
        span = self._tracer.start_span(
            name,
            context=set_span_in_context(NonRecordingSpan(_span_context(parent)), Context()),
            kind=_KINDS.get(name, SpanKind.INTERNAL),
            attributes=attributes,
            links=[Link(_span_context(link)) for link in links],
            start_time=_nanoseconds(started),
        )
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(_nanoseconds(max(started, self._clock() if ended is None else ended)))

    async def close(self) -> None:
        """Let the exporter send its spans, without waiting for a collector that is away."""
        # Not the loop's pool: a thread of that would be waited for when the process ends.
        thread = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, FLUSH_SECONDS)


class _SourceSpan(SourceTrace):
    """The span of one source message."""

    def __init__(self, span: Span, clock: Callable[[], float]) -> None:
        self._span = span
        self._clock = clock
        context = span.get_span_context()
        self.context = _text(context) if context.is_valid else None

    def stations(self, batch_id: str | None, count: int) -> None:
        self._span.set_attribute("stations", count)
        if batch_id is not None:
            self._span.set_attribute("batch.id", batch_id)

    def failed(self, error: str) -> None:
        self._span.set_status(Status(StatusCode.ERROR, error))

    def end(self) -> None:
        self._span.end(_nanoseconds(self._clock()))


def exporting_traces(service: str, clock: Callable[[], float]) -> OpenTelemetryTraces:
    """Return traces that go where `OTEL_EXPORTER_OTLP_*` say, by default to a collector on this machine, port 4318.

    Raises:
        SettingsError: one of the `OTEL_*` variables has a value that OpenTelemetry does not take.
    """
    for key in PROTOCOL_KEYS:
        if os.environ.get(key, PROTOCOL) not in ("", PROTOCOL):
            raise SettingsError([f"{key}={os.environ[key]}: must be {PROTOCOL} with AGG_TRACES"])
    queue = None if os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") else QUEUED_SPANS
    try:
        return OpenTelemetryTraces(service, BatchSpanProcessor(OTLPSpanExporter(), queue), clock)
    except ValueError as error:
        raise SettingsError([f"OTEL_*: OpenTelemetry does not take what AGG_TRACES needs: {error}"]) from error


def _extract(headers: Mapping[str, str]) -> Context:
    """Read the parent that a message comes with; of a header that is there twice, the last one counts."""
    if len(headers.get("tracestate", "")) > STATE_CHARACTERS:
        headers = {name: value for name, value in headers.items() if name != "tracestate"}
    return _PROPAGATOR.extract(headers, Context())


def _text(context: SpanContext) -> str:
    """Write a trace context as text, as it travels."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, set_span_in_context(NonRecordingSpan(context), Context()))
    return " ".join(filter(None, (carrier["traceparent"], carrier.get("tracestate"))))


@lru_cache(maxsize=256)  # a message has many stations
def _span_context(trace: str) -> SpanContext:
    """Read back `_text`."""
    parent, _, state = trace.partition(" ")
    context = _PROPAGATOR.extract({"traceparent": parent, "tracestate": state}, Context())
    return get_current_span(context).get_span_context()


def _facts(decision: Decision) -> dict[str, str | int]:
    """Return the attributes of a decision."""
    return {
        "batch.id": decision.batch_id,
        "batch.revision": decision.revision,
        "batch.status": decision.status.value,
        "batch.completed_by": decision.completed_by.value,
        "batch.expected": len(decision.expected),
        "batch.arrived": decision.arrived_count,
        "batch.missing": len(decision.missing),
    }


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
