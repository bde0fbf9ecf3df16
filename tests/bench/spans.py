"""What a station's span costs: `python -m tests.bench.spans`; no Kafka and no collector, a few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rich.console import Console

from app.observability.opentelemetry import OpenTelemetryTraces
from tables.model.enums import Code

SPANS = 20_000
EXPORTED = 512  # at once, as the SDK does by default
SAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = SAMPLED[:-1] + "0"


def microseconds(work: Callable[[], object]) -> float:
    """CPU time of a span, of what works off `SPANS` of them."""
    before = time.process_time()
    work()
    return (time.process_time() - before) / SPANS * 1e6


def make(traces: OpenTelemetryTraces, context: str) -> None:
    """What a station agent tells of its outcomes."""
    for number in range(SPANS):
        if traces.wants(context):
            traces.station(context, str(number), Code.RESULT, "{}", 1.0)


def export(spans: Sequence[ReadableSpan]) -> None:
    """What the exporter does, but for sending."""
    for start in range(0, len(spans), EXPORTED):
        encode_spans(spans[start : start + EXPORTED]).SerializeToString()


def main() -> None:
    """Print a line."""
    exporter = InMemorySpanExporter()
    traces = OpenTelemetryTraces("bench", SimpleSpanProcessor(exporter), time.time)
    made = microseconds(lambda: make(traces, SAMPLED))
    unsampled = microseconds(lambda: make(traces, UNSAMPLED))
    spans = exporter.get_finished_spans()
    exported = microseconds(lambda: export(spans))
    Console().print(
        f"A span, CPU µs: {made:.1f} on the event loop, {exported:.1f} in the exporter's thread; "
        f"{unsampled:.2f} where the trace is not sampled"
    )


if __name__ == "__main__":
    main()
