"""The end of a worker that can't go on: its exit codes, and a stop that acknowledges nothing."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Final, NoReturn

from app.observability.log_lines import Line, tell
from app.settings.enums import Language

logger = logging.getLogger(__name__)

EXIT_BROKER: Final = 1  # the broker is away or refuses us, a topic is not as it has to be, or the web port is taken
EXIT_SETTINGS: Final = 2
EXIT_BUG: Final = 70  # something that should never happen: nothing was acknowledged, a supervisor may restart us


def stop_at_once(code: int, message: str, error: BaseException | None = None) -> NoReturn:
    """End the process now: no commit, no clean-up that could acknowledge anything. `error` is logged with its place."""
    logger.critical("%s", message, exc_info=error)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def leave_within(seconds: float, code: int, language: Language) -> None:
    """End the process after so many seconds if it has not ended by itself: what is not finished is not acknowledged."""

    def leave() -> None:
        tell(logger, logging.WARNING, language, Line.STOP_HANGS, seconds=seconds)
        logging.shutdown()
        os._exit(code)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True  # it must not keep a process that has ended
    timer.start()
