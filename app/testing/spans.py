"""Spans in memory, in place of a collector."""

from __future__ import annotations

from typing import Any

from app.messages.message import Clock
from app.observability.tracing import Traces
from app.settings import Settings

__all__ = ["MemorySpans"]


class MemorySpans:
    """Where the spans of a driver's workers go; nowhere without the setting `traces`."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.traces = Traces()
        self._exporter: Any = None
        if settings.traces:
            # Imported where they are wanted: OpenTelemetry need not be installed.
            from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: PLC0415
            from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: PLC0415

            from app.observability.opentelemetry import OpenTelemetryTraces  # noqa: PLC0415

            self._exporter = InMemorySpanExporter()
            self.traces = OpenTelemetryTraces(settings.app_id, SimpleSpanProcessor(self._exporter), clock)

    def ended(self) -> list[Any]:
        """The spans that have ended, in that order."""
        return [] if self._exporter is None else list(self._exporter.get_finished_spans())
