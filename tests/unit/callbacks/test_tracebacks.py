"""Tracebacks are those of Python's own module, whatever was raised, and however often."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from app.callbacks import tracebacks
from app.callbacks.tracebacks import print_error


class OwnError(Exception):
    """An error of a user's."""


def fails(kind: type[BaseException] = ValueError, *given: Any) -> None:
    raise kind(*given)


def one_of_two_on_a_line(first: bool) -> Any:
    nothing: dict[int, int] = {}
    return nothing[5] if first else [*nothing][5]


def recursive(depth: int) -> None:
    if depth:
        recursive(depth - 1)
    fails(OwnError, "deep")


def chained() -> None:
    try:
        fails()
    except ValueError as error:
        raise OwnError from error


def in_a_handler() -> None:
    try:
        fails()
    except ValueError:
        one_of_two_on_a_line(first=True)


def noted() -> None:
    error = OwnError("several\nlines")
    error.add_note("with a note")
    raise error


def misspelt() -> None:
    tracebacks.print_eror  # type: ignore[attr-defined] # noqa: B018


def of_source(source: str) -> Callable[[], None]:
    return lambda: exec(compile(source, "<made>", "exec"), {})  # noqa: S102 - code of the test's own


RAISES: list[Callable[[], None]] = [
    fails,
    lambda: fails(OwnError),
    lambda: fails(OwnError, "several\nlines"),
    lambda: fails(KeyError, "key"),
    lambda: fails(SystemExit, 3),
    lambda: fails(ExceptionGroup, "many", [ValueError("one")]),
    lambda: one_of_two_on_a_line(first=True),
    lambda: one_of_two_on_a_line(first=False),
    lambda: recursive(0),
    lambda: recursive(9),
    lambda: recursive(90),
    chained,
    in_a_handler,
    noted,
    misspelt,
    of_source("1 / 0"),
    of_source("x = (1 +"),
    of_source("nobody_knows"),
    of_source("import nobody_knows"),
]


@pytest.mark.parametrize("raises", RAISES)
def test_a_traceback_is_that_of_the_module_each_time(raises: Callable[[], None]) -> None:
    for _ in range(3):
        with pytest.raises(BaseException) as caught:  # noqa: PT011 - of any kind
            raises()
        assert print_error(caught.value) == "".join(traceback.format_exception(caught.value))


def test_an_error_that_was_never_raised_has_no_places() -> None:
    assert print_error(OwnError("x")) == "".join(traceback.format_exception(OwnError("x")))


def test_a_limit_of_tracebacks_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "tracebacklimit", 1, raising=False)
    with pytest.raises(OwnError) as caught:
        recursive(0)
    assert print_error(caught.value) == "".join(traceback.format_exception(caught.value))


def test_a_place_is_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = 0

    def counted(*given: Any) -> list[str]:
        nonlocal printed
        printed += 1
        return ["place\n"]

    monkeypatch.setattr(tracebacks, "_places", {})
    monkeypatch.setattr(traceback, "format_tb", counted)
    for _ in range(9):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - which one is no matter
            fails()
        print_error(caught.value)
    assert printed == 2  # here, and where it is raised


def test_few_places_are_kept_of_code_that_is_always_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracebacks, "_MOST_PLACES", 10)
    for number in range(50):
        with pytest.raises(ZeroDivisionError) as caught:
            of_source(f"{number} / 0")()
        assert print_error(caught.value) == "".join(traceback.format_exception(caught.value))
        assert len(tracebacks._places) <= 10
