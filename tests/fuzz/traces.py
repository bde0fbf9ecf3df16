"""A check of the trace headers: whatever a message comes with, what travels on is a trace context."""

from __future__ import annotations

from functools import cache

from opentelemetry.sdk.trace import SpanProcessor

from app.messages.frames import StationGroup, decode_stations, encode_body, encode_group, encode_stations
from app.messages.message import InMessage
from app.messages.trace_context import is_trace, trace_headers
from app.observability.opentelemetry import OpenTelemetryTraces
from tables.model.enums import Code
from tables.model.events import Source
from tests.fuzz.inputs import TOPIC, headers_of

__all__ = ["check_trace"]


@cache
def _traces() -> OpenTelemetryTraces:
    return OpenTelemetryTraces("fuzz", SpanProcessor(), lambda: 1.0)


def check_trace(data: bytes) -> None:
    """Begin a trace with these headers, and hand it on through a frame to a station's span."""
    traces, headers = _traces(), headers_of(data)
    source = traces.begin(InMessage(TOPIC, 0, 7, 1.0, None, None, headers))
    source.stations("b", 1)
    source.end()
    context = source.context
    assert context is not None
    assert is_trace(context)
    assert len(context) < 600
    group = StationGroup("b", Source(TOPIC, 0, 7), 1.0, 6.0, None, (), context)
    (read,) = decode_stations(encode_stations([(encode_group(group), encode_body([("A", [])]), 1)])).groups
    assert read.trace == context
    traces.station(context, "A", Code.FAILED, "error", 1.0)
    again = traces.begin(InMessage(TOPIC, 0, 7, 1.0, None, None, headers))
    assert again.context == context
    # Who reads our output continues the same trace.
    handed = traces.begin(InMessage("OUT", 0, 0, 1.0, None, None, trace_headers(context)))
    assert handed.context is not None
    assert handed.context[:35] == context[:35]
