"""Log lines about callbacks, at most one of a kind in some seconds: what one of them does the others may do, too."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from app.observability.log_lines import Line, names, tell
from app.observability.throttle import Throttle
from app.settings.enums import Language

__all__ = ["CallbackLog"]

REPEAT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class CallbackLog:
    """Says what is wrong with the user's callback, other than that it fails.

    Attributes:
        logger: where the lines go.
        language: theirs.
        name: the callback's, as the setting has it.
        clock: seconds, from any beginning.
    """

    logger: logging.Logger
    language: Language
    name: str
    clock: Callable[[], float]
    _throttle: Throttle = field(default_factory=lambda: Throttle(REPEAT_SECONDS), init=False, repr=False, compare=False)

    def not_asked(self, stations: Sequence[str]) -> None:
        """A callback for many stations has returned results of some that it was not called for."""
        self._warn(Line.NOT_ASKED, stations=names(stations, len(stations)))

    def process_died(self, what: str) -> None:
        """A process for callbacks ended without a call in it, or could not start."""
        self._warn(Line.PROCESS_DIED, what=what)

    def _warn(self, line: Line, **fields: object) -> None:
        if self._throttle.passes(self.clock(), line):
            tell(self.logger, logging.WARNING, self.language, line, name=self.name, **fields)
