"""The garbage collector stays away while a message is read, and comes back."""

from __future__ import annotations

import gc

import pytest

from app.inputs.grouping import uncollected


def test_nothing_is_collected_within_and_everything_is_again_afterwards() -> None:
    assert gc.isenabled()
    assert uncollected(gc.isenabled)() is False
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        uncollected(lambda number: 1 / number)(0)
    assert gc.isenabled()


def test_what_somebody_else_has_turned_off_stays_off() -> None:
    gc.disable()
    try:
        uncollected(list)()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_arguments_and_result_are_the_functions() -> None:
    assert uncollected(divmod)(7, 2) == (3, 1)
