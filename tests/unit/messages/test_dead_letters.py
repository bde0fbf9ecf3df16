"""Dead letters: what their headers say is read back."""

from __future__ import annotations

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.messages.dead_letters import Reason, Subject, last_line, letter_headers, read_letter
from app.messages.message import InMessage
from app.messages.trace_context import trace_headers
from tables.model.events import Source

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=9)
TRACE = f"00-{'1' * 32}-{'2' * 16}-01 plant=7"


@given(
    reason=st.sampled_from(Reason),
    error=st.text(st.characters(codec="utf-8"), max_size=30),
    failed_at=st.floats(0, 4e9),
    source=st.none() | st.builds(Source, texts, st.integers(0, 99), st.integers(0, 2**63 - 1)),
    batch_id=st.none() | texts,
    station_id=st.none() | texts,
    trace=st.none() | st.just(TRACE),
)
def test_the_headers_of_a_letter_are_read_back(
    *,
    reason: Reason,
    error: str,
    failed_at: float,
    source: Source | None,
    batch_id: str | None,
    station_id: str | None,
    trace: str | None,
) -> None:
    headers = letter_headers(reason, error, Subject(failed_at, source, batch_id, station_id, trace))
    letter = read_letter(InMessage("app-dead-letter", 0, 0, 1.0, None, None, headers))
    assert (letter.reason, letter.error, letter.failed_at) == (reason, error, failed_at)
    assert (letter.source, letter.batch_id, letter.station_id) == (source, batch_id, station_id)
    assert list(letter.trace) == trace_headers(trace)


@pytest.mark.parametrize("number", ["9" * 5000, str(2**63), "-1", "1.0", "٣", "", " 1", "1\n"])
def test_a_place_that_no_message_can_have_is_no_source(number: str) -> None:
    for partition, offset in ((number, "7"), ("7", number)):
        headers = {"source-topic": "T", "source-partition": partition, "source-offset": offset}
        encoded = [(name, text.encode()) for name, text in headers.items()]
        assert read_letter(InMessage("dlq", 0, 0, 1.0, None, b"", encoded)).source is None


def test_the_largest_offset_is_one() -> None:
    headers = [("source-topic", b"T"), ("source-partition", b"0"), ("source-offset", str(2**63 - 1).encode())]
    assert read_letter(InMessage("dlq", 0, 0, 1.0, None, b"", headers)).source == Source("T", 0, 2**63 - 1)


def _raised(error: Exception, cause: Exception | None = None) -> str:
    """Return the traceback of an error as it is when it has been raised, because of another one."""
    try:
        raise error from cause
    except type(error) as caught:
        return "".join(traceback.format_exception(caught))


SEVERAL = "1 validation error for Model\npower\n  Input should be a number\n    For further information visit us"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("broken"), "ValueError: broken"),
        (ValueError(SEVERAL), f"ValueError: {' '.join(SEVERAL.split())}"),
        (ValueError("\nbegins with a line"), "ValueError: begins with a line"),
        (ValueError(), "ValueError"),
        (KeyError("a\nb"), "KeyError: 'a\\nb'"),
        (SyntaxError("bad", ("model.py", 1, 1, "x x", 1, 2)), "SyntaxError: bad"),
        (
            ExceptionGroup("both\nfailed", [ValueError("a\nb"), KeyError("c")]),
            "ExceptionGroup: both failed (2 sub-exceptions)",
        ),
    ],
)
def test_one_line_of_a_traceback_says_the_exception_with_all_of_its_text(error: Exception, said: str) -> None:
    assert last_line(_raised(error)) == said
    assert last_line(_raised(error, OSError("the cause\nof it"))) == said
    assert last_line(_raised(error, ExceptionGroup("causes", [OSError("one")]))) == said


def test_notes_of_an_exception_are_in_its_line() -> None:
    error = ValueError("broken")
    error.add_note("of station A\nat noon")
    assert last_line(_raised(error)) == "ValueError: broken of station A at noon"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("none of the forms\n", "none of the forms"),
        ('  File "x", line 1', '  File "x", line 1'),
        ("Traceback\n  line\nOSError: no upload", "OSError: no upload"),
        ("a\n  + Exception Group Traceback", "  + Exception Group Traceback"),
    ],
)
def test_of_a_text_that_is_no_traceback_it_is_the_last_line(text: str, said: str) -> None:
    assert last_line(text) == said


@given(st.text())
def test_any_text_has_one_line(text: str) -> None:
    assert "\n" not in last_line(text)


def test_a_text_that_never_ends_is_cut() -> None:
    assert last_line(_raised(ValueError("x" * 100_000))) == "ValueError: " + "x" * 1988


@pytest.mark.parametrize("line", ["\n  | a", "\n  +-+-", "\n  | a\n  +-+--x", "\n  + Exception Group Traceback"])
def test_a_text_that_looks_like_a_groups_takes_the_time_of_its_length(line: str) -> None:
    error = f"  + Exception Group Traceback{line * 20_000}\nlast"  # by a regular expression: for hours
    assert last_line(error) == "last"
