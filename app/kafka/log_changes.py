"""What is said and counted where a partition's log is not the one that has been read."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Set

from faust.types import TP

from app.kafka.client import Application
from app.kafka.positions import Base, Cause
from app.observability.log_lines import Line, Shown, Throttle, say, tell

logger = logging.getLogger(__name__)

NOT_SEEN_SECONDS = 60.0  # from one line about it to the next


class TopicIds:
    """Which topic stands behind each name: one that was deleted and made again has another id. Pure.

    Attributes:
        again: topics that have been made again, with their new ids; nobody has started them over yet.
    """

    def __init__(self) -> None:
        self.again: dict[str, bytes] = {}
        self._known: dict[str, bytes] = {}
        self._missing: set[str] = set()

    def look(self, ids: Mapping[str, bytes]) -> set[str]:
        """Take the ids of all topics that are there now; returns those that were there and are not any more."""
        for topic, topic_id in ids.items():
            if self._known.setdefault(topic, topic_id) != topic_id:
                self.again[topic] = topic_id
        missing = self._known.keys() - ids.keys()
        gone = missing - self._missing
        self._missing = missing
        return gone

    def settle(self, topics: Set[str]) -> None:
        """Take topics that were made again for known: their partitions have been started over."""
        for topic in self.again.keys() & topics:
            self._known[topic] = self.again.pop(topic)


class LogChanges:
    """Says and counts them. A topic of ours that has lost messages is an error: nobody sends them again by himself."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._throttle = Throttle(NOT_SEEN_SECONDS)

    def started(self, tp: TP, position: int, end: int, base: Base) -> None:
        """Say of a partition that is read from its base why that is not its position, if it is not."""
        if base.cause is Cause.GONE:
            self.gone(tp, position, base.offset)
        elif base.cause is Cause.SHORTER:
            self.shorter(tp, position, end, base.offset)
        elif base.cause is Cause.MADE_AGAIN:
            self.made_again(tp, position, base.offset)

    def gone(self, tp: TP, start: int, stop: int) -> None:
        """The broker has let go of offsets from `start` up to before `stop`, which had not been read."""
        self._application.count_lost(stop - start)
        self._tell(Line.OFFSETS_GONE, tp, start, first=start, last=stop - 1, at=stop)

    def shorter(self, tp: TP, position: int, end: int, at: int) -> None:
        """The log ends before `position`: it is read from offset `at` again."""
        self._application.count_restart()
        self._tell(Line.LOG_SHORTER, tp, position, position=position, end=end, at=at)

    def made_again(self, tp: TP, position: int, at: int) -> None:
        """The topic is another one than the one that was read up to `position`: it is read from offset `at`."""
        if not position:
            return
        self._application.count_restart()
        self._tell(Line.TOPIC_MADE_AGAIN, tp, position, position=position, at=at)

    def suspected(self, tp: TP, base: int, end: int) -> None:
        """The last owners of a partition have ended where they began: its events up to before `end` are suspected."""
        self._log(logging.WARNING, Line.SUSPECTED, tp, base, first=base, last=end - 1)

    def state_lost(self, tp: TP, end: int) -> None:
        """A changelog holds less than has been written: it ends at `end`."""
        self._log(logging.ERROR, Line.STATE_LOST, tp, end, end=end)

    def changelog_made_again(self, topic: str) -> None:
        """A changelog was deleted and made again under a running worker."""
        self._say(logging.ERROR, Line.CHANGELOG_MADE_AGAIN, topic)

    def changelog_shorter(self, tp: TP, end: int) -> None:
        """A changelog ends at `end`, before what this worker has of it."""
        self._log(logging.ERROR, Line.CHANGELOG_SHORTER, tp, end, end=end)

    def not_delivered(self, tp: TP, start: int, stop: int) -> None:
        """Messages from `start` up to before `stop` should have come, and have not."""
        self._log(logging.ERROR, Line.NOT_DELIVERED, tp, start, first=start, last=stop - 1)

    def topic_gone(self, topic: str) -> None:
        """A topic that is read was there, and is not any more."""
        foreign = topic in self._application.settings.foreign_topics
        level, line = (logging.WARNING, Line.TOPIC_GONE) if foreign else (logging.ERROR, Line.OWN_TOPIC_GONE)
        self._say(level, line, topic)

    def not_seen(self, error: Exception) -> None:
        """Say, once in a while, that what a broker answers about topics can't be used."""
        if self._throttle.passes(time.monotonic()):
            tell(
                logger, logging.WARNING, self._application.settings.log_language, Line.TOPICS_UNSEEN, error=f"{error!r}"
            )

    def _say(self, level: int, line: Line, topic: str) -> None:
        text = say(self._application.settings.log_language, line, topic=topic)
        logger.log(level, "%s", text, extra={"event": str(line), "topic": topic})

    def _tell(self, line: Line, tp: TP, offset: int, **fields: int) -> None:
        settings = self._application.settings
        if tp.topic not in settings.event_topics:
            self._log(logging.WARNING, line, tp, offset, **fields)
            return
        what = Shown(say(settings.log_language, line, place=_place(tp), **fields))
        text = say(settings.log_language, Line.OWN_TOPIC_LOST, what=what)
        logger.error("%s", text, extra={"event": str(line), **tp._asdict(), "offset": offset})

    def _log(self, level: int, line: Line, tp: TP, offset: int, **fields: int) -> None:
        text = say(self._application.settings.log_language, line, place=_place(tp), **fields)
        logger.log(level, "%s", text, extra={"event": str(line), **tp._asdict(), "offset": offset})


def _place(tp: TP) -> str:
    return f"{tp.topic}[{tp.partition}]"
