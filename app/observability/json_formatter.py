"""Log records as lines of JSON. The standard library only: processes for callbacks import it."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Final

# json leaves these as they are, though some readers break lines there (NEL, LS, PS), terminals obey them (C1) or UTF-8
# has no bytes for them (surrogates). In JSON text they only stand within a string, where the escape is valid.
_NOT_IN_A_LINE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class JsonFormatter(logging.Formatter):
    """A line is a JSON object: time, level, logger, message; event, ids, place, reason where given; a traceback."""

    EXTRA: Final = ("event", "batch_id", "station_id", "topic", "partition", "offset", "reason")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line of JSON without a line break of any kind in it."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry: dict[str, object] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: value for name in self.EXTRA if (value := record.__dict__.get(name)) is not None}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = self.formatStack(record.stack_info)
        return _NOT_IN_A_LINE.sub(_escaped, json.dumps(entry, ensure_ascii=False, default=str))


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
