"""Trace contexts: the text that travels with a batch, and the ids of the spans that hang from it. Pure.

A trace context is the header `traceparent` of W3C Trace Context, and behind a blank `tracestate` where there is one. It
names a span: that of the splitting of a source message, of a station's callback, of a publication. Every id of a span
is a hash of its parent's and of what the log says, never a random number: whoever makes a message again, after a crash
or as an owner that is none any more, makes it with the same headers.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from tables.model.events import Decision

__all__ = [
    "SPAN_ID_BYTES",
    "TRACE_HEADERS",
    "batch_trace",
    "child",
    "handler_trace",
    "hash_id",
    "is_sampled",
    "is_trace",
    "publish_trace",
    "span_id_of",
    "station_trace",
    "trace_headers",
]

SPAN_ID_BYTES = 8
SAMPLED = 0x01
TRACE_HEADERS = ("traceparent", "tracestate")
_TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?: [ -~]{1,512})?")


def is_trace(text: object) -> bool:
    """Whether something is a trace context."""
    return isinstance(text, str) and _TRACE.fullmatch(text) is not None


def is_sampled(trace: str) -> bool:
    """Whether its spans are to be recorded: its first span's sampler has decided that."""
    return int(trace[53:55], 16) & SAMPLED != 0


def span_id_of(trace: str) -> int:
    """The id of the span that a context names."""
    return int(trace[36:52], 16)


def trace_headers(trace: str | None) -> list[tuple[str, bytes]]:
    """Kafka headers that hand a trace on; none without one."""
    if trace is None:
        return []
    return [(name, value.encode()) for name, value in zip(TRACE_HEADERS, trace.split(" ", 1), strict=False)]


def hash_id(size: int, *facts: object) -> int:
    """An id of so many bytes that the same facts always give, and others don't."""
    return int.from_bytes(blake2b(repr(facts).encode(), digest_size=size).digest())


def child(trace: str, *facts: str) -> str:
    """The context of a span under another one; `facts` tell it from that one's other children."""
    version, trace_id, parent, rest = trace.split("-", 3)
    return f"{version}-{trace_id}-{hash_id(SPAN_ID_BYTES, parent, *facts):016x}-{rest}"


def station_trace(trace: str | None, station_id: str) -> str | None:
    """The context of a station's span, under that of its source message."""
    return None if trace is None else child(trace, "station", station_id)


def batch_trace(decision: Decision) -> str | None:
    """The context of a batch's span, under that of the message that has opened it."""
    return child(decision.traces[0], "batch", decision.batch_id) if decision.traces else None


def handler_trace(decision: Decision) -> str | None:
    """The context of the result handler's span."""
    batch = batch_trace(decision)
    return None if batch is None else child(batch, "handler", str(decision.revision))


def publish_trace(decision: Decision) -> str | None:
    """The context of a publication's span, which its messages carry."""
    batch = batch_trace(decision)
    return None if batch is None else child(batch, "publish", str(decision.revision))
