"""The lines of a file that `send` is given: one message a line, and what looks like something else. Pure."""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE
from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import BinaryIO

import orjson

from app.cli.base import CommandError
from app.words import Words, words

Line = tuple[int, bytes]
"""A line's number, from 1, and its bytes without the line break."""

HELD_BYTES = 64 * 1024 * 1024  # of lines that may be one document: more than that is no message either way


def read_lines(file: BinaryIO, longest: int) -> Iterator[Line]:
    """Yield the lines of a file that are not blank, as they come.

    Raises:
        CommandError: the file can't be read, or a line is longer than `longest` bytes: it may have no end.
    """
    for number in count(1):
        try:
            line = file.readline(longest + 2)  # with a line break of two
        except OSError as error:
            raise CommandError(str(error)) from error
        if not line:
            return
        if number == 1:
            line = _without_mark(line)
        value = line.rstrip(b"\r\n")
        if len(value) > longest:
            message = words(
                "line {number}: more than {longest} bytes, the largest message that can be sent; stopped there",
                "第 {number} 行：超过 {longest} 字节，即可发送的最大消息；就此停止",
                number=number,
                longest=longest,
            )
            raise CommandError(message)
        if value.strip():
            yield number, value


def _without_mark(line: bytes) -> bytes:
    """Return a file's first line without the mark that programs on Windows begin UTF-8 with.

    Raises:
        CommandError: the mark is that of UTF-16 or UTF-32.
    """
    if line.startswith((BOM_UTF16_LE, BOM_UTF16_BE, BOM_UTF32_BE)):  # UTF-32's other mark begins as UTF-16's
        message = words(
            "the file is UTF-16 or UTF-32, as PowerShell's `>` writes it: save it as UTF-8",
            "文件是 UTF-16 或 UTF-32 编码（PowerShell 的 `>` 会这样写）：请存为 UTF-8",
        )
        raise CommandError(message)
    return line.removeprefix(BOM_UTF8)


def one_a_line(lines: Iterator[Line]) -> Iterator[Line]:
    """Yield the lines, unless some of them together are one JSON document.

    The parts of such a document may be messages by themselves, which nobody has meant to send. So a line that begins
    a document is held back, and those after it, until it is clear that the document does not go on.

    Raises:
        CommandError: a document goes over several lines; all lines before it have been yielded.
    """
    held = _Held()
    for line in lines:
        if not held.lines and _depth(line[1]) == 0:  # as most lines are
            yield line
            continue
        held.add(line)
        while held.lines and not held.may_go_on():
            yield held.pop()
    while held.lines and not held.may_go_on(at_end=True):
        yield held.pop()
    if len(held.lines) > 1:
        message = words(
            "lines {span} are the beginning of a JSON document that does not end; {wanted}",
            "第 {span} 行是一个没有结束的 JSON 文档的开头；{wanted}",
            span=held.span,
            wanted=_WANTED,
        )
        raise CommandError(message)
    yield from held.lines


_WANTED = words(
    "a message has to be one line: `python -m json.tool --compact FILE` makes it one",
    "一条消息必须在一行内：可用 `python -m json.tool --compact FILE` 转换",
)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


def _depth(value: bytes) -> int:
    """Count the lists and objects that a line begins, less those that it ends."""
    depth = sum(map(value.count, (b"{", b"["))) - sum(map(value.count, (b"}", b"]")))
    if depth == 0 or b'"' not in value:
        return depth
    return _depth(_STRING.sub(b"", value).replace(b'"', b""))


class _Held:
    """Lines that may be the beginning of one document."""

    def __init__(self) -> None:
        self.lines: deque[Line] = deque()
        self._depth = 0
        self._tested = 0  # lines that were, when they were parsed last

    @property
    def span(self) -> Words:
        """The numbers of the first line and the last."""
        return words("{first} to {last}", "{first} 至 {last}", first=self.lines[0][0], last=self.lines[-1][0])

    def add(self, line: Line) -> None:
        self.lines.append(line)
        self._depth += _depth(line[1])

    def pop(self) -> Line:
        line = self.lines.popleft()
        self._depth -= _depth(line[1])
        self._tested = 0
        return line

    def may_go_on(self, *, at_end: bool = False) -> bool:
        """Say whether a document begins with the lines and goes on; raises CommandError where they are a whole one.

        They are parsed from the start, so only where one may end, and each time that they have doubled.
        """
        if self._depth > 0 and len(self.lines) < 2 * self._tested and not at_end:
            return True
        self._tested = len(self.lines)
        text = b"\n".join([value for _, value in self.lines]) + b"\n"  # which no text of JSON can go over
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError as error:
            return error.pos == len(text.decode(errors="replace")) and len(text) <= HELD_BYTES
        if len(self.lines) == 1:
            return False
        message = words(
            "lines {span} are one JSON document; {wanted}",
            "第 {span} 行是同一个 JSON 文档；{wanted}",
            span=self.span,
            wanted=_WANTED,
        )
        raise CommandError(message)
