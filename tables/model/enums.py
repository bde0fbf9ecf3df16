"""The closed sets of words that the batches use."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """Outcome of one callback; one letter, because it is stored once for each station."""

    RESULT = "r"
    EMPTY = "e"
    FAILED = "f"
    SKIPPED = "s"


ANSWERED = frozenset({Code.RESULT, Code.EMPTY})  # the callback came to its end; a failed one may have hung


class Action(StrEnum):
    """A command that an operator can give for an open batch."""

    COMPLETE = "complete"  # publish what there is
    DISCARD = "discard"  # publish nothing
    EXTEND = "extend"  # move the deadline


class CompletedBy(StrEnum):
    """The rule that closed a batch, or that made a later revision of it."""

    ALL = "all"
    TIMEOUT = "timeout"
    RATIO = "ratio"
    OPERATOR = "operator"
    REVISION = "revision"


class LatePolicy(StrEnum):
    """Treatment of outcomes that come after their batch has closed (`AGG_LATE_POLICY`)."""

    TOPIC = "topic"
    REVISE = "revise"
    DROP = "drop"


class Status(StrEnum):
    """Status of a batch as users see it."""

    OPEN = "open"
    COMPLETE = "complete"
    PARTIAL = "partial"
    DISCARDED = "discarded"  # not published: its payload is in the dead-letter topic


class State(StrEnum):
    """State of a batch on its way out: the steps of the outbox."""

    OPEN = "open"
    CLOSING = "closing"  # decided, and the decision is stored
    PREPARED = "prepared"  # a custom result handler has answered, and its answer is stored
    CLOSED = "closed"  # published, and remembered until it is forgotten
