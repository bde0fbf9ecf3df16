"""The Kafka headers of a source message that override a batch's timeout and id."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inputs.source_message import Overrides, batch_id, read_overrides


def test_without_headers_the_defaults_are_used() -> None:
    assert read_overrides([], max_age=60.0) == Overrides(None, None, replayed=False, problems=())


def test_headers_of_others_are_ignored() -> None:
    assert read_overrides([("traceparent", b"00"), ("Batch-Id", b"b")], max_age=60.0).batch_id is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"7", 7.0), (b"0.25", 0.25), (b" 2.5 ", 2.5), (b"1e1", 10.0), (b".5", 0.5), (b"+3.", 3.0), (b"1e300", 60.0)],
)
def test_a_timeout_in_seconds_is_taken_and_capped(text: bytes, seconds: float) -> None:
    assert read_overrides([("batch-timeout", text)], max_age=60.0) == Overrides(seconds, None, False, ())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"soon",
        b"0",
        b"0.0",
        b"-1",
        b"nan",
        b"inf",
        b"1e999",
        b"1_0",
        b"5s",
        b"0x5",
        b"\xff",
        b"\xd9\xa3",
        b"1" * 999,
    ],
)
def test_an_invalid_timeout_is_a_problem_and_the_default_used(text: bytes) -> None:
    overrides = read_overrides([("batch-timeout", text), ("batch-id", b"b-1")], max_age=60.0)
    assert overrides.timeout is None
    assert overrides.batch_id == "b-1"
    (problem,) = overrides.problems
    assert problem.startswith("header batch-timeout: '")
    assert problem.endswith(" is not a finite number of seconds above 0")
    assert len(problem) < 300


@pytest.mark.parametrize("name", ["b", "A-z_0.9:x", "x" * 200, "SCHEDULE-STATION-REALTIME-DATA_1763085600"])
def test_a_batch_id_of_the_allowed_characters_is_taken(name: str) -> None:
    assert read_overrides([("batch-id", name.encode())], max_age=60.0) == Overrides(None, name, False, ())


@pytest.mark.parametrize("value", [b"", b"x" * 201, b"a b", b"a\n", b"a/b", "批次".encode(), b"\xff", "é".encode()])
def test_an_invalid_batch_id_is_a_problem_and_the_default_used(value: bytes) -> None:
    overrides = read_overrides([("batch-id", value), ("batch-timeout", b"3")], max_age=60.0)
    assert (overrides.timeout, overrides.batch_id) == (3.0, None)
    (problem,) = overrides.problems
    assert problem.startswith(f"header batch-id: {repr(value[:100])[1:]}")


def test_a_header_without_a_value_is_a_problem_that_says_so() -> None:
    assert read_overrides([("batch-timeout", None), ("batch-id", None)], max_age=60.0).problems == (
        "header batch-timeout: no value is not a finite number of seconds above 0",
        "header batch-id: no value is not 1 to 200 characters of A-Z a-z 0-9 . _ : -",
    )


def test_a_replayed_message_may_name_a_batch_of_the_longest_topic() -> None:
    name = batch_id("T" * 249, 99_999_999_999)
    headers = [("batch-id", name.encode()), ("replayed", b"0@0")]
    assert read_overrides(headers, max_age=60.0).batch_id == name
    assert read_overrides(headers[:1], max_age=60.0).batch_id is None


@pytest.mark.parametrize(
    ("value", "replayed"), [(b"", True), (None, True), (b"1", True), (b"true", True), (b"0", False), (b"False", False)]
)
def test_replayed_is_a_flag_that_counts_when_it_is_there(value: bytes | None, replayed: bool) -> None:
    assert read_overrides([("replayed", value)], max_age=60.0) == Overrides(None, None, replayed, ())


def test_the_last_of_two_headers_of_one_name_counts() -> None:
    overrides = read_overrides(
        [("batch-id", b"a"), ("batch-id", b"b"), ("batch-timeout", b"?"), ("batch-timeout", b"1")], max_age=9.0
    )
    assert overrides == Overrides(1.0, "b", False, ())


@given(
    st.lists(st.tuples(st.sampled_from(["batch-timeout", "batch-id", "replayed", "other"]), st.none() | st.binary())),
    st.floats(min_value=0.001, max_value=1e9),
)
def test_no_header_whatever_raises_and_a_timeout_is_within_its_bounds(
    headers: list[tuple[str, bytes | None]], max_age: float
) -> None:
    timeout = read_overrides(headers, max_age=max_age).timeout
    assert timeout is None or (0 < timeout <= max_age and math.isfinite(timeout))


LONG = 300_000


@pytest.mark.parametrize("text", ["1" * LONG + "x", "." + "1" * LONG + "x", " " * LONG + "x", "1e" + "1" * LONG])
def test_a_header_takes_a_time_that_is_linear_in_its_length(text: str) -> None:
    # Quadratic, this would go on for an hour.
    wishes = read_overrides([("batch-timeout", text.encode())], max_age=60.0)
    assert wishes.timeout is None
    assert len(wishes.problems[0]) < 300
