"""The user's functions as a program gives them: objects, in place of the names that settings are."""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from app.callbacks.loading import Functions
from app.callbacks.signatures import misfit
from app.settings import Settings, SettingsError, load_settings
from app.settings.loading import CALLBACKS, find_keys, overruled
from app.settings.model import PREFIX
from app.words import Words, words

FUNCTIONS: Final = (*CALLBACKS, "result_handler", "station_result_handler")


def load_given(arguments: Mapping[str, object], env_file: Path | None = Path(".env")) -> tuple[Settings, Functions]:
    """Return the settings of a program that gives some as keyword arguments, and the functions among them as objects.

    The environment is over the arguments: where it names a function, an object is not used. The settings have the name
    of each object (`name_of`), so that workers can compare them.

    Raises:
        SettingsError: a keyword is unknown, a value is bad, or an object can't be called as it would be.
    """
    objects = {name: value for name in FUNCTIONS if callable(value := arguments.get(name))}
    given = [(name, value) for name in FUNCTIONS if not isinstance(value := arguments.get(name), str | None)]
    problems = [problem for name, value in given if (problem := unfit(name, value)) is not None]
    try:
        settings = load_settings(env_file=env_file, given=_as_settings(arguments))
    except SettingsError as error:
        raise SettingsError([*error.problems, *problems], error.language) from error
    if problems:
        raise SettingsError(problems, settings.log_language)
    named = {key.removeprefix(PREFIX).lower() for key in find_keys(os.environ, env_file)[0]}
    if named.intersection(CALLBACKS):
        named.update(CALLBACKS)
    return settings, {name: function for name, function in objects.items() if name not in named}


def unfit(name: str, value: object) -> Words | None:
    """Return why an object can't be the function that a program gives by this keyword; None if it can."""
    if inspect.iscoroutine(value):
        value.close()  # nobody awaits it, which Python would tell, too
        return words(
            "{name}=...: this is a call of {it}; give the function itself, without parentheses",
            "{name}=...：这是对 {it} 的调用；请给出函数本身，不带括号",
            name=name,
            it=value.__qualname__,
        )
    if not callable(value):
        return words(
            "{name}={value!r}: must be a function, or its name as package.module:function",
            "{name}={value!r}：必须是函数，或形如 package.module:function 的名称",
            name=name,
            value=value,
        )
    problem = misfit(value, PREFIX + name.upper())
    if problem is None:
        return None
    return words("{name}={it}: {problem}", "{name}={it}：{problem}", name=name, it=name_of(value), problem=problem)


def overruled_keywords(
    arguments: Mapping[str, object], env_file: Path | None = Path(".env")
) -> list[tuple[str, Words]]:
    """Return the key of each setting that takes the place of one of the arguments, and what it says in which place."""
    return overruled(_as_settings(arguments), find_keys(os.environ, env_file)[0])


def _as_settings(arguments: Mapping[str, object]) -> dict[str, object]:
    """Return the arguments with the names of functions in the place of objects."""
    named = {
        name: name_of(value) if name in FUNCTIONS and callable(value) else value for name, value in arguments.items()
    }
    return {name: value for name, value in named.items() if name not in FUNCTIONS or isinstance(value, str)}


def name_of(function: Callable[..., Any]) -> str:
    """Return a name for a function in the form of a setting, `module:function`, whether that leads to it or not.

    It is the same in every worker of the same program, however that was started: `__main__` counts as the name of its
    file. What is no part of a name, as in `<lambda>`, becomes `_`.
    """
    while isinstance(function, functools.partial):
        function = function.func
    owner = function if hasattr(function, "__qualname__") else type(function)
    module = str(getattr(owner, "__module__", None) or "builtins")
    if module == "__main__":
        main = sys.modules["__main__"]
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        module = spec.name if spec else Path(file).stem if file else module
    parts = [re.sub(r"\W", "_", part) for part in module.split(".")]
    names = [re.sub(r"\W", "_", part) for part in owner.__qualname__.split(".")]
    return ":".join(".".join(part if part.isidentifier() else f"_{part}" for part in one) for one in (parts, names))
