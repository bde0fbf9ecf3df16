"""The interface by which the pipeline reports its work for traces, and its implementation without any.

There is one trace for each batch, from input to output. `AGG_TRACES` puts the implementation in opentelemetry.py in the
place of this one. A message carries its trace on with either: that depends on the log alone
(messages/trace_context.py).
"""

from __future__ import annotations

from app.messages.message import InMessage
from tables.model.enums import Code
from tables.model.events import Decision


class SourceTrace:
    """The trace of one source message, from its reading on. This implementation makes none.

    Attributes:
        context: The trace context of its station events, its batch and its dead letters; None without a trace.
    """

    context: str | None = None

    def stations(self, batch_id: str | None, count: int) -> None:
        """Note that it names so many stations; without a batch they pass through."""

    def failed(self, error: str) -> None:
        """Note that it could not be read."""

    def end(self) -> None:
        """End: everything that was made of it is stored."""


_NO_SOURCE_TRACE = SourceTrace()


class Traces:
    """Makes no spans, and continues no trace. Times are Unix seconds, by `now`."""

    def now(self) -> float:
        """Return the time that spans start and end by."""
        return 0.0

    def begin(self, message: InMessage) -> SourceTrace:  # noqa: ARG002 - it is the one that does nothing
        """Continue the trace that a source message comes with, or begin one."""
        return _NO_SOURCE_TRACE

    def wants(self, context: str) -> bool:  # noqa: ARG002
        """Say whether a span with that context would be recorded: otherwise its facts need not be found out."""
        return False

    def station(self, context: str | None, station_id: str, code: Code, error: str | None, started: float) -> None:
        """Report the outcome of a station of the message with that context; its callback began at `started`."""

    def handled(self, decision: Decision, error: str | None, started: float) -> None:
        """Report that a result handler was called for a decision."""

    def published(self, decision: Decision, messages: int, started: float) -> None:
        """Report that a decision is published; with the first one, all facts of its batch are known."""

    async def close(self) -> None:
        """Send what has not been sent yet, within about a second."""
