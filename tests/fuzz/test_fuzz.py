"""A short run of `make fuzz`, the same each time: what it does not find, the long one may."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import mutate
from tests.fuzz.targets import TARGETS, Target

LONGEST = 2048


def examples(target: Target) -> settings:
    """So many that it takes a second or two, the same at each run."""
    return settings(max_examples=200 if target.weight >= 0.1 else 20, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_any_bytes_are_refused_as_documented_or_come_back_whole(target: Target) -> None:
    @examples(target)
    @given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
    def check(data: bytes) -> None:
        target.check(data)

    check()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_is_nearly_right_is_refused_as_documented_or_comes_back_whole(target: Target) -> None:
    @examples(target)
    @given(st.sampled_from(target.seeds), st.lists(st.integers(0, 2**32), max_size=4))
    def check(data: bytes, changes: list[int]) -> None:
        for number in changes:
            data = mutate(data, Random(number), LONGEST)  # noqa: S311 - a seed makes it repeatable
        target.check(data)

    check()
