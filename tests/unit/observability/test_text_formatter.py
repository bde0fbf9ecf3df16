"""Lines of text: what Faust's own formatter writes, on a terminal and elsewhere."""

from __future__ import annotations

import io
import logging
import re
import sys
import time

import pytest
from mode.utils.logging import DEFAULT_COLOR_FORMAT, DEFAULT_COLORS, ExtensionFormatter

from app.observability.log_config import TextFormatter


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def _records() -> list[logging.LogRecord]:
    logger = logging.getLogger("test")
    records = [
        logger.makeRecord(logger.name, level, __file__, 1, message, args, None)
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL, 7)
        for message, args in (("plain, 100 %", ()), ("with %s and %d", ("text", 3)), ("批次 %(id)s", ({"id": "b"},)))
    ]
    try:
        int("no")
    except ValueError:
        records.append(logger.makeRecord(logger.name, logging.ERROR, __file__, 1, "failed", (), sys.exc_info()))
    records.append(logger.makeRecord(logger.name, logging.INFO, __file__, 1, "x", (), None, extra={"data": {"k": "v"}}))
    return records


@pytest.fixture(autouse=True)
def no_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["a pipe", "a terminal"])
def test_a_line_is_what_faust_writes_without_the_space_at_its_end(stream: io.StringIO) -> None:
    fausts = ExtensionFormatter(fmt=DEFAULT_COLOR_FORMAT, log_colors=DEFAULT_COLORS, stream=stream)
    records = _records()
    lines = [TextFormatter(stream=stream).format(record) for record in records]
    end = re.compile(r" (?=(\x1b\[0m)?$)", re.MULTILINE)
    assert lines == [end.sub("", fausts.format(record), count=1) for record in records]
    assert ("\x1b" in "".join(lines)) == stream.isatty()


def test_a_log_file_gets_no_colours() -> None:
    assert "\x1b" not in "".join(TextFormatter().format(record) for record in _records())


def test_lines_of_any_times_have_fausts() -> None:
    formatter, fausts = TextFormatter(), ExtensionFormatter(fmt=DEFAULT_COLOR_FORMAT, log_colors=DEFAULT_COLORS)
    record = _records()[0]
    for created in (1.5, 1.9994, 2.0, 1.75, 86_400.001, 1_763_085_600.0, -1.0, 2.25):
        record.created, record.msecs = created, created % 1 * 1000
        assert formatter.formatTime(record) == fausts.formatTime(record)
        assert formatter.formatTime(record, "%H %M") == fausts.formatTime(record, "%H %M")
    formatter.converter = fausts.converter = time.gmtime
    assert formatter.formatTime(record) == fausts.formatTime(record)
