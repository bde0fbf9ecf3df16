"""A watchdog of the event loop: says what blocks it, while it does.

One `async def` of the user's that computes, or waits without `await`, holds up everything in the worker: other
stations, deadlines, the web. A thread asks the loop for a sign of life a few times a second. When none comes it looks
at the loop's stack: whose function runs is seen there, so calls note nothing and cost no more. How long the answers
take is the loop's lag.
"""

from __future__ import annotations

import asyncio
import linecache
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from types import FrameType
from typing import Final

from app.callbacks.batch_runner import BatchCallbackRunner
from app.callbacks.groups import GroupLoop
from app.callbacks.handlers import HandlerCalls
from app.callbacks.runner import CallbackRunner
from app.callbacks.scheduler import Run
from app.observability.log_lines import Line, Shown, Throttle, names, printable, tell
from app.settings import Settings
from app.worker.watchdog import patience_of

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.2
BLOCKED_SECONDS: Final = 0.5  # by a function of the user's, before it is told
BUSY_SECONDS: Final = 2.0  # by anything else: a message of many megabytes is read in one go
TELL_SECONDS: Final = 60.0  # between two lines about one function


class Case(Enum):
    """State of the loop since the last look."""

    RUNS = auto()  # it has answered
    SILENT = auto()  # it was asked, and has not answered
    HELD = auto()  # no thread could run: C code, which may be on the stack still, did not let go of the interpreter
    STOPPED = auto()  # the process did not run: it was stopped, or its machine is busy. That is no function's fault


def case_of(*, asked: bool, late: float, busy: float) -> Case:
    """Return the case.

    Args:
        asked: the loop was asked and has not answered.
        late: seconds by which the look is late.
        busy: seconds that the process has worked since the last look, by its CPU time.
    """
    if late > BLOCKED_SECONDS:
        return Case.STOPPED if busy < late / 2 else Case.HELD
    return Case.SILENT if asked else Case.RUNS


class LoopWatch:
    """Watches the event loop on which it is started."""

    def __init__(
        self,
        settings: Settings,
        *,
        callback: str,
        observe: Callable[[float], None],
        on_stuck: Callable[[str], None],
    ) -> None:
        """A watch that is not started.

        Args:
            settings: the language of log lines, and how long anything may take.
            callback: the name of the user's callback.
            observe: gets, on the loop, how long it took to answer, in seconds.
            on_stuck: gets, in the watching thread, why the worker can't go on.
        """
        self._callback = callback
        self._language = settings.log_language
        self._patience = patience_of(settings)
        self._observe = observe
        self._on_stuck = on_stuck
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched = 0  # the thread of the loop
        self._over = threading.Event()
        self._asked: float | None = None  # when the loop was asked; None when it has answered
        self._seen: object = None  # the user's call that stood on the stack at the last look
        self._looked = self._worked = 0.0  # the time and the CPU time of the last look
        self._blocked: float | None = None  # seconds that the loop has been blocked, if a line has told that
        self._throttle = Throttle(TELL_SECONDS)

    def start(self) -> None:
        """Watch the loop that runs now."""
        self._loop, self._watched = asyncio.get_running_loop(), threading.get_ident()
        self._looked, self._worked = time.monotonic(), time.process_time()
        threading.Thread(target=self._run, name="loop-watch", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            try:
                self._look(time.monotonic(), time.process_time())
            except Exception:
                if self._throttle.passes(time.monotonic(), "failed"):
                    logger.exception("this is a bug: the look at the event loop failed; the next one comes")

    def _look(self, now: float, worked: float) -> None:
        late, busy = now - self._looked - LOOK_SECONDS, worked - self._worked
        self._looked, self._worked = now, worked
        asked = self._asked
        case = case_of(asked=asked is not None, late=late, busy=busy)
        if case is Case.STOPPED:
            self._seen = None
            if asked is not None:
                self._ask(now)  # how long it takes to answer counts from now on
        elif case is not Case.RUNS:
            self._look_at_stack(late if asked is None else now - asked, in_one_piece=case is Case.HELD)
        if asked is None:
            if self._blocked is not None:
                tell(logger, logging.INFO, self._language, Line.LOOP_RUNS, seconds=self._blocked)
            self._blocked = self._seen = None
            self._ask(now)

    def _ask(self, now: float) -> None:
        self._asked = now
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._answer)
        except RuntimeError:  # it is closed
            self._over.set()

    def _answer(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            lag = time.monotonic() - asked
            self._observe(lag)
            if self._blocked is not None:
                self._blocked = lag

    def _look_at_stack(self, blocked: float, *, in_one_piece: bool) -> None:
        """Tell what has blocked the loop, if it has for long. `in_one_piece` says that this was one call."""
        stack = stack_of_thread(self._watched)
        call = user_call(stack, self._callback)
        last, self._seen = self._seen, call and call.call
        if not stack or blocked < BLOCKED_SECONDS:
            return
        place = place_of(stack[0])
        if blocked > self._patience:
            self._on_stuck(f"the event loop has not run for {blocked:.0f} s; it stands at {place}")
        # Calls that follow one another look like one: it is told only if it was seen at the last look, too.
        if call is not None and (in_one_piece or call.call is last):
            if self._throttle.passes(time.monotonic(), call.name):
                about = {"name": call.name, "about": call.about, "seconds": blocked, "place": place}
                tell(logger, logging.WARNING, self._language, Line.LOOP_BLOCKED, **about)
                self._blocked = blocked
        elif call is None and blocked > BUSY_SECONDS and self._throttle.passes(time.monotonic()):
            tell(logger, logging.WARNING, self._language, Line.LOOP_BUSY, seconds=blocked, place=place)
            self._blocked = blocked


def stack_of_thread(ident: int) -> Sequence[FrameType]:
    """Return the frames of a thread, innermost first; empty when there is no such thread."""
    top = sys._current_frames().get(ident)
    return [] if top is None else [frame for frame, _ in traceback.walk_stack(top)]


def place_of(frame: FrameType) -> str:
    """Return the place at which a frame stands, as a traceback has it, in one line."""
    code, number = frame.f_code, frame.f_lineno or frame.f_code.co_firstlineno  # some instructions have no line
    line = linecache.getline(code.co_filename, number, frame.f_globals).strip()
    place = f'File "{code.co_filename}", line {number}, in {code.co_name}'
    return printable(f"{place}: {line}" if line else place)


# -- what runs -----------------------------------------------------------------------------------------------------

# The functions of ours that run the user's: the first step of a callback, those of a group's callbacks one after the
# other, a callback's other steps, and a result handler.
_BEGIN: Final = frozenset({CallbackRunner._begin.__code__, BatchCallbackRunner._begin.__code__})
_RUN_GROUP: Final = GroupLoop.run.__code__
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


def stations_shown(stations: str | Collection[str]) -> Shown:
    """Return the stations of a call, or the only one of it, as a log line names them."""
    ids = [stations] if isinstance(stations, str) else list(stations)
    return names(ids, len(ids)) if len(ids) > 1 else printable(f"station {ids[0]}")


def user_call(stack: Sequence[FrameType], callback: str) -> UserCall | None:
    """Return the call that the event loop is busy with; None when that is no function of the user's.

    Args:
        stack: the loop's frames, innermost first.
        callback: the callback's name.
    """
    for frame in stack:
        code = frame.f_code
        if code in _BEGIN or code is _GO_ON:
            own = frame.f_locals["self"]
            calls = own.begun if code in _BEGIN else own.calls
            if not calls:
                return None
            return UserCall(callback, stations_shown([call.station_id for call in calls]), calls)
        if code is _RUN_GROUP:
            station: str | None = frame.f_locals.get("station_id")
            return None if station is None else UserCall(callback, stations_shown(station), station)
        if code is _HANDLE:
            handler: HandlerCalls = frame.f_locals["self"]
            return UserCall(handler.name, printable(frame.f_locals["about"]), frame)
    return None
