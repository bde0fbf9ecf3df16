"""Dead letters: what their headers say is read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.messages.dead_letters import Reason, Subject, letter_headers, read_letter
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
