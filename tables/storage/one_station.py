"""A look at one station in the stored header of a batch, without rebuilding the batch. Pure.

Who asks for a station looks into many headers, most of which do not name it. So the bytes are searched first: that
takes a hundredth of reading them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import orjson

from tables.model.enums import Code
from tables.model.events import ABSENT, Decision
from tables.storage.exact_json import loads_marked

STATIONS, CODES = 4, 5  # places among the fields of a stored message, see `tables.storage.records.source_list`
_NOTHING: Final = frozenset({ABSENT, Code.SKIPPED})


class StationOutcome(NamedTuple):
    """What became of a station in a closed batch: the code of its outcome, ABSENT for none; a failed one's error."""

    code: str
    error: str | None = None


def outcome_in_header(value: bytes, station: str) -> StationOutcome | None:
    """Return what became of a station as the batch first closed; None where no message in time names it."""
    if orjson.dumps(station) not in value:
        return None
    record = loads_marked(value)
    codes = [
        source[CODES][source[STATIONS].index(station)] for source in record["sources"] if station in source[STATIONS]
    ]
    if not codes:
        return None
    code = code_of(codes)
    return StationOutcome(code, record["errors"].get(station) if code == Code.FAILED else None)


def code_of(codes: Sequence[str]) -> str:
    """Return the code of what became of a station, given those of each message that names it, in order.

    The latest message counts; where nothing has come of that, an older one's result does, if no newer outcome is there
    (CONTRACT 7).
    """
    code = codes[-1]
    if code in _NOTHING:
        newest = next((one for one in reversed(codes) if one not in _NOTHING), ABSENT)
        code = newest if newest == Code.RESULT else code
    return code


def outcome_in_decision(decision: Decision, station: str, *, skipped: bool) -> StationOutcome | None:
    """Return what became of a station; None where it was not expected. `skipped`: if it is missing, for that reason."""
    if station not in decision.expected:
        return None
    if station in decision.empty:
        return StationOutcome(Code.EMPTY)
    if station in decision.missing:
        return StationOutcome(Code.SKIPPED if skipped else ABSENT)
    error = dict(decision.failed).get(station)
    return StationOutcome(Code.RESULT) if error is None else StationOutcome(Code.FAILED, error)
