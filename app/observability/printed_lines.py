"""What functions of the user's print, as whole lines. The standard library only: processes for callbacks import it."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

_SHOWN = 2_000
_LONGEST = 64 * 1024  # characters that are kept without an end of line: a progress bar has none


def in_one_line(text: str) -> str:
    """Return a text, cut at 2,000 characters; if any of them is not printable, escaped as a Python literal."""
    cut = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return cut if cut.isprintable() else repr(cut)[1:-1]


class PrintedLines(io.TextIOBase):
    """A text stream in place of `sys.stdout`: `print("a", "b")`, five writes of its own, is one text.

    A text ends with a write that ends a line, or at `flush`. Each thread has its own.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        """A stream that has got nothing. `tell` gets texts, in which line breaks may be, but not at the end."""
        self._tell = tell
        self._local = threading.local()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding, for those who ask."""
        return "utf-8"

    @property
    def buffer(self) -> BinaryIO:
        """The bytes of the real stream, for libraries that write these."""
        return sys.__stderr__.buffer  # type: ignore[union-attr, return-value]

    def fileno(self) -> int:
        """Return the real stream, for programs that are started with this one as theirs."""
        return sys.__stderr__.fileno()  # type: ignore[union-attr]

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def write(self, text: str) -> int:
        """Take a part of a text."""
        local: Any = self._local
        if getattr(local, "telling", False):  # the log itself complains of something
            return sys.__stderr__.write(text) if sys.__stderr__ else len(text)
        local.text = getattr(local, "text", "") + text
        if text.endswith(("\n", "\r")) or len(local.text) > _LONGEST:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Tell what there is, if it is more than blanks."""
        local: Any = self._local
        text, local.text = getattr(local, "text", "").strip("\r\n"), ""
        if not text.strip() or getattr(local, "telling", False):
            return
        local.telling = True
        try:
            self._tell(text)
        finally:
            local.telling = False
