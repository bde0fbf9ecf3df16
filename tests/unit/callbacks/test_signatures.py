"""Whether a function of the user's can be called as it will be."""

from __future__ import annotations

import functools
import inspect
import re
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from app.callbacks.signatures import WANTED, ContextBy, misfit, takes_context

CALLBACK = "AGG_CALLBACK"
BATCH = "AGG_BATCH_CALLBACK"
HANDLER = "AGG_RESULT_HANDLER"
STATION = "AGG_STATION_RESULT_HANDLER"


def passing(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that passes everything on."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def adding(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that adds an argument."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, session=1, **kwargs)

    return wrapper


def changing(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator with a signature of its own."""

    @functools.wraps(function)
    def wrapper(one: Any, two: Any) -> Any:
        return function(two)

    return wrapper


def none() -> None: ...
def one(station_id: str) -> None: ...
def two(station_id: str, module_input: object) -> None: ...
async def async_two(station_id: str, module_input: object) -> None: ...
def three(a: object, b: object, c: object) -> None: ...
def four(a: object, b: object, c: object, d: object) -> None: ...
def optional(a: object, b: object = 1, c: object = 2, d: object = 3) -> None: ...
def anything(*args: object, **kwargs: object) -> None: ...
def named(**kwargs: object) -> None: ...
def context_by_name(batch_id: str, results: object, *, context: object) -> None: ...
def other_by_name(batch_id: str, results: object, *, upload: object) -> None: ...
def other_by_default(batch_id: str, results: object, *, upload: object = None) -> None: ...
def handled(batch_id: str, results: object, context: object) -> None: ...
def with_session(station_id: str, module_input: object, session: object) -> None: ...
def generator(station_id: str, module_input: object) -> Iterator[int]:
    yield 1


async def async_generator(station_id: str, module_input: object) -> AsyncIterator[int]:
    yield 1


@types.coroutine
def old_coroutine(station_id: str, module_input: object) -> Iterator[None]:
    yield


class Model:
    """A model with methods of all kinds."""

    def method(self, station_id: str, module_input: object) -> None: ...

    def short(self, station_id: str) -> None: ...

    @staticmethod
    def static(station_id: str, module_input: object) -> None: ...

    @classmethod
    def of_class(cls, station_id: str, module_input: object) -> None: ...

    def generates(self, station_id: str, module_input: object) -> Iterator[object]:
        yield station_id, module_input


class Called(Model):
    """A model that is called itself."""

    def __call__(self, station_id: str, module_input: object) -> None: ...


class CalledWrong:
    """A model that is called with too little."""

    def __call__(self, station_id: str) -> None: ...


class Generates:
    """A model that generates."""

    def __call__(self, station_id: str, module_input: object) -> Iterator[object]:
        yield station_id, module_input


class Odd:
    """An object whose signature can't be had."""

    @property
    def __signature__(self) -> Any:
        raise SystemError

    def __call__(self, *args: object) -> None: ...


class Proxy:
    """An object that stands for another one, which is not there yet."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __call__(self, *args: object) -> None: ...


GOOD: list[tuple[str, Any]] = [
    *[(CALLBACK, function) for function in (two, async_two, optional, anything, old_coroutine, Odd(), Mock(), Proxy())],
    *[(CALLBACK, function) for function in (Model().method, Model.static, Model.of_class, Model().of_class, Called())],
    *[(CALLBACK, function) for function in (passing(two), passing(async_two), adding(with_session), changing(one))],
    *[(CALLBACK, function) for function in (passing(passing(two)), functools.lru_cache(two), functools.partial(two))],
    *[(CALLBACK, function) for function in (functools.partial(three, 1), functools.partial(three, c=1), print, max)],
    *[(CALLBACK, function) for function in (lambda a, b: (a, b), dict.get)],
    *[(BATCH, function) for function in (one, anything, optional, passing(one), CalledWrong(), Model().short, len)],
    *[(HANDLER, function) for function in (two, three, async_two, optional, anything, context_by_name)],
    *[(HANDLER, function) for function in (other_by_default, passing(three), passing(context_by_name), print)],
    *[(HANDLER, function) for function in (functools.partial(three, c=1), functools.partial(four, 1), changing(three))],
    *[(STATION, function) for function in (three, optional, anything, passing(three), functools.partial(four, 1))],
]
BAD: list[tuple[str, Any, str]] = [
    (CALLBACK, one, "one(station_id): too many positional arguments"),
    (CALLBACK, none, "none(): too many positional arguments"),
    (CALLBACK, lambda module_input, station_id: None, "its parameters are in the other order"),  # noqa: ARG005
    (CALLBACK, three, "three(a, b, c): missing a required argument: 'c'"),
    (CALLBACK, named, "named(**kwargs): too many positional arguments"),
    (CALLBACK, context_by_name, "(batch_id, results, *, context): missing a required"),
    (CALLBACK, passing(one), "one(station_id): too many positional arguments"),
    (CALLBACK, passing(passing(one)), "one(station_id): too many positional arguments"),
    (CALLBACK, functools.partial(changing(one), 1), "too many"),
    (CALLBACK, functools.partial(two, station_id="A"), "two(*, station_id='A', module_input): too many"),
    (CALLBACK, Model.method, "method(self, station_id, module_input): missing a required argument: 'module_input'"),
    (CALLBACK, Model().short, "short(station_id): too many"),
    (CALLBACK, CalledWrong(), "CalledWrong(station_id): too many"),
    (CALLBACK, Model, "this is a class"),
    (CALLBACK, dict, "this is a class"),
    (CALLBACK, generator, "a generator function"),
    (CALLBACK, async_generator, "an async generator function"),
    (CALLBACK, functools.partial(generator), "a generator function"),
    (CALLBACK, Model().generates, "a generator function"),
    (CALLBACK, Generates(), "a generator function"),
    (CALLBACK, len, "len(obj, /): too many"),
    (BATCH, two, "two(station_id, module_input): missing a required argument: 'module_input'"),
    (BATCH, none, "none(): too many"),
    (BATCH, Called, "this is a class"),
    (BATCH, async_generator, "an async generator function"),
    (HANDLER, one, "one(station_id): too many"),
    (HANDLER, four, "four(a, b, c, d): missing a required argument: 'd'"),
    (HANDLER, other_by_name, "upload"),
    (HANDLER, passing(one), "one(station_id): too many"),
    (HANDLER, Model, "this is a class"),
    (STATION, two, "two(station_id, module_input): too many"),
    (STATION, four, "four(a, b, c, d): missing a required argument: 'd'"),
    (STATION, generator, "a generator function"),
    (
        HANDLER,
        with_session,
        "its first parameter is station_id: AGG_STATION_RESULT_HANDLER is called as station_result_",
    ),
    (STATION, handled, "its first parameter is batch_id: AGG_RESULT_HANDLER is called as result_handler(b"),
]


def _id(value: object) -> str:
    """Name a case without the address of its function, which is another one in each process."""
    return value if isinstance(value, str) else re.sub(r" at 0x[0-9a-f]+| id='[0-9]+'", "", str(value))


@pytest.mark.parametrize(("setting", "function"), GOOD, ids=_id)
def test_what_can_be_called_passes(setting: str, function: Callable[..., Any]) -> None:
    assert misfit(function, setting) is None


@pytest.mark.parametrize(("setting", "function", "words"), BAD, ids=_id)
def test_what_can_not_is_told_with_the_signature_wanted_and_its_own(
    setting: str, function: Callable[..., Any], words: str
) -> None:
    problem = misfit(function, setting)
    assert problem is not None
    assert problem.startswith(f"it is called as {WANTED[setting]}")
    assert words in problem
    assert "\n" not in problem


def test_a_signature_is_shown_in_one_line_that_is_not_too_long() -> None:
    class Default:
        def __repr__(self) -> str:
            return "x\n" * 1_000

    def function(a: int, b: int, c: int, d: object = Default()) -> None: ...

    problem = misfit(function, CALLBACK)
    assert problem is not None
    assert "function(a, b, c, d=x x" in problem
    assert len(problem) < 400
    assert "\n" not in problem


def test_the_context_is_what_a_decorated_handler_takes_if_the_decorator_passes_it_on() -> None:
    assert takes_context(passing(three)) is ContextBy.POSITION
    assert takes_context(passing(context_by_name)) is ContextBy.KEYWORD
    assert takes_context(changing(three)) is ContextBy.NOTHING
    assert inspect.signature(changing(three)) == inspect.signature(three)
