"""The functions of the user's that the settings name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.callbacks.loading import FunctionError, load_function
from app.settings import Settings

__all__ = ["NO_CALLBACK", "UserFunctions", "find_functions", "importable_path"]

NO_CALLBACK = (
    "AGG_CALLBACK is not set: name your model as package.module:function "
    "(AGG_BATCH_CALLBACK in its place for one that takes many stations at once)"
)


@dataclass(frozen=True, slots=True)
class UserFunctions:
    """The user's own functions, found already.

    Attributes:
        callback: the model.
        result_handler: None: the default payload is published.
        station_result_handler: the same for pass-through stations.
        many: the callback takes many stations at once.
        path: of the callback, as its setting has it; None where it was not found by one.
    """

    callback: Callable[..., Any]
    result_handler: Callable[..., Any] | None = None
    many: bool = False
    path: str | None = None
    station_result_handler: Callable[..., Any] | None = None

    @property
    def setting(self) -> str:
        """The key that names the callback."""
        return "AGG_BATCH_CALLBACK" if self.many else "AGG_CALLBACK"

    @property
    def name(self) -> str:
        """The callback's name, for log lines."""
        return self.path or str(getattr(self.callback, "__qualname__", type(self.callback).__qualname__))


def importable_path(function: Callable[..., Any]) -> str | None:
    """`module:name` of a function, under which another process can import it; None if there is no such name."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "<")
    if not module or module == "__main__" or "<" in name:
        return None
    return f"{module}:{name}"


def find_functions(settings: Settings) -> UserFunctions:
    """Import what a worker needs.

    Raises:
        FunctionError: no callback is named, or a setting does not lead to a function.
    """
    handlers = [
        load_function(path, key) if path else None
        for path, key in (
            (settings.result_handler, "AGG_RESULT_HANDLER"),
            (settings.station_result_handler, "AGG_STATION_RESULT_HANDLER"),
        )
    ]
    many, path = settings.batch_callback is not None, settings.batch_callback or settings.callback
    if path is None:
        raise FunctionError(NO_CALLBACK)
    callback = load_function(path, "AGG_BATCH_CALLBACK" if many else "AGG_CALLBACK")
    return UserFunctions(callback, handlers[0], many=many, path=path, station_result_handler=handlers[1])
