"""Dead letters: value, key and headers of CONTRACT 8."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.messages.dead_letters import ERROR_BYTES, Reason
from app.messages.message import InMessage, OutMessage
from app.observability.batch_log import BatchLog
from app.observability.counters import Metrics
from app.pipeline.dead_letters import DeadLetters
from app.settings.enums import Language
from tables.model.events import Source

LETTERS = DeadLetters(
    "app-dead-letter",
    log=BatchLog(logging.getLogger(__name__), Language.EN, lambda: 0.0),
    metrics=Metrics(),
)


def headers(letter: OutMessage) -> dict[str, str]:
    return {name: value.decode() for name, value in letter.headers}


def letter_with(error: str, reason: Reason = Reason.BAD_RECORD, value: bytes | None = b"v") -> OutMessage:
    return LETTERS.letter(reason, error, value=value, key=None, failed_at=1.0)


def test_a_message_that_could_not_be_read_keeps_its_bytes_and_its_key() -> None:
    letter = LETTERS.of_message(InMessage("t", 3, 17, 1763085603.5, b"\xff", b"\x00 no JSON"), "why")
    assert (letter.topic, letter.value, letter.key, letter.partition) == (
        "app-dead-letter",
        b"\x00 no JSON",
        b"\xff",
        None,
    )
    assert headers(letter) == {
        "reason": "bad-message",
        "error": "why",
        "failed-at": "1763085603.5",
        "source-topic": "t",
        "source-partition": "3",
        "source-offset": "17",
    }


def test_a_message_without_value_stays_one() -> None:
    assert LETTERS.of_message(InMessage("t", 0, 0, 1.0, None, None), "why").value is None


def test_what_is_known_is_in_the_headers_and_zero_is_known() -> None:
    letter = LETTERS.letter(
        Reason.STATION_FAILED,
        "Traceback",
        value=b"{}",
        key=b"k",
        failed_at=2.0,
        source=Source("t", 0, 0),
        batch_id="b",
        station_id="场站",
    )
    assert headers(letter) == {
        "reason": "station-failed",
        "error": "Traceback",
        "failed-at": "2.0",
        "source-topic": "t",
        "source-partition": "0",
        "source-offset": "0",
        "batch-id": "b",
        "station-id": "场站",
    }


def test_what_is_not_known_is_left_out() -> None:
    assert set(headers(letter_with("why"))) == {"reason", "error", "failed-at"}


@given(
    st.text(st.characters(exclude_characters="…", codec="utf-8"), max_size=30),
    st.sampled_from([0, 3, ERROR_BYTES - 1, ERROR_BYTES, 3 * ERROR_BYTES]),
)
def test_an_error_is_cut_in_the_middle_in_whole_characters(text: str, more: int) -> None:
    error = text + "é" * more + text
    cut = headers(letter_with(error))["error"]
    whole = error.encode(errors="replace").decode()
    if len(whole.encode()) <= ERROR_BYTES:
        assert cut == whole
    else:
        head, _, tail = cut.partition(" … ")
        assert whole.startswith(head)
        assert whole.endswith(tail)
        assert ERROR_BYTES - 6 <= len(cut.encode()) <= ERROR_BYTES


def test_a_long_message_keeps_the_name_of_its_error() -> None:
    cut = headers(letter_with("Traceback (most recent call last):\nValueError: " + "x" * 20_000))["error"]
    assert cut.startswith("Traceback (most recent call last):\nValueError: xxx")
    assert cut.endswith("xxx")


@pytest.mark.parametrize("size", [10, 64 * 1024, 64 * 1024 + 1])
def test_only_what_was_too_large_is_cut_to_its_first_64_kib(size: int) -> None:
    value = bytes(n % 251 for n in range(size))
    assert letter_with("e", Reason.TOO_LARGE, value).value == value[: 64 * 1024]
    assert letter_with("e", Reason.BAD_RECORD, value).value == value


def test_a_letter_made_again_is_identical() -> None:
    assert letter_with("why") == letter_with("why")
