"""What is printed in a worker: lines of its log, which say for what a function of the user's has printed them."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

from app.callbacks.executors.threads import ThreadPool
from app.callbacks.handlers import ThreadCaller
from app.observability.log_lines import Line, Shown, printable, say
from app.observability.printed_lines import PrintedLines, in_one_line
from app.settings.enums import Language
from app.worker.loop_watchdog import UserCall, stations_shown, user_call

logger = logging.getLogger(__name__)

_IN_THREAD: Final = ThreadPool._work_off.__code__


@contextmanager
def printed_to_log(callback: str, language: Language, level: int) -> Iterator[None]:
    """Have `print` and whatever else writes to standard output and error make log lines of that level.

    `callback` is the callback's name.
    """

    def tell(text: str) -> None:
        stack = [frame for frame, _ in traceback.walk_stack(sys._getframe())]
        call = user_call(stack, callback) or _call_in_thread(stack, callback)
        shown = Shown(in_one_line(text))
        if call is None:
            logger.log(level, "%s", shown)
            return
        line = say(language, Line.PRINTED, name=call.name, about=call.about, text=shown)
        logger.log(level, "%s", line, extra={"event": str(Line.PRINTED)})

    stream = PrintedLines(tell)
    before = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = stream
    try:
        yield
    finally:
        stream.flush()
        sys.stdout, sys.stderr = before


def _call_in_thread(stack: Sequence[FrameType], callback: str) -> UserCall | None:
    """Return the call that a thread of ours is busy with; None in another thread."""
    for frame in stack:
        if frame.f_code is not _IN_THREAD:
            continue
        job = frame.f_locals.get("job")
        if job is None:
            return None
        if isinstance(frame.f_locals["self"], ThreadCaller):
            name, (_, (subject, *_)) = threading.current_thread().name, job.args
            about = f"station {subject}" if name.startswith("station") else f"batch {subject}"
            return UserCall(name, printable(about), job)
        return UserCall(callback, stations_shown(job.args[0]), job)
    return None
