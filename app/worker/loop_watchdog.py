"""Notices when the event loop does not run, and says what keeps it from running, while it does.

One `async def` of the user's that computes, or waits without `await`, holds up everything in the worker: other
stations, deadlines, the web. A thread asks the loop for a sign of life a few times a second. When none comes it looks
at the loop's stack. How long the answers take is the loop's lag; nothing else is measured, and calls cost no more.
"""

from __future__ import annotations

import asyncio
import linecache
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Final

from app.observability.log_lines import Line, Throttle, printable, tell
from app.settings import Settings
from app.settings.enums import Language
from app.worker.blocking import user_call
from app.worker.shutdown import EXIT_BUG, stop_at_once
from app.worker.watchdog import patience_of

__all__ = ["BLOCKED_SECONDS", "LoopWatch", "watch_loop"]

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.2
BLOCKED_SECONDS: Final = 0.5  # by a function of the user's, before it is told
BUSY_SECONDS: Final = 2.0  # by anything else: a message of many megabytes is read in one go
TELL_SECONDS: Final = 60.0  # between two lines about one function


class LoopWatch:
    """Watches the event loop on which it is started."""

    def __init__(
        self,
        *,
        callback: str,
        language: Language,
        observe: Callable[[float], None],
        patience: float,
        on_stuck: Callable[[str], None],
    ) -> None:
        """A watch that is not started.

        Args:
            callback: the name of the user's callback.
            language: of log lines.
            observe: gets, on the loop, how long it took to answer, in seconds.
            patience: seconds after which a loop that does not run never will.
            on_stuck: gets, in the watching thread, why the worker can't go on.
        """
        self._callback = callback
        self._language = language
        self._observe = observe
        self._patience = patience
        self._on_stuck = on_stuck
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched = 0  # the thread of the loop
        self._over = threading.Event()
        self._asked: float | None = None  # when the loop was asked; None when it has answered
        self._seen: object = None  # the user's call that stood on the stack at the last look
        self._looked = self._worked = 0.0  # the time and the CPU time of the last look
        self._throttle = Throttle(TELL_SECONDS)
        self._blocked: float | None = None  # for how long it has been, as has been told

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
            self._look(time.monotonic(), time.process_time())

    def _look(self, now: float, worked: float) -> None:
        late, busy = now - self._looked - LOOK_SECONDS, worked - self._worked
        self._looked, self._worked = now, worked
        asked = self._asked
        held = late > BLOCKED_SECONDS
        if held and busy < late / 2:
            # The process as a whole did not run: it was stopped, or its machine is busy. That is no function's fault.
            asked = self._asked = asked and now
            self._seen = None
        elif held or asked is not None:
            # Held: no thread could run, because something in C did not let go of the interpreter, which stood in a
            # function that may be on the stack still.
            self._look_at_stack(late if asked is None else now - asked, held=held)
        if asked is None:
            self._ask(now)

    def _ask(self, now: float) -> None:
        if self._blocked is not None:
            tell(logger, logging.INFO, self._language, Line.LOOP_RUNS, seconds=self._blocked)
        self._blocked = self._seen = None
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

    def _look_at_stack(self, blocked: float, *, held: bool) -> None:
        """Tell what the loop is busy with, if it has been for long; `held`: it was in one piece."""
        stack = stack_of_thread(self._watched)
        call = user_call(stack, self._callback)
        last, self._seen = self._seen, call and call.call
        if not stack or blocked < BLOCKED_SECONDS:
            return
        place = place_of(stack[0])
        if blocked > self._patience:
            self._on_stuck(f"the event loop has not run for {blocked:.0f} s; it stands at {place}")
        if call is not None and (held or call.call is last):  # many that are short make a long one, too
            if self._throttle.passes(time.monotonic(), call.name):
                fields = {"name": call.name, "about": call.about, "seconds": blocked, "place": place}
                tell(logger, logging.WARNING, self._language, Line.LOOP_BLOCKED, **fields)
                self._blocked = blocked
        elif call is None and blocked > BUSY_SECONDS and self._throttle.passes(time.monotonic()):
            tell(logger, logging.WARNING, self._language, Line.LOOP_BUSY, seconds=blocked, place=place)
            self._blocked = blocked


def watch_loop(settings: Settings, callback: str, observe: Callable[[float], None]) -> LoopWatch:
    """A worker's watch, started on the loop that runs now; a loop that does not run any more ends the process."""
    watch = LoopWatch(
        callback=callback,
        language=settings.log_language,
        observe=observe,
        patience=patience_of(station_timeout=settings.station_timeout, broker_patience=settings.broker_patience),
        on_stuck=partial(stop_at_once, EXIT_BUG),
    )
    watch.start()
    return watch


def stack_of_thread(ident: int) -> Sequence[FrameType]:
    """The frames of a thread, innermost first; empty when there is no such thread."""
    stack: list[FrameType] = []
    frame = sys._current_frames().get(ident)
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    return stack


def place_of(frame: FrameType) -> str:
    """Where a frame stands, as a traceback has it, in one line."""
    code, number = frame.f_code, frame.f_lineno
    line = linecache.getline(code.co_filename, number, frame.f_globals).strip()
    place = f'File "{code.co_filename}", line {number}, in {code.co_name}'
    return printable(f"{place}: {line}" if line else place)
