"""What the pipeline tells of its work, for spans to be made of it: one trace for each batch, from input to output.

This is the one that listens to nobody. `AGG_TRACES` puts the one of opentelemetry.py in its place. Whether a
message carries a trace on depends on neither: that is a matter of the log alone (messages/trace_context.py).
"""

from __future__ import annotations

from app.messages.message import InMessage
from tables.model.enums import Code
from tables.model.events import Decision

__all__ = ["SourceTrace", "Traces"]


class SourceTrace:
    """The trace of one source message, from its reading on. This one is none.

    Attributes:
        context: what its station events, its batch and its letters carry (messages/trace_context.py); None: nothing.
    """

    context: str | None = None

    def stations(self, batch_id: str | None, count: int) -> None:
        """It names so many stations; without a batch they pass through."""

    def failed(self, error: str) -> None:
        """It could not be read."""

    def end(self) -> None:
        """All that was made of it is stored."""


_NO_SOURCE_TRACE = SourceTrace()


class Traces:
    """Makes no spans, and takes no trace up. Times are Unix seconds, by `now`."""

    def now(self) -> float:
        """The time as spans take it."""
        return 0.0

    def begin(self, message: InMessage) -> SourceTrace:  # noqa: ARG002 - it is the one that does nothing
        """A source message has been read: go on with the trace that it comes with, or begin one."""
        return _NO_SOURCE_TRACE

    def wants(self, context: str) -> bool:  # noqa: ARG002
        """Whether a span with that context would be recorded: else nothing need be found out about it."""
        return False

    def station(self, context: str | None, station_id: str, code: Code, error: str | None, started: float) -> None:
        """A station of the message with that context has its outcome; `started` is when its callback did."""

    def handled(self, decision: Decision, error: str | None, started: float) -> None:
        """A result handler has been called for a decision."""

    def published(self, decision: Decision, messages: int, started: float) -> None:
        """A decision is out; with the first one, all that there is to say about its batch is known."""

    async def close(self) -> None:
        """Send what has not been sent yet, within about a second."""
