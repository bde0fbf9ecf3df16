"""Columns as numpy arrays (`AGG_INPUT=numpy`), made of the lists: what these hold, the arrays hold, each time anew.

| the column | its array |
| --- | --- |
| `sendTime` | `datetime64[s]`, T; the local time that the text has, NaT for None |
| numbers, also with gaps, or gaps alone | `float64`; NaN for None |
| true and false, without gaps | `bool` |
| ids (`gunNo`, `hostCode`, ...), texts, all else; integers that float64 does not hold | `object` |

Gun lists are T x G. The dtype of numbers does not depend on whether they happen to be whole: a model that was fitted
to floats would get integers in another batch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.inputs.alignment import Alignment, align
from app.inputs.gap_filling import NUMBERS_AND_GAPS
from app.inputs.grouping import STATION_ID_KEYS
from app.inputs.guns import RESERVED
from app.inputs.layouts import Columns
from app.inputs.window_alignment import align_window
from tables.context import Record
from tables.storage.exact_json import ID_FIELDS
from tables.storage.packing import Columnar
from tables.storage.window import Content

Array = NDArray[Any]
ArrayColumns = dict[str, Array]
"""Name -> array of T (`sendTime` and scalars), of G (`gunNo`, `hostCode`), or of T x G (gun lists)."""

_EXACT: Final = 2**53  # integers below are floats, too
_WORTH_KEEPING: Final = 32  # points, from which on their times are remembered
_MOST_TIMES: Final = 16  # windows of different lengths, whose times are remembered
_FLOATS: Final = frozenset({float})
_TRUTH: Final = frozenset({bool})


class ArrayMaker:
    """Makes arrays of columns. Nothing that it returns is anybody else's."""

    def __init__(self) -> None:
        # By the number of points. Those of one station are mostly those of the next.
        self._times: dict[int, tuple[list[str | None], Array]] = {}

    def align(
        self,
        records: Sequence[Record],
        alignment: Alignment,
        *,
        id_keys: Sequence[str] = STATION_ID_KEYS,
        latest: float = math.inf,
    ) -> ArrayColumns:
        """Turn records into arrays, as `app.inputs.alignment.align` turns them into lists; it raises what that does."""
        columns = align(records, alignment, id_keys=id_keys, latest=latest)
        return self.arrays(columns, _gun_lists(records))

    def align_window(self, content: Content, alignment: Alignment) -> ArrayColumns:
        """Turn a window into arrays, as `app.inputs.window_alignment.align_window` turns it into lists."""
        records = content.records
        guns = records.gun_fields or () if isinstance(records, Columnar) else _gun_lists(records)
        return self.arrays(align_window(content, alignment), guns)

    def arrays(self, columns: Columns, gun_fields: Collection[str]) -> ArrayColumns:
        """Turn columns into arrays; `gun_fields` are the names in `gunPower`, whose columns have T rows of G values."""
        made: ArrayColumns = {}
        for name, values in columns.items():
            if name == "sendTime":
                made[name] = self._moments(values)
            elif name in ID_FIELDS:
                made[name] = _objects(values)
            elif name in gun_fields and name not in RESERVED:
                made[name] = _matrix(values, len(columns["gunNo"]))
            else:
                made[name] = _series(values)
        return made

    def _moments(self, texts: list[str | None]) -> Array:
        count = len(texts)
        known = self._times.get(count)
        if known is not None and known[0] == texts:
            return known[1].copy()
        moments = np.array(texts, dtype="datetime64[s]")
        if count >= _WORTH_KEEPING:
            if len(self._times) == _MOST_TIMES:
                self._times.clear()
            self._times[count] = (texts, moments.copy())
        return moments


def _gun_lists(records: Iterable[Record]) -> Collection[str]:
    """Return the names of all fields of `gunPower`."""
    every = [record.get("gunPower") for record in records]
    return {name for gun_power in every if type(gun_power) is dict for name in gun_power}


def _series(values: list[Any]) -> Array:
    kinds = {*map(type, values)}
    if kinds == _FLOATS:  # most columns
        return np.fromiter(values, dtype=np.float64, count=len(values))
    numbers = _numbers(values, kinds) if kinds <= NUMBERS_AND_GAPS else None
    if numbers is not None:
        return numbers
    return np.array(values, dtype=np.bool_) if kinds == _TRUTH else _objects(values)


def _matrix(rows: list[Any], width: int) -> Array:
    # Where an older record that has left the window had a gun list of the name of a field, it is that field.
    if {*map(type, rows)} != {list} or {*map(len, rows)} != {width}:
        return _series(rows)
    cells = [*chain.from_iterable(rows)]
    return (_series(cells) if cells else np.empty(0)).reshape(len(rows), width)


def _numbers(values: list[Any], kinds: set[type]) -> Array | None:
    """Return numbers as float64, NaN for None; None where an integer is among them that float64 does not hold."""
    try:
        numbers = np.array(values, dtype=np.float64)
    except OverflowError:
        return None
    if int in kinds and (np.abs(numbers) >= _EXACT).any():
        exact = all(type(value) is not int or int(float(value)) == value for value in values)
        return numbers if exact else None
    return numbers


def _objects(values: list[Any]) -> Array:
    """Return values as they are; numpy would make a further dimension of lists among them."""
    return np.fromiter(values, dtype=object, count=len(values))
