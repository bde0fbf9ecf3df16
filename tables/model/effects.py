"""Effects of single outcomes: late ones, and letters of failed stations."""

from __future__ import annotations

from collections.abc import Sequence

from tables.model.enums import Code, LatePolicy
from tables.model.events import Arrived, Decision, Effect, FailedStation, Late, LateTaken

__all__ = ["all_late", "failure", "late", "late_taken", "unknown_batch"]


def unknown_batch(event: Arrived) -> list[Effect]:
    """Effects of outcomes whose batch is not known: late, each of them."""
    return all_late(event, "unknown-batch", None)


def all_late(event: Arrived, reason: str, decision: Decision | None) -> list[Effect]:
    """Every outcome of an event is late, for one `reason`."""
    effects: list[Effect] = []
    for index in range(len(event.codes)):
        if index in event.letters:
            effects.append(failure(event, index))
        effects.append(late(event, index, reason, decision))
    return effects


def failure(event: Arrived, index: int) -> FailedStation:
    """The letter of one failed station of an event."""
    return FailedStation(
        event.batch_id, event.source, event.stations[index], event.at, event.letters[index], event.trace
    )


def late(event: Arrived, index: int, reason: str, decision: Decision | None) -> Late:
    """One late outcome of an event. `decision` is that of its batch; None where there is none."""
    return Late(
        batch_id=event.batch_id,
        station=event.stations[index],
        code=Code(event.codes[index]),
        value=event.values[index],
        reason=reason,
        revision=decision.revision if decision else None,
        closed_at=decision.closed_at if decision else None,
        at=event.at,
        trace=event.trace,
    )


def late_taken(event: Arrived, indices: Sequence[int], reason: str, policy: LatePolicy) -> LateTaken:
    """Late outcomes of an event that the late topic does not get."""
    stations = tuple(event.stations[index] for index in indices)
    codes = "".join(event.codes[index] for index in indices)
    return LateTaken(event.batch_id, stations, codes, reason, policy, event.at)
