from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.observability.counters import Histogram

durations = st.lists(st.floats(min_value=1e-8, max_value=1e6), min_size=1, max_size=60)


def of(*seconds: float) -> Histogram:
    histogram = Histogram()
    for one in seconds:
        histogram.observe(one)
    return histogram


@given(durations, st.floats(min_value=0, max_value=1))
def test_a_quantile_is_right_to_five_percent(seconds: list[float], q: float) -> None:
    exact = sorted(seconds)[max(1, math.ceil(q * len(seconds))) - 1]
    assert of(*seconds).quantile(q) == pytest.approx(exact, rel=0.0501)


@given(durations, durations)
def test_merging_is_counting_all_in_one(some: list[float], others: list[float]) -> None:
    merged = of(*some)
    merged.merge(of(*others))
    whole = of(*some, *others)
    assert merged.counts == whole.counts
    assert merged.count == len(some) + len(others)


@given(durations)
def test_it_comes_back_from_json(seconds: list[float]) -> None:
    histogram = of(*seconds)
    read = Histogram.from_json(json.loads(json.dumps(histogram.to_json())))
    assert read.counts == histogram.counts


def test_an_empty_one_has_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None
    assert Histogram().count == 0


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_duration_counts_as_none(seconds: float) -> None:
    histogram = of(seconds)
    assert histogram.count == 1
    assert histogram.quantile(1.0) == pytest.approx(0.0, abs=1e-8)


def test_it_tells_how_many_are_at_most_as_long() -> None:
    assert of(0.001, 0.02, 0.02, 3.0).up_to([0.0001, 0.01, 0.1, 5.0]) == [0, 1, 3, 4]


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 100), max_size=30))
def test_many_durations_at_once_are_counted_like_one_after_the_other(durations: list[float]) -> None:
    single, together = Histogram(), Histogram()
    for seconds in durations:
        single.observe(seconds)
    together.observe_all(durations)
    assert together.to_json() == single.to_json()
