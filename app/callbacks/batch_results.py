"""From what a callback for many stations returned to the outcome of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from itertools import islice
from typing import Any

from app.callbacks.outcome import EMPTY, Outcome, encode_result, failed

__all__ = ["encode_results"]

STRANGERS_TOLD = 20


def encode_results(
    stations: Sequence[str], value: Any, *, max_bytes: int, bare: Set[str] = frozenset()
) -> tuple[list[Outcome], list[str]]:
    """The outcomes of a call for these stations, which returned `value`.

    Args:
        stations: the ids that the call was made for.
        value: a mapping from station id to what a callback for one station would return.
        max_bytes: see `encode_result`.
        bare: those of the stations whose result is encoded as it is.

    Returns:
        The outcome of each station, in the order of `stations`: empty for those that the mapping leaves out, failed for
        all when it is no mapping. And ids in the mapping that the call was not made for, the first of them, as text.
    """
    try:
        results = _read(value)
    except BaseException as error:  # noqa: BLE001 - the mapping is the user's, and may raise anything
        return [failed(error)] * len(stations), []
    outcomes = [
        encode_result(None if station in bare else station, results[station], max_bytes=max_bytes)
        if station in results
        else EMPTY
        for station in stations
    ]
    if len(results) == len(stations) - outcomes.count(EMPTY):
        return outcomes, []
    asked = set(stations)
    strangers = (key for key in results if key not in asked)
    return outcomes, [str(key) for key in islice(strangers, STRANGERS_TOLD)]


def _read(value: Any) -> dict[Any, Any]:
    if type(value) is dict:
        return value
    if not isinstance(value, Mapping):
        message = f"a batch callback returns a dict {{station_id: result}}, this one returned {type(value).__name__}"
        raise TypeError(message)
    return dict(value)
