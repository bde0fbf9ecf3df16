"""How a worker ends when it can't go on: the exit codes, and an end that acknowledges nothing."""

from __future__ import annotations

import logging
import os
import sys
from typing import Final, NoReturn

__all__ = ["EXIT_BROKER", "EXIT_BUG", "EXIT_SETTINGS", "stop_at_once"]

logger = logging.getLogger(__name__)

EXIT_BROKER: Final = 1  # the broker is away or refuses us, a topic is not as it has to be, or the web port is taken
EXIT_SETTINGS: Final = 2
EXIT_BUG: Final = 70  # something that should never happen: nothing was acknowledged, a supervisor may restart us


def stop_at_once(code: int, message: str) -> NoReturn:
    """End the process now: no commit, no clean-up that could acknowledge anything."""
    logger.critical("%s", message)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
