"""The lines that `send` is given: one message a line, and what is not."""

from __future__ import annotations

import io
import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cli.base import CommandError
from app.cli.lines import one_a_line, read_lines

A = {"stationId": "A", "sendTime": "2025-11-04 09:00:00", "gunPower": {"gunNo": ["05"], "outputPowerPerGunAvg": [1.5]}}
MESSAGE = {"realTimeData": [A, {"stationId": "B}]"}]}
LINE = orjson.dumps(A)


def lines_of(text: bytes, longest: int = 10_000) -> list[bytes]:
    return [value for _, value in one_a_line(read_lines(io.BytesIO(text), longest))]


def error_of(text: bytes, longest: int = 10_000) -> tuple[list[bytes], str]:
    """What was let through before the error, and its text."""
    taken: list[bytes] = []

    def take() -> None:
        for _, value in one_a_line(read_lines(io.BytesIO(text), longest)):
            taken.append(value)

    with pytest.raises(CommandError) as raised:
        take()
    return taken, str(raised.value)


def test_lines_come_without_their_breaks_and_blank_ones_are_left_out_but_counted() -> None:
    lines = read_lines(io.BytesIO(b"\n a \r\n\t \n" + LINE), 1000)
    assert list(lines) == [(2, b" a "), (4, LINE)]


def test_the_mark_before_utf_8_is_no_part_of_a_message() -> None:
    assert lines_of(b"\xef\xbb\xbf" + LINE + b"\r\n" + LINE + b"\r\n") == [LINE, LINE]
    assert lines_of(b"\xef\xbb\xbf\r\n" + LINE) == [LINE]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-be", "utf-32-be"])
def test_another_encoding_is_named(encoding: str) -> None:
    text = ("" if encoding in {"utf-16", "utf-32"} else "\ufeff") + LINE.decode() + "\n"
    taken, error = error_of(text.encode(encoding))
    assert taken == []
    assert error.endswith("save it as UTF-8")


@pytest.mark.parametrize("indent", [None, 0, 1, 4])
@pytest.mark.parametrize("document", [A, [A], [A, A], MESSAGE, [[]], {"realTimeData": [A] * 40}])
def test_a_document_over_several_lines_is_named_and_no_part_of_it_let_through(document: Any, indent: int) -> None:
    text = json.dumps(document, indent=indent).encode()
    if indent is None:
        assert lines_of(text) == [text]
        return
    last = text.count(b"\n") + 1
    taken, error = error_of(text)
    assert taken == []
    assert error.startswith(f"lines 1 to {last} are one JSON document; a message has to be one line: `python -m json.")
    # Between others, and twice: the first is named.
    taken, error = error_of(LINE + b"\n" + text + b"\n" + text + b"\n" + LINE)
    assert taken == [LINE]
    assert error.startswith(f"lines 2 to {last + 1} are one JSON document")


@pytest.mark.parametrize(
    "text",
    [
        b"[\n%b\n]" % LINE,
        b"[\n%b,\n%b\n]\n" % (LINE, LINE),
        b"[%b\n,%b]" % (LINE, LINE),
        b'{"realTimeData":[\n%b\n]}' % LINE,
        b"[%b,\n\n%b]" % (LINE, LINE),
        b'{"stationId"\r\n:\r\n"A"}',
    ],
)
def test_whole_records_inside_of_such_a_document_are_no_messages(text: bytes) -> None:
    taken, error = error_of(text)
    assert taken == []
    assert "are one JSON document" in error


def test_a_document_that_does_not_end_is_named() -> None:
    taken, error = error_of(LINE + b"\n[\n" + LINE + b",\n" + LINE + b"\n")
    assert taken == [LINE]
    assert error.startswith("lines 2 to 4 are the beginning of a JSON document that does not end")


@pytest.mark.parametrize(
    "cut", [b'{"stationId":"A","sendT', b'{"stationId":', b'{"stationId":"A",', b"[", b'[{"a":tru']
)
def test_a_line_that_was_cut_off_holds_nothing_back_for_good(cut: bytes) -> None:
    text = b"\n".join([LINE, cut, LINE, LINE, b"7", LINE])
    assert lines_of(text) == text.split(b"\n")
    assert lines_of(LINE + b"\n" + cut) == [LINE, cut]


@pytest.mark.parametrize("text", [b"\x7fELF\x00[{\n\xff\xfe{\n", b"a,b\n1,2\n", b'"[\n', b"}\n]\n", b"[1 2\n{,\n"])
def test_lines_that_are_no_json_pass_as_they_are(text: bytes) -> None:
    assert lines_of(text) == text.rstrip(b"\n").split(b"\n")


def test_a_line_without_an_end_is_not_read_to_its_end() -> None:
    assert lines_of(b"x" * 100 + b"\r\n", longest=100) == [b"x" * 100]
    endless = io.BytesIO(LINE + b"\n" + b"\x00" * 10_000)
    lines = read_lines(endless, 1000)
    assert next(lines) == (1, LINE)
    with pytest.raises(CommandError, match="line 2: more than 1000 bytes"):
        next(lines)
    assert endless.tell() < 2000


@settings(max_examples=200, derandomize=True)
@given(
    st.lists(st.sampled_from([b"{", b"[", b"]", b"}", b",", LINE, LINE + b",", b'"a": 1', b"1", b"\xff"]), max_size=9)
)
def test_every_line_is_let_through_once_or_the_error_names_it(lines: list[bytes]) -> None:
    text = b"\n".join(lines)
    try:
        assert lines_of(text) == lines
    except CommandError:
        taken, error = error_of(text)
        first, last = (int(word) for word in error.split()[1:4:2])
        assert taken == lines[: first - 1]
        assert last <= len(lines)
