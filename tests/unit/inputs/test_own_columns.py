"""Columns share nothing with the records that they are made of, nor with each other."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from app.inputs.alignment import Alignment, align
from app.settings.enums import Fill

HOURS = st.integers(0, 23).map(lambda hour: f"2025-11-14 {hour:02}:00:00")
NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)
GUNS = st.fixed_dictionaries(
    {"gunNo": st.just(["1", "2"]), "outputPowerPerGunAvg": st.just([1.0, 2.0])},
    optional={"plan": st.lists(NESTED, min_size=2, max_size=2)},
)
RECORDS = st.lists(
    st.fixed_dictionaries(
        {"stationId": st.just("A"), "sendTime": HOURS},
        optional={"a": NESTED, "b": NESTED, "hostCode": st.just("h"), "gunPower": GUNS},
    ),
    min_size=1,
    max_size=4,
)
ALIGNMENTS = st.builds(
    Alignment, st.just(ZoneInfo("Asia/Shanghai")), st.sampled_from(Fill), st.sampled_from([None, 3600]), st.none()
)


def containers(value: Any) -> Iterator[int]:
    """The identity of every list and object in a value, its own too."""
    if isinstance(value, dict | list):
        yield id(value)
        for item in value.values() if isinstance(value, dict) else value:
            yield from containers(item)


@given(RECORDS, ALIGNMENTS)
def test_no_list_and_no_object_of_the_columns_is_in_the_records_or_twice_in_the_columns(
    records: list[dict[str, Any]], alignment: Alignment
) -> None:
    before = copy.deepcopy(records)
    columns = align(records, alignment)
    made = list(containers(columns))
    assert set(made).isdisjoint(containers(records))
    assert len(made) == len(set(made))
    assert records == before
