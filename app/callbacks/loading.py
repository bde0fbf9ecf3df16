"""The user's functions: found by name, looked at, and called in threads."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import functools
import importlib
import inspect
from collections.abc import AsyncIterator, Callable
from enum import Enum
from types import ModuleType
from typing import Any

from app.callbacks.executors.threads import ThreadPool
from app.callbacks.outcome import failed

__all__ = [
    "ContextBy",
    "FunctionError",
    "OutOfTimeError",
    "ThreadCaller",
    "is_async",
    "load_function",
    "takes_context",
    "time_limit",
]

_CONTEXT_POSITION = 3


class FunctionError(ValueError):
    """A setting that should name a function doesn't; the text names the setting and says what to do."""


def load_function(spec: str, setting: str) -> Callable[..., Any]:
    """The function that a setting names.

    Args:
        spec: `package.module:function`; the part after the colon may be dotted, such as `models:Load.predict`.
        setting: the name of the setting, for error texts, such as `AGG_CALLBACK`.

    Raises:
        FunctionError: the form is wrong, the module can't be imported, or there is no such callable in it.
    """
    where = f"{setting}={spec}"
    module_name, colon, attribute = spec.strip().partition(":")
    parts = attribute.split(".")
    if not colon or not all(module_name.split(".")) or not all(part.isidentifier() for part in parts):
        message = f"{where}: this is not of the form package.module:function, such as models.load:callback"
        raise FunctionError(message)
    found: Any = _import(module_name, where)
    path = module_name
    for separator, part in zip(":" + "." * len(parts), parts, strict=False):
        found = _attribute(found, part, path, where)
        path = f"{path}{separator}{part}"
    if not callable(found):
        message = f"{where}: this is no function, it is of type {type(found).__name__}; name a `def` or an `async def`"
        raise FunctionError(message)
    function: Callable[..., Any] = found
    return function


def _import(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            message = (
                f"{where}: there is no module {error.name}; start the worker in the folder that holds it, "
                f"put that folder on PYTHONPATH, or install the package"
            )
        else:
            message = (
                f"{where}: importing {name} failed with {failed(error).value}; "
                f"`python -c 'import {name}'` shows where, and must work before the worker can start"
            )
        raise FunctionError(message) from error


def _attribute(owner: object, name: str, path: str, where: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError as error:
        public = [other for other in dir(owner) if not other.startswith("_")]
        close = difflib.get_close_matches(name, public, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "define it there, or correct the setting"
        message = f"{where}: {path} has no attribute {name}; {hint}"
        raise FunctionError(message) from error


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a call of it makes a coroutine: an `async def`, a partial of one, an object whose `__call__` is one."""
    while isinstance(function, functools.partial):
        function = function.func
    call = inspect.getattr_static(type(function), "__call__", None)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


class ContextBy(Enum):
    """How a result handler takes its context."""

    NOTHING = "nothing"
    POSITION = "position"
    KEYWORD = "keyword"


def takes_context(function: Callable[..., Any]) -> ContextBy:
    """How a result handler takes its context: by a third positional parameter, or by a keyword-only `context`.

    `*args` and `**kwargs` count as neither, nor does a `context` that a `functools.partial` has bound already.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some built-in functions have no signature
        return ContextBy.NOTHING
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if sum(parameter.kind in positional for parameter in parameters) >= _CONTEXT_POSITION:
        return ContextBy.POSITION
    bound = function.keywords if isinstance(function, functools.partial) else {}
    keywords = {parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY}
    return ContextBy.KEYWORD if "context" in keywords - bound.keys() else ContextBy.NOTHING


class OutOfTimeError(TimeoutError):
    """A call did not end within its time limit. A TimeoutError of the function's own is not one."""


@contextlib.asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[None]:
    """End what stands in it after so many seconds, and contain what must not get out of a user's function.

    Raises:
        OutOfTimeError: the time is up.
        RuntimeError: it raised SystemExit, KeyboardInterrupt, a cancellation of its own or the like.
        Exception: what it raised.
    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if limit.expired():
            raise OutOfTimeError from error
        raise
    except Exception:
        raise
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, GeneratorExit) or (
            isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling()
        ):
            raise
        raise _contained_error(error) from error


class ThreadCaller:
    """Calls `def` functions in a few daemon threads of its own, each call with a time limit."""

    def __init__(self, name: str = "function", *, size: int = 8) -> None:
        """No thread is started before the first call.

        Args:
            name: of the threads.
            size: calls at once; further ones wait, and their time limit starts when their turn comes.
        """
        self._pool = ThreadPool(name, keep=size)
        self._places = asyncio.Semaphore(size)

    @property
    def busy(self) -> int:
        """Calls that run in a thread now and are awaited."""
        return self._pool.busy

    @property
    def calls(self) -> frozenset[object]:
        """Those calls, an object for each, to tell one from another."""
        return self._pool.calls

    async def call(self, function: Callable[..., Any], *args: Any, timeout: float) -> Any:  # noqa: ASYNC109 - part of the call
        """Call the function in a thread; if it returns an awaitable, await that here.

        Args:
            function: what to call.
            args: with what.
            timeout: seconds from the start of the call.

        Raises:
            OutOfTimeError: it has not returned by then; its thread is abandoned and replaced.
            RuntimeError: it raised SystemExit, KeyboardInterrupt or the like, which must not end the worker.
            Exception: what the function raised.
        """
        async with self._places, time_limit(timeout):
            value = await self._pool.run(_contained, function, args)
            return await value if inspect.isawaitable(value) else value

    def close(self) -> None:
        """Let the threads end; those that hang are left behind."""
        self._pool.close()


def _contained(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    try:
        return function(*args)
    except Exception:
        raise
    except BaseException as error:
        raise _contained_error(error) from error


def _contained_error(error: BaseException) -> RuntimeError:
    return RuntimeError(f"the function raised {failed(error).value}, which must not end the worker")
