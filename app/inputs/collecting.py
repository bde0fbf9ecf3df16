"""Keeping the garbage collector away while a message is read."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

Args = ParamSpec("Args")
Result = TypeVar("Result")


def uncollected(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """Decorate a function that reads a message: nothing is collected meanwhile, in the whole process.

    Records hold no cycles, but the collector walks them again and again while they are being made. For a large message
    that takes as long as reading it does, or longer.
    """

    @wraps(function)
    def run(*args: Args.args, **options: Args.kwargs) -> Result:
        if not gc.isenabled():
            return function(*args, **options)
        gc.disable()
        try:
            return function(*args, **options)
        finally:
            gc.enable()

    return run
