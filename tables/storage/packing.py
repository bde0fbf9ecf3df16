"""Records and numbers side by side, as small JSON: columns in place of objects, runs in place of numbers. Pure.

Records of the same fields are kept as columns, and what is the same in all of them once. That takes about the bytes of
the numbers in them, is read at the speed of orjson, and needs no further step to become the columns of a callback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, repeat
from operator import itemgetter, sub
from typing import Any, Final

Record = dict[str, Any]

_GUNS: Final = "gunPower"
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_FEWEST: Final = 2  # records that are worth columns


@dataclass(frozen=True, slots=True)
class Columnar:
    """Records of the same fields, by field.

    Attributes:
        fields: the names of the records' fields, in their order.
        gun_fields: those of their `gunPower`; None where they have none, or it is no object in all of them.
        columns: for each field, but for a `gunPower` that is taken apart, a value of each record.
        guns: the same for each field of `gunPower`.
    """

    fields: tuple[str, ...]
    gun_fields: tuple[str, ...] | None
    columns: dict[str, list[Any]]
    guns: dict[str, list[Any]]

    def records(self, count: int) -> list[Record]:
        """Return so many records again."""
        columns = self.columns
        if self.gun_fields is not None:
            columns = {**columns, _GUNS: _rows(self.gun_fields, self.guns, count)}
        return _rows(self.fields, columns, count)

    def is_like(self, other: Columnar) -> bool:
        """Return whether these are records of the same fields."""
        return self.fields == other.fields and self.gun_fields == other.gun_fields

    def cut(self, first: int) -> Columnar:
        """Return it without the records before `first`."""
        if not first:
            return self
        columns, guns = ({name: values[first:] for name, values in one.items()} for one in (self.columns, self.guns))
        return Columnar(self.fields, self.gun_fields, columns, guns)

    def pick(self, places: Sequence[int]) -> list[Record]:
        """Return the records at these places, ascending."""
        columns, guns = (
            {name: [values[place] for place in places] for name, values in one.items()}
            for one in (self.columns, self.guns)
        )
        return Columnar(self.fields, self.gun_fields, columns, guns).records(len(places))


def _rows(fields: Sequence[str], columns: dict[str, list[Any]], count: int) -> list[Record]:
    if not fields:
        return [{} for _ in range(count)]
    return [dict(zip(fields, row, strict=True)) for row in zip(*map(columns.__getitem__, fields), strict=True)]


def transposed(records: Sequence[Record]) -> Columnar | None:
    """Return records, at least one, by field; None where they have not the same fields in the same order."""
    fields = tuple(records[0])
    if not fields or any(tuple(record) != fields for record in records):
        return None
    # An itemgetter of a single name returns no tuple, so the first one is there twice.
    values = zip(*map(itemgetter(*fields, fields[0]), records), strict=True)
    columns = {name: [*column] for name, column in zip(fields, values, strict=False)}
    guns = columns.get(_GUNS)
    if guns is None or {*map(type, guns)} != {dict}:
        return Columnar(fields, None, columns, {})
    inner = transposed(guns)
    if inner is None:
        return Columnar(fields, None, columns, {})
    if inner.gun_fields is not None:  # a gunPower in a gunPower is no list of guns
        return None
    del columns[_GUNS]
    return Columnar(fields, inner.fields, columns, inner.columns)


def pack(records: Columnar | Sequence[Record]) -> Any:
    """Return records, as they are or by field, in a smaller form, for JSON."""
    if isinstance(records, Columnar):
        return _columns(records)
    columnar = transposed(records) if len(records) >= _FEWEST else None
    return [*records] if columnar is None else _columns(columnar)


def _columns(columnar: Columnar) -> Any:
    guns = columnar.gun_fields
    return {
        "f": [[name, _column(columnar.columns.get(name))] for name in columnar.fields],
        "g": None if guns is None else [[name, _column(columnar.guns[name])] for name in guns],
    }


def _column(values: list[Any] | None) -> Any:
    """Return a column, or what is the same in all of it; None for a gunPower that is taken apart."""
    if values is None or not _is_one(values):
        return values
    return {"k": values[0]}


def _is_one(values: list[Any]) -> bool:
    """Return whether all values are the same, types included."""
    first = values[0]
    kind = type(first)
    if values[-1] != first:  # most that are not
        return False
    if values.count(first) != len(values) or {*map(type, values)} != {kind}:
        return False
    return kind in _PLAIN or (kind is list and {str}.issuperset(map(type, chain.from_iterable(values))))


def unpack(packed: Any, count: int) -> Columnar | list[Record]:
    """Read back `pack` of so many records.

    Raises:
        ValueError: It is not `pack` of so many; like TypeError and LookupError.
    """
    if type(packed) is list:
        if len(packed) != count or not {dict}.issuperset(map(type, packed)):
            raise ValueError(_NOT_OURS)
        return packed
    fields, guns = packed["f"], packed["g"]
    columns = {name: _values(column, count) for name, column in fields if column is not None}
    of_guns = {name: _values(column, count) for name, column in guns or ()}
    gun_fields = None if guns is None else tuple(of_guns)
    return Columnar(tuple([name for name, _ in fields]), gun_fields, columns, of_guns)


_NOT_OURS: Final = "records of another number or kind than was announced"


def _values(column: Any, count: int) -> list[Any]:
    if type(column) is dict:
        return [column["k"]] * count
    if type(column) is not list or len(column) != count:
        raise ValueError(_NOT_OURS)
    return column


def joined(parts: Sequence[Columnar | list[Record]]) -> Columnar | None:
    """Return parts one behind the other; None where they have not the same fields."""
    whole = [part for part in parts if isinstance(part, Columnar)]
    first = whole[0] if whole else None
    if first is None or len(whole) < len(parts) or not all(map(first.is_like, whole)):
        return None
    if len(whole) == 1:
        return first
    columns = {name: [*chain.from_iterable([part.columns[name] for part in whole])] for name in first.columns}
    guns = {name: [*chain.from_iterable([part.guns[name] for part in whole])] for name in first.guns}
    return Columnar(first.fields, first.gun_fields, columns, guns)


# -- whole numbers -----------------------------------------------------------------------------------------------------


def pack_numbers(numbers: Sequence[int]) -> list[Any]:
    """Return whole numbers, at least one, as runs `[first, step, count]`, or as the first and the steps after it."""
    steps = [*map(sub, numbers[1:], numbers)]
    if len(set(steps)) <= 1:
        return [[numbers[0], steps[0] if steps else 0, len(numbers)]]
    runs: list[Any] = []
    start = 0
    while start < len(numbers):
        end = start + 1
        if end < len(numbers):
            step = steps[start]
            while end < len(numbers) and steps[end - 1] == step:
                end += 1
        runs.append([numbers[start], steps[start] if end - start > 1 else 0, end - start])
        start = end
        if 3 * len(runs) > len(numbers):
            return [numbers[0], *steps]
    return runs


def unpack_numbers(packed: Any) -> list[int]:
    """Read back `pack_numbers`; raises ValueError, TypeError or LookupError where it is none."""
    if type(packed[0]) is int:
        if not {int}.issuperset(map(type, packed)):
            raise ValueError(_NOT_OURS)
        return [*accumulate(packed)]
    numbers: list[int] = []
    for start, step, count in packed:
        numbers += range(start, start + step * count, step) if step else repeat(start, count)
    return numbers
