"""Trace contexts: the text that travels with a batch, and the ids of its spans. Pure.

A trace context is the header `traceparent` of W3C Trace Context, and behind a blank `tracestate` where there is one. It
names a span: the splitting of a source message, a station's callback, or a publication. The id of a span is a hash of
its parent's id and of facts from the log, never a random number. So a message that is made again, after a crash or by
a zombie, has the same headers.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from tables.model.events import Decision

SPAN_ID_BYTES = 8
SAMPLED = 0x01
TRACE_HEADERS = ("traceparent", "tracestate")
_TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?: [ -~]{1,512})?")


def is_trace(text: object) -> bool:
    """Return whether something is a trace context."""
    return isinstance(text, str) and _TRACE.fullmatch(text) is not None


def is_sampled(trace: str) -> bool:
    """Return whether the spans of a trace are recorded, as the sampler of its first span has decided."""
    return int(trace[53:55], 16) & SAMPLED != 0


def span_id_of(trace: str) -> int:
    """Return the id of the span that a context names."""
    return int(trace[36:52], 16)


def trace_headers(trace: str | None) -> list[tuple[str, bytes]]:
    """Return the Kafka headers that hand a trace on; none without a trace."""
    if trace is None:
        return []
    return [(name, value.encode()) for name, value in zip(TRACE_HEADERS, trace.split(" ", 1), strict=False)]


def hash_id(size: int, *facts: object) -> int:
    """Return an id of `size` bytes that the same facts always give, and other facts do not."""
    return int.from_bytes(blake2b(repr(facts).encode(), digest_size=size).digest())


def child(trace: str, *facts: str) -> str:
    """Return the context of a child span; `facts` tell it from the other children of its parent."""
    version, trace_id, parent, rest = trace.split("-", 3)
    return f"{version}-{trace_id}-{hash_id(SPAN_ID_BYTES, parent, *facts):016x}-{rest}"


def station_trace(trace: str | None, station_id: str) -> str | None:
    """Return the context of a station's span, a child of its source message's."""
    return None if trace is None else child(trace, "station", station_id)


def batch_trace(decision: Decision) -> str | None:
    """Return the context of a batch's span, a child of the span of the message that opened it."""
    return child(decision.traces[0], "batch", decision.batch_id) if decision.traces else None


def handler_trace(decision: Decision) -> str | None:
    """Return the context of the result handler's span, a child of the batch's."""
    batch = batch_trace(decision)
    return None if batch is None else child(batch, "handler", str(decision.revision))


def publish_trace(decision: Decision) -> str | None:
    """Return the context of a publication's span, a child of the batch's; the output messages carry it."""
    batch = batch_trace(decision)
    return None if batch is None else child(batch, "publish", str(decision.revision))
