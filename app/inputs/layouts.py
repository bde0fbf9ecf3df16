"""The quick way from records to columns: what records of one layout have in common is found out once.

The plants send the same fields, guns and times for station after station. So a record's fields and guns are compared
with those before, and columns are taken whole. Whatever is not exactly as expected gives None here, and takes the
general way (`app.inputs.alignment`), which takes two to four times as long and is the reference: both give the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from types import NoneType
from typing import Any, Final, NamedTuple

from app.inputs.gap_filling import NUMBERS, NUMBERS_AND_GAPS, Timeline, fill_series, gap_alone, own, own_all
from app.inputs.grouping import STATION_ID_KEYS, is_id
from app.inputs.guns import MAX_CELLS, POWER, RESERVED, fill_matrix
from app.inputs.timestamps import TIME_KEYS, Moment
from app.settings.enums import Fill
from tables.context import Record

Columns = dict[str, list[Any]]
"""Name -> T values (`sendTime` and scalars), G values (`gunNo`, `hostCode`) or T rows of G values (gun lists)."""

NO_SCALARS: Final = frozenset({*STATION_ID_KEYS, *TIME_KEYS, "gunPower"})
"""The fields of a record that are no columns of their own, whatever holds its station id."""

# What is remembered must not fill memory, whatever the records are.
_MOST_LAYOUTS: Final = 64
_MOST_FIELDS: Final = 256
_MOST_CHARACTERS: Final = 8192  # of all names of a layout, or of all guns

_HOSTS: Final = frozenset({str, NoneType})


class Layout:
    """The fields of a record and of its `gunPower`, and what follows from them.

    Attributes:
        fields: the record's fields, in their order.
        gun_fields: those of its `gunPower`, in their order; None where it has none.
        id_keys: the keys that may hold its station id.
        is_plain: false where such fields ask for the general way.
    """

    __slots__ = (
        "_cells_of",
        "_gun_nos",
        "_id_field",
        "_lists",
        "_names",
        "_values_of",
        "fields",
        "gun_fields",
        "id_keys",
        "is_plain",
    )

    def __init__(self, fields: list[str], gun_fields: list[str] | None, id_keys: Sequence[str]) -> None:
        self.fields = fields
        self.gun_fields = gun_fields
        self.id_keys = id_keys
        no_scalars = NO_SCALARS
        self._id_field: str | None = None
        if id_keys is not STATION_ID_KEYS:
            self._id_field = next((key for key in id_keys if key in fields), None)
            no_scalars = no_scalars.union([self._id_field] if self._id_field else ())
        if gun_fields is not None:
            no_scalars = no_scalars.union(["hostCode"])
        self._names = [name for name in fields if name not in no_scalars]
        self._lists = [name for name in gun_fields or () if name != "gunNo"]
        clash = not {"gunNo", *self._lists}.isdisjoint(self._names) or not RESERVED.isdisjoint(self._lists)
        self.is_plain = gun_fields is None or ("gunNo" in gun_fields and not clash)
        # An itemgetter of a single name returns no tuple, so the first one is there twice.
        self._values_of = itemgetter(*fields, *fields[:1])
        self._cells_of = itemgetter(*(gun_fields or fields), *(gun_fields or fields)[:1])
        self._gun_nos: list[str] = []  # the last ones that were found to be texts, each once

    def one(self, record: Record, time: str | None, fill: Fill) -> Columns | None:
        """Align a single record of this layout, whose point is `time`; None when it is not faultless."""
        if self._id_field is not None and not is_id(record[self._id_field]):
            return None
        columns: Columns = {"sendTime": [time]}
        if self.gun_fields is not None:
            gun_power, host = record["gunPower"], record.get("hostCode")
            gun_nos = gun_power["gunNo"]
            if type(host) not in _HOSTS or not (gun_nos == self._gun_nos or self._are_guns(gun_nos)):
                return None
            count = len(gun_nos)
            columns["gunNo"], columns["hostCode"] = gun_nos.copy(), [host] * count
            for name in self._lists:
                cells = gun_power[name]
                if type(cells) is not list or len(cells) != count or not NUMBERS.issuperset(map(type, cells)):
                    return None
                columns[name] = [cells.copy()]
        for name in self._names:
            value = record[name]
            kind = type(value)
            if kind is float or kind is int:
                columns[name] = [value]
            elif value is None:
                columns[name] = [gap_alone(fill)]
            elif name.startswith(POWER):
                return None
            else:
                columns[name] = [value if kind is str else own(value)]
        return columns

    def many(self, records: Sequence[Record], timeline: Timeline) -> Columns | None:
        """Align records, the first of which is of this layout, each at a point of its own.

        None when they are not faultless, have other fields than the first, or other guns.
        """
        fields = _by_field(self.fields, self._values_of, records)
        if fields is None:
            return None
        guns = None
        if self.gun_fields is not None:
            every = fields["gunPower"]
            alike = {*map(type, every)} == {dict}
            guns = _by_field(self.gun_fields, self._cells_of, every) if alike else None
            if guns is None:
                return None
        return self.by_field(fields, guns, timeline)

    def by_field(
        self, fields: Mapping[str, Sequence[Any]], guns: Mapping[str, Sequence[Any]] | None, timeline: Timeline
    ) -> Columns | None:
        """Align records of this layout, each at a point of its own, whose values are given by field.

        `guns` are those of `gunPower`, None where there is none. None when they are not faultless, or of other guns.
        """
        if len(timeline.points) * len(self.fields) > MAX_CELLS:
            return None
        if self._id_field is not None and not _are_ids(fields[self._id_field]):
            return None
        columns: Columns = {"sendTime": [*timeline.points]}
        if guns is None:
            if "gunPower" in fields and {*map(type, fields["gunPower"])} != {NoneType}:
                return None
        else:
            of_guns = self._guns(guns, fields.get("hostCode", (None,)), timeline)
            if of_guns is None:
                return None
            columns.update(of_guns)
        for name in self._names:
            values = fields[name]
            kinds = {*map(type, values)}
            if timeline.is_whole and kinds <= NUMBERS:
                columns[name] = [*values]
                continue
            if name.startswith(POWER) and not kinds <= NUMBERS_AND_GAPS:
                return None
            columns[name] = own_all(fill_series(timeline.spread(values), timeline))
        return columns

    def _guns(self, fields: Mapping[str, Sequence[Any]], hosts: Sequence[Any], timeline: Timeline) -> Columns | None:
        """Return the columns of the same guns in all records; None when they are not the same, or not faultless."""
        host = hosts[0]
        if type(host) not in _HOSTS or hosts.count(host) != len(hosts):
            return None
        gun_nos = fields["gunNo"]
        if not (gun_nos[0] == self._gun_nos or self._are_guns(gun_nos[0])) or gun_nos.count(gun_nos[0]) != len(gun_nos):
            return None
        count = len(gun_nos[0])
        if len(timeline.points) * count * len(self._lists) > MAX_CELLS:
            return None
        columns: Columns = {"gunNo": gun_nos[0].copy(), "hostCode": [host] * count}
        for name in self._lists:
            matrix = _matrix(name, fields[name], count, timeline)
            if matrix is None:
                return None
            columns[name] = matrix
        return columns

    def _are_guns(self, gun_nos: Any) -> bool:
        """Return whether it is a list of texts, each once. What equals the last one is: only texts equal texts."""
        if type(gun_nos) is not list or not {str}.issuperset(map(type, gun_nos)) or len({*gun_nos}) != len(gun_nos):
            return False
        if sum(map(len, gun_nos)) <= _MOST_CHARACTERS:
            self._gun_nos = gun_nos.copy()
        return True


def _are_ids(values: Sequence[Any]) -> bool:
    """Return whether all values, at least one, are ids; of one station they mostly are the same text."""
    first = values[0]
    if type(first) is str and values.count(first) == len(values):  # only texts equal texts
        return is_id(first)
    return all(map(is_id, values))


def _matrix(name: str, rows: Sequence[Any], count: int, timeline: Timeline) -> list[list[Any]] | None:
    """Align one list of the same guns in all records: `rows` of `count` values; None when it is not faultless."""
    if {*map(type, rows)} != {list} or {*map(len, rows)} != {count}:
        return None
    kinds = {*map(type, chain.from_iterable(rows))}
    if timeline.is_whole and kinds <= NUMBERS:
        return [*map(list.copy, rows)]
    is_power = name.startswith(POWER)
    if is_power and not kinds <= NUMBERS_AND_GAPS:
        return None
    matrix = timeline.spread([*map(list.copy, rows)])
    filled = fill_matrix([[None] * count if row is None else row for row in matrix], timeline)
    return filled if is_power else own(filled)


def _by_field(names: Sequence[str], values_of: Any, records: Sequence[Record]) -> dict[str, tuple[Any, ...]] | None:
    """Return the values of each field, in the order of the records; None when they have other fields than these."""
    try:
        columns = zip(*map(values_of, records), strict=True)
    except KeyError:
        return None
    # Each has all of the fields. Where they are as many, it has no others.
    return dict(zip(names, columns, strict=False)) if {*map(len, records)} == {len(names)} else None


class Points(NamedTuple):
    """The times of the records of a station, and where these stand."""

    times: list[Any]
    """`sendTime` of each record, as it came."""
    newest: float
    """The latest of them, Unix seconds."""
    kept: list[bool] | None
    """For each record whether it stands in the window; None: all do."""
    timeline: Timeline
    """Where those stand that do."""


class Memory:
    """The layouts and times of the records that were aligned last: those of the next are likely to be the same.

    Attributes:
        moment: the time of a single record, a text, as it came, and the moment that it is.
        points: the times of several records, and where these stand.
        texts: the times of a window, in Unix seconds, and their texts.
    """

    __slots__ = ("_last", "_layouts", "moment", "points", "texts")

    def __init__(self) -> None:
        self.texts: tuple[list[int], list[str]] | None = None
        self.moment: tuple[str, Moment] | None = None
        self.points: Points | None = None
        self._layouts: dict[tuple[Any, ...], Layout] = {}
        self._last = Layout(["stationId"], None, STATION_ID_KEYS)

    def layout(self, record: Record, id_keys: Sequence[str]) -> Layout | None:
        """Return the layout of a record; None where only the general way will do."""
        fields, gun_power = [*record], record.get("gunPower")
        if gun_power is None:
            gun_fields = None
        elif type(gun_power) is dict:
            gun_fields = [*gun_power]
        else:
            return None
        return self.layout_of(fields, gun_fields, id_keys)

    def layout_of(self, fields: list[str], gun_fields: list[str] | None, id_keys: Sequence[str]) -> Layout | None:
        """Return the layout of records with these fields, and these of their `gunPower`; None as above."""
        last = self._last
        if last.fields != fields or last.gun_fields != gun_fields or last.id_keys is not id_keys:
            names = fields if gun_fields is None else fields + gun_fields
            if len(names) > _MOST_FIELDS or not fields or sum(map(len, names)) > _MOST_CHARACTERS:
                return None
            last = self._last = self._find(fields, gun_fields, id_keys)
        return last if last.is_plain else None

    def _find(self, fields: list[str], gun_fields: list[str] | None, id_keys: Sequence[str]) -> Layout:
        key = (tuple(fields), None if gun_fields is None else tuple(gun_fields), tuple(id_keys))
        found = self._layouts.get(key)
        if found is None:
            if len(self._layouts) == _MOST_LAYOUTS:
                self._layouts.clear()
            found = self._layouts[key] = Layout(fields, gun_fields, id_keys)
        return found
