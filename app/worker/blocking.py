"""Whose function the event loop is busy with, seen from its stack: nothing is noted while functions run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Final

from app.callbacks.handlers import HandlerCalls
from app.callbacks.runner import BatchCallbackRunner, CallbackRunner
from app.callbacks.scheduler import Run
from app.observability.log_lines import Shown, names, printable

__all__ = ["UserCall", "user_call"]

# Where the user's functions are run from: the first step of a callback, its others, and a result handler.
_BEGIN: Final = frozenset({CallbackRunner._begin.__code__, BatchCallbackRunner._begin.__code__})
_GO_ON: Final = Run.__await__.__code__
_HANDLE: Final = HandlerCalls.attempt.__code__


@dataclass(frozen=True, slots=True)
class UserCall:
    """A call of a function of the user's.

    Attributes:
        name: the function's, as its setting has it.
        about: what it is called for: stations, or a batch.
        call: is the same object for as long as the call lasts.
    """

    name: str
    about: Shown
    call: object


def user_call(stack: Sequence[FrameType], callback: str) -> UserCall | None:
    """The call that runs in a stack (innermost frame first); None when it runs none.

    Args:
        stack: of the event loop's thread.
        callback: the callback's name.
    """
    for frame in stack:
        code = frame.f_code
        if code in _BEGIN or code is _GO_ON:
            own = frame.f_locals["self"]
            calls = own.begun if code in _BEGIN else own.calls
            if not calls:
                return None
            stations = [call.station_id for call in calls]
            about = names(stations, len(stations)) if len(stations) > 1 else printable(f"station {stations[0]}")
            return UserCall(callback, about, calls)
        if code is _HANDLE:
            handler: HandlerCalls = frame.f_locals["self"]
            return UserCall(handler.name, printable(frame.f_locals["about"]), frame)
    return None
