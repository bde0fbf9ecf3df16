"""What is sent when a dead letter is replayed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from app.kafka.replay import CannotReplay, ReplayRules
from app.messages.dead_letters import Letter
from app.messages.output import headers_of, meta_of, payload_of
from app.settings import Settings
from tables.model.enums import CompletedBy, Status
from tables.model.events import Decision, Source

SETTINGS = Settings(app_id="app", output_topic="OUT")
RULES = ReplayRules(SETTINGS, max_bytes=10_000, handler_failed=False)
LETTER = Letter(
    partition=1,
    offset=7,
    written_at=1.0,
    failed_at=1.0,
    reason="station-failed",
    error="ValueError",
    source=Source("T", 2, 17),
    batch_id="T_1763085600",
    station_id="A",
    size=8,
    key=b"\xffkey",
    value=b'{"T":[]}',
)
DECISION = Decision(
    batch_id="T_1763085600",
    revision=1,
    completed_by=CompletedBy.TIMEOUT,
    status=Status.DISCARDED,
    opened_at=100.0,
    deadline=105.0,
    closed_at=105.25,
    expected=("A", "B", "C", "D"),
    results=('{"station_id":"A","n":123456789012345678901234567890}', '{"station_id":"B","名":1.5}'),
    missing=("C",),
    failed=(("D", "ValueError: no"),),
    empty=(),
)


def payload(**changes: Any) -> bytes:
    """The default payload of the decision as a letter has it."""
    decision = replace(DECISION, **changes)
    return payload_of(decision, "m", meta=meta_of(decision))


def discarded(value: bytes | None, reason: str = "discarded") -> Letter:
    return replace(
        LETTER, reason=reason, source=None, station_id=None, key=b"T_1763085600", value=value, size=len(value or b"")
    )


@pytest.mark.parametrize("reason", ["bad-message", "bad-record", "station-failed"])
def test_it_goes_to_its_source_topic_with_its_key_and_the_batch_it_was_of(reason: str) -> None:
    (message,) = RULES.messages(replace(LETTER, reason=reason))
    assert (message.topic, message.key, message.value, message.partition) == ("T", b"\xffkey", b'{"T":[]}', None)
    assert message.headers == [("batch-id", b"T_1763085600"), ("replayed", b"1@7")]


def test_what_is_replayed_goes_on_with_the_trace_of_the_letter() -> None:
    trace = (("traceparent", b"00-1-2-01"), ("tracestate", b"plant=7"))
    (source,) = RULES.messages(replace(LETTER, trace=trace))
    assert source.headers == [("batch-id", b"T_1763085600"), ("replayed", b"1@7"), *trace]
    (output,) = RULES.messages(replace(discarded(payload()), trace=trace))
    assert [name for name, _ in output.headers] == [
        "completed-by", "revision", "part", "parts", "traceparent", "tracestate",
    ]  # fmt: skip
    passed = replace(LETTER, reason="handler-failed", batch_id=None, trace=trace)
    (single,) = replace(RULES, handler_failed=True).messages(passed)
    assert single.headers == trace


def test_who_sends_it_again_is_told_with_it_where_that_is_known() -> None:
    rules = replace(RULES, operator=("张", 7.5))
    (source,) = rules.messages(LETTER)
    assert source.headers[-1] == ("replayed-by", "张".encode())
    (output,) = rules.messages(discarded(payload()))
    assert json.loads(output.value or b"")["meta"]["operator"] == {"action": "replay", "by": "张", "at": 7.5}
    assert "operator" not in json.loads(RULES.messages(discarded(payload()))[0].value or b"")["meta"]


def test_a_letter_that_knows_no_batch_goes_out_without_its_id() -> None:
    (message,) = RULES.messages(replace(LETTER, reason="bad-message", batch_id=None, value=None))
    assert message.headers == [("replayed", b"1@7")]
    assert message.value is None


def test_a_message_of_an_internal_topic_goes_back_to_its_partition() -> None:
    (message,) = RULES.messages(replace(LETTER, reason="bad-message", source=Source("app-batch-events", 3, 1)))
    assert (message.topic, message.partition) == ("app-batch-events", 3)


def test_the_payload_of_a_discarded_batch_is_published_as_the_operators() -> None:
    (message,) = RULES.messages(discarded(payload()))
    published = replace(DECISION, completed_by=CompletedBy.OPERATOR, status=Status.PARTIAL)
    assert message.topic == "OUT"
    assert message.key == b"T_1763085600"
    assert message.headers == headers_of(published)
    assert message.value == payload_of(published, "m", meta=meta_of(published))


def test_a_discarded_batch_without_a_missing_station_is_complete() -> None:
    (message,) = RULES.messages(discarded(payload(missing=(), revision=3)))
    meta = json.loads(message.value or b"")["meta"]
    assert (meta["status"], meta["completed_by"], meta["revision"]) == ("complete", "operator", 3)
    assert dict(message.headers)["revision"] == b"3"


def test_meta_is_left_out_where_outputs_have_none() -> None:
    (message,) = replace(RULES, settings=SETTINGS.model_copy(update={"output_meta": False})).messages(
        discarded(payload())
    )
    assert message.value == payload_of(DECISION, "m", meta=None)
    assert dict(message.headers)["completed-by"] == b"operator"


def test_a_payload_over_the_limit_goes_out_in_parts() -> None:
    results = tuple(f'{{"station_id":"{name}","x":"{name * 200}"}}' for name in "ABCDE")
    (whole,) = replace(RULES, max_bytes=9000).messages(discarded(payload(results=results)))
    messages = replace(RULES, max_bytes=1100).messages(discarded(payload(results=results)))
    parts = [json.loads(message.value or b"") for message in messages]
    assert len(parts) > 1
    assert all(len(message.value or b"") <= 1100 for message in messages)
    assert [part["meta"]["part"] for part in parts] == list(range(1, len(parts) + 1))
    assert {part["meta"]["parts"] for part in parts} == {len(parts)}
    assert {message.key for message in messages} == {b"T_1763085600"}
    assert [dict(message.headers)["part"] for message in messages] == [b"%d" % n for n in range(1, len(parts) + 1)]
    assert all(part["station_count"] == len(part["stations"]) for part in parts)
    together = [result for part in parts for result in part["stations"]]
    assert together == json.loads(whole.value or b"")["stations"]


def test_a_part_of_a_payload_stays_that_part() -> None:
    part = payload_of(DECISION, "m", meta=meta_of(DECISION, part=2, parts=3))
    (message,) = replace(RULES, max_bytes=10).messages(discarded(part))
    assert dict(message.headers) == {"completed-by": b"operator", "revision": b"1", "part": b"2", "parts": b"3"}


def test_the_payload_of_a_failed_handler_is_published_only_when_that_is_asked_for() -> None:
    letter = discarded(payload(), "handler-failed")
    with pytest.raises(CannotReplay, match="--reason handler-failed"):
        RULES.messages(letter)
    (message,) = replace(RULES, handler_failed=True).messages(letter)
    assert message.topic == "OUT"


def test_the_payload_of_a_single_station_whose_handler_failed_is_published_as_one() -> None:
    value = b'{"station_id":"A","module":"m","result":7}'
    letter = replace(LETTER, reason="handler-failed", batch_id=None, key=b"A", value=value)
    (message,) = replace(RULES, handler_failed=True).messages(letter)
    assert (message.topic, message.key, message.value, message.headers) == ("OUT", b"A", value, ())


@pytest.mark.parametrize(
    ("letter", "why"),
    [
        (replace(LETTER, reason="too-large", size=65536), "only its first 65536 bytes"),
        (replace(LETTER, source=None), "which source message"),
        (replace(LETTER, reason="bored"), "'bored'"),
        *((discarded(value), "not the payload of a batch") for value in (None, b"", b"x", b"[]", b"7", b'{"meta":{}}')),
        (discarded(b'{"batch_id":7,"stations":[],"meta":{"missing":[],"revision":1,"part":1,"parts":1}}'), "payload"),
        (discarded(b'{"batch_id":"\\ud800","meta":{"missing":[],"revision":1,"part":1,"parts":1}}'), "payload"),
    ],
)
def test_what_can_not_be_sent_again_says_why(letter: Letter, why: str) -> None:
    with pytest.raises(CannotReplay, match=why):
        RULES.messages(letter)


def test_a_payload_that_is_nested_too_deeply_to_be_read_is_refused() -> None:
    deep = payload().replace(b'"missing":', b'"deep":' + b"[" * 500_000 + b"]" * 500_000 + b',"missing":', 1)
    with pytest.raises(CannotReplay, match="its value is not the payload of a batch: RecursionError"):
        RULES.messages(discarded(deep))


@pytest.mark.parametrize("number", [b"1e999", b"1.5", b"0", b"-1", b"1000000000", b"true", b"null", b"9" * 5000])
@pytest.mark.parametrize("name", [b"revision", b"part", b"parts"])
def test_a_payload_whose_numbers_are_none_of_an_output_is_refused(name: bytes, number: bytes) -> None:
    bad = payload().replace(b'"%b":1' % name, b'"%b":%b' % (name, number), 1)
    with pytest.raises(CannotReplay, match="its value is not the payload of a batch"):
        RULES.messages(discarded(bad))
