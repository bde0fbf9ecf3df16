"""A batch log and what it has said, for tests."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from app.observability.batch_log import BatchLog
from app.settings.enums import Language


@dataclass
class Clock:
    """A clock that stands still until it is put."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


class Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@dataclass
class Heard:
    """A BatchLog and what it said."""

    language: Language = Language.EN
    level: int = logging.INFO
    clock: Clock = field(default_factory=Clock)
    handler: Records = field(default_factory=Records)

    def __post_init__(self) -> None:
        logger = logging.Logger("test", self.level)  # noqa: LOG001 - one of its own, known to no other test
        logger.addHandler(self.handler)
        self.log = BatchLog(logger, self.language, self.clock)

    @property
    def lines(self) -> list[tuple[str, str]]:
        return [(record.levelname, record.getMessage()) for record in self.handler.records]
