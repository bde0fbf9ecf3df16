"""The signatures of the user's functions: how each is called, and whether it can be called so."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from app.words import Words, words

WANTED: Final = {
    "AGG_CALLBACK": "callback(station_id, module_input)",
    "AGG_BATCH_CALLBACK": "callback({station_id: module_input})",
    "AGG_RESULT_HANDLER": "result_handler(batch_id, batch_results_list[, context])",
    "AGG_STATION_RESULT_HANDLER": "station_result_handler(station_id, module_input, result)",
}
"""Setting -> the signature of the function that it names."""
_POSITIONAL: Final = {"AGG_BATCH_CALLBACK": 1, "AGG_STATION_RESULT_HANDLER": 3}  # arguments; of the others 2
_OTHER: Final = {  # setting -> the first parameter of the other handler, and that one's setting
    "AGG_RESULT_HANDLER": ("station_id", "AGG_STATION_RESULT_HANDLER"),
    "AGG_STATION_RESULT_HANDLER": ("batch_id", "AGG_RESULT_HANDLER"),
}
_CONTEXT_POSITION: Final = 3
_CONTEXT: Final = "context"
_BY_POSITION: Final = frozenset({inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD})
_SHOWN: Final = 200


class ContextBy(Enum):
    """Ways in which a result handler can take its context."""

    NOTHING = "nothing"
    POSITION = "position"
    KEYWORD = "keyword"


def takes_context(function: Callable[..., Any]) -> ContextBy:
    """Find out how a result handler takes its context.

    As its third positional parameter, if that is called `context` or has no default; else as a parameter `context`
    anywhere behind it. `*args` and `**kwargs` count as neither, nor does a `context` that a `functools.partial` has
    bound already.
    """
    third, names = _behind_two(function)
    if third and (third[0].name == _CONTEXT or (_CONTEXT not in names and third[0].default is third[0].empty)):
        return ContextBy.POSITION
    return ContextBy.KEYWORD if _CONTEXT in names else ContextBy.NOTHING


def unusual_context(function: Callable[..., Any]) -> str | None:
    """Return the parameter by which a result handler takes its context, if that has another name than `context`."""
    third, _ = _behind_two(function)
    by_another_name = takes_context(function) is ContextBy.POSITION and third[0].name != _CONTEXT
    return third[0].name if by_another_name else None


def _behind_two(function: Callable[..., Any]) -> tuple[list[inspect.Parameter], set[str]]:
    """Return the free parameters behind the first two: those with a position, and the names that can be given."""
    signature = _decorated(function) or _own(function)
    bound = function.keywords if isinstance(function, functools.partial) else {}
    every = [] if signature is None else signature.parameters.values()
    parameters = [parameter for parameter in every if parameter.name not in bound]
    third = [parameter for parameter in parameters if parameter.kind in _BY_POSITION][_CONTEXT_POSITION - 1 :]
    by_name = [parameter for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    by_name += [parameter for parameter in third if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY]
    return third, {parameter.name for parameter in by_name}


def _names(function: Callable[..., Any]) -> list[str]:
    """Return the names of its parameters; a decorator's own, which may call what it decorates in another way."""
    signature = _own(function)
    return [] if signature is None else list(signature.parameters)


def misfit(function: Callable[..., Any], setting: str) -> Words | None:
    """Return why a function can't be what the setting names; None if it can, or if that can't be seen.

    A decorator that passes on what it gets (`*args`) may add arguments of its own. So of what it decorates it only
    counts whether that takes what it is given, not what it wants beside that.
    """
    wanted = WANTED[setting]
    if inspect.isclass(function):
        return words(
            "it is called as {wanted}, but this is a class: name a function, an instance that can be called, or a "
            "method of one",
            "它以 {wanted} 调用，而这是一个类：请写函数、可调用的实例，或其方法",
            wanted=wanted,
        )
    if (kind := _generates(function)) is not None:
        return words(
            "it is called as {wanted} and gives one value, but this is {kind}: use return in place of yield",
            "它以 {wanted} 调用并返回一个值，而这是{kind}：请用 return 代替 yield",
            wanted=wanted,
            kind=kind,
        )
    arguments: list[object] = [None] * _POSITIONAL.get(setting, 2)
    keywords: dict[str, object] = {}
    if setting == "AGG_RESULT_HANDLER":
        context_by = takes_context(function)
        if context_by is ContextBy.POSITION:
            arguments.append(None)
        elif context_by is ContextBy.KEYWORD:
            keywords["context"] = None
    for signature, bind in (
        (_own(function), inspect.Signature.bind),
        (_decorated(function), inspect.Signature.bind_partial),
    ):
        if signature is None:
            continue
        try:
            bind(signature, *arguments, **keywords)
        except TypeError as error:
            return words(
                "it is called as {wanted}, but is {shown}: {error}",
                "它以 {wanted} 调用，而其签名为 {shown}：{error}",
                wanted=wanted,
                shown=_shown(function, signature),
                error=error,
            )
    return _misplaced(function, setting, len(arguments))


def _misplaced(function: Callable[..., Any], setting: str, arguments: int) -> Words | None:
    """Return why a function that can be called so is another one, by the names of its parameters; None if it is not."""
    wanted, names = WANTED[setting], _names(function)
    if setting == "AGG_CALLBACK" and names[:2] == ["module_input", "station_id"]:
        return words(
            "it is called as {wanted}, but its parameters are in the other order",
            "它以 {wanted} 调用，而其参数顺序相反",
            wanted=wanted,
        )
    first, other = _OTHER.get(setting, (None, ""))
    if arguments == _CONTEXT_POSITION and names[:1] == [first]:
        return words(
            "it is called as {wanted}, but its first parameter is {first}: {other} is called as {form}",
            "它以 {wanted} 调用，而其第一个参数是 {first}：以 {form} 调用的是 {other}",
            wanted=wanted,
            first=first,
            other=other,
            form=WANTED[other],
        )
    return None


def _own(function: Callable[..., Any], *, follow_wrapped: bool = False) -> inspect.Signature | None:
    """Return the signature of a function; None where it has none that can be seen, as some built-in ones."""
    try:
        return inspect.signature(function, follow_wrapped=follow_wrapped)
    except Exception:  # noqa: BLE001 - an object of the user's may do anything
        return None


def _decorated(function: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of what a decorator that takes `*args` passes them on to; None where there is no such."""
    own = _own(function)
    kinds = [] if own is None else [parameter.kind for parameter in own.parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL not in kinds or _attribute(function, "__wrapped__") is None:
        return None
    return _own(function, follow_wrapped=True)


def _attribute(function: object, name: str) -> Any:
    """Return an attribute; None where it is not there, or can't be had: an object of the user's may do anything."""
    try:
        return getattr(function, name, None)
    except Exception:  # noqa: BLE001 - see above
        return None


def _generates(function: Callable[..., Any]) -> Words | None:
    """Name the kind of a function that makes a generator in place of a value."""
    while isinstance(function, functools.partial):
        function = function.func
    called = getattr(type(function), "__call__", None)  # noqa: B004 - of its class, as it is called
    for candidate in (function, called):
        if not inspect.isroutine(candidate):
            continue
        if inspect.isasyncgenfunction(candidate):
            return words("an async generator function", "异步生成器函数")
        if inspect.isgeneratorfunction(candidate) and not _is_old_coroutine(candidate):
            return words("a generator function", "生成器函数")
    return None


def _is_old_coroutine(function: Any) -> bool:
    """Tell whether a generator function can be awaited: `types.coroutine` makes it so."""
    code = _attribute(inspect.unwrap(function), "__code__")
    return code is not None and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)


def _shown(function: Callable[..., Any], signature: inspect.Signature) -> str:
    """Return `name(parameters)` in one line, without annotations, which may be long."""
    while isinstance(function, functools.partial):
        function = function.func
    name = _attribute(function, "__name__") or type(function).__name__
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    try:
        text = f"{name}{signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)}"
    except Exception:  # noqa: BLE001 - a default of the user's may not be printable
        text = f"{name}({', '.join(parameter.name for parameter in bare)})"
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
