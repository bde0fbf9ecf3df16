"""Policies of CONTRACT 7: small classes with one decision each, chosen by settings. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from tables.model.enums import LatePolicy
from tables.model.events import Decision

NAMES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class PartialPolicy:
    """Decides whether a batch that is due is published with what has arrived (`AGG_PARTIAL_MIN_RATIO`)."""

    min_ratio: float = 0.0
    required: frozenset[str] = frozenset()

    def problem(self, decision: Decision) -> str | None:
        """Return why the batch must be discarded instead; None where it may be published."""
        absent = [station for station in decision.missing if station in self.required]
        if absent:
            more = len(absent) - NAMES_SHOWN
            shown = ", ".join(absent[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
            return f"required stations are missing (AGG_REQUIRED_STATIONS): {shown}"
        expected = len(decision.expected)
        if expected and decision.arrived_count / expected < self.min_ratio:
            return f"less than AGG_PARTIAL_MIN_RATIO={self.min_ratio:g} of its stations had arrived"
        return None


@dataclass(frozen=True, slots=True)
class ReleasePolicy:
    """Decides whether a batch is published before its deadline (`AGG_RELEASE_RATIO`); None: only if none is pending.

    The required stations are never among those that may be pending.
    """

    ratio: float | None = None
    required: frozenset[str] = frozenset()

    def most_pending(self, expected: int) -> int:
        """Return how many of `expected` stations may be pending at most when the batch is published."""
        if self.ratio is None or not expected:
            return 0
        pending = min(expected, int(expected * (1.0 - self.ratio)) + 1)
        while pending and (expected - pending) / expected < self.ratio:
            pending -= 1
        return pending


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a partition's batches. Times in seconds.

    Attributes:
        max_age: how far from a batch's opening its deadline can be moved.
        partial: decides at the deadline.
        release: decides before it.
        late: treatment of late outcomes; a batch keeps the policy that held when it closed.
        revise_delay: from the first late outcome to the revision that has it.
    """

    max_age: float = 60.0
    partial: PartialPolicy = field(default_factory=PartialPolicy)
    release: ReleasePolicy = field(default_factory=ReleasePolicy)
    late: LatePolicy = LatePolicy.TOPIC
    revise_delay: float = 1.0
