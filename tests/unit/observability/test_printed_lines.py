"""What is printed comes out as whole texts."""

from __future__ import annotations

import sys
import threading
import traceback

from app.observability.printed_lines import PrintedLines, in_one_line


def test_each_print_is_one_text() -> None:
    told: list[str] = []
    stream = PrintedLines(told.append)
    print("a", 1, [2.5], file=stream)
    print("two\nlines", file=stream)
    print(file=stream)
    print("  ", file=stream)
    print("begun ", end="", file=stream)
    print("ended", file=stream)
    print("at once", end="", flush=True, file=stream)
    stream.writelines(["x\n", "y\n"])
    assert told == ["a 1 [2.5]", "two\nlines", "begun ended", "at once", "x", "y"]


def test_threads_do_not_mix() -> None:
    told: list[str] = []
    stream = PrintedLines(told.append)
    print("ours ", end="", file=stream)
    thread = threading.Thread(target=lambda: print("theirs", file=stream))
    thread.start()
    thread.join()
    print("too", file=stream)
    assert told == ["theirs", "ours too"]


def test_what_has_no_end_of_line_is_told_all_the_same() -> None:
    told: list[str] = []
    stream = PrintedLines(told.append)
    for _ in range(70):
        stream.write("x" * 1024)
    assert [len(text) for text in told] == [65 * 1024]


def test_a_log_that_complains_to_the_stream_does_not_go_round_in_circles() -> None:
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        print("complaint", file=stream)

    stream = PrintedLines(tell)
    print("text", file=stream)
    print("more", file=stream)
    assert told == ["text", "more"]


def test_it_is_a_stream_like_others() -> None:
    stream = PrintedLines(lambda _: None)
    assert (stream.writable(), stream.isatty(), stream.encoding) == (True, False, "utf-8")
    assert stream.fileno() == sys.__stderr__.fileno() if sys.__stderr__ else True
    traceback.print_exception(ValueError("x"), file=stream)


def test_a_text_is_shown_in_one_line() -> None:
    assert in_one_line("场站 A: 1.5") == "场站 A: 1.5"
    assert in_one_line("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert len(in_one_line("x" * 10_000)) == 2_001
