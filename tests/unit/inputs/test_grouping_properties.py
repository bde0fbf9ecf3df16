"""A message is divided as its records are one by one: what came before a record changes nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from app.inputs.grouping import CONTEXT_ID_KEYS, STATION_ID_KEYS, Limits, SourceBatch, divide
from tables.context import EVERYONE
from tables.storage import exact_json
from tests.examples import examples

LATEST = 1_763_085_600.0  # 2025-11-14 10:00:00 in Shanghai
LIMITS = Limits(id_length=3)

ids = st.sampled_from(["A", "A", "B", "B", "7", 7, "", " ", "long", None, 7.5, True, ["A"]])
times = st.sampled_from(
    [
        *("2025-11-14 08:00:00", "2025-11-14 08:00:00", "2025-11-14 09:00:00", "2025-11-14T08:00:00Z"),
        *("2025-11-14 11:00:00", "never", "", None, 1_763_082_000, True, [1]),  # the first is later than `LATEST`
    ]
)
records = st.fixed_dictionaries({}, optional={"stationId": ids, "sendTime": times, "hostCode": ids, "timestamp": times})
EIGHT = st.just("2025-11-14 08:00:00")
usual = st.fixed_dictionaries({"stationId": st.sampled_from("AB"), "sendTime": EIGHT})
odd_ids = st.fixed_dictionaries({"stationId": ids, "sendTime": EIGHT})
odd_times = st.fixed_dictionaries(
    {"stationId": st.just("A"), "sendTime": st.just("never")}, optional={"timestamp": EIGHT}
)
elements: st.SearchStrategy[Any] = st.one_of(usual, odd_ids, odd_times, records, st.sampled_from([None, 1, "text", []]))


def divided(elements: list[Any], id_keys: Sequence[str], latest: float, *, for_everyone: bool) -> SourceBatch:
    return divide(
        *(exact_json.dumps(elements), lambda loaded: loaded, ZoneInfo("Asia/Shanghai"), id_keys),
        for_everyone=for_everyone,
        latest=latest,
        limits=LIMITS,
    )


@examples(300)
@given(
    st.lists(elements, max_size=8),
    st.sampled_from([STATION_ID_KEYS, CONTEXT_ID_KEYS]),
    st.sampled_from([math.inf, LATEST]),
    st.booleans(),
)
def test_records_are_divided_together_as_one_by_one(
    elements: list[Any], id_keys: Sequence[str], latest: float, for_everyone: bool
) -> None:
    every = [divided([element], id_keys, latest, for_everyone=for_everyone) for element in elements]
    timed: dict[str, list[Any]] = {}
    untimed: dict[str, list[Any]] = {}
    rejects = [reject for one in every for reject in one.rejects]
    order = dict.fromkeys(station for one in every for station in one.stations)
    for one in every:
        for station, own in one.stations.items():
            (untimed if one.timestamp is None else timed).setdefault(station, []).extend(own)

    batch = divided(elements, id_keys, latest, for_everyone=for_everyone)

    assert [*batch.stations] == [*order]
    assert batch.stations == {station: timed.get(station) or untimed[station] for station in order}
    assert batch.timestamp == max((one.timestamp for one in every if one.timestamp is not None), default=None)
    assert list(batch.rejects[: len(rejects)]) == rejects
    mixed = [(station, own) for station in untimed for own in untimed[station] if station in timed]
    assert [(reject.station_id, exact_json.loads(reject.record)) for reject in batch.rejects[len(rejects) :]] == mixed
    ahead = {station for one in every for station in one.unusable.ahead}
    assert set(batch.unusable.ahead) == ahead
    assert for_everyone or EVERYONE not in batch.stations
