"""The output message of a batch: its bytes, its parts, its headers."""

from __future__ import annotations

import json
from dataclasses import replace
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.messages.output import OutputId, headers_of, meta_of, number_in, output_id, parts_of, payload_of, whole_outputs
from tables.model.enums import Action, CompletedBy, Status
from tables.model.events import Decision, Operator

BATCH = "SCHEDULE-STATION-REALTIME-DATA_1763085600"


def decision_of(results: tuple[str, ...], **others: tuple[str, ...]) -> Decision:
    """A batch with these results, and stations that are missing or empty."""
    missing, empty = others.get("missing", ()), others.get("empty", ())
    return Decision(
        batch_id=BATCH,
        revision=1,
        completed_by=CompletedBy.TIMEOUT if missing else CompletedBy.ALL,
        status=Status.PARTIAL if missing else Status.COMPLETE,
        opened_at=1763085603.001,
        deadline=1763085608.001,
        closed_at=1763085603.123,
        expected=(*(f"station {n}" for n in range(len(results))), *missing, *empty, "D"),
        results=results,
        missing=missing,
        failed=(("D", "ValueError: ..."),),
        empty=empty,
    )


def test_the_payload_is_the_contracts_example() -> None:
    decision = decision_of(('{"station_id":"A","result":123}', '{"station_id":"C","result":789}'), empty=("B",))
    assert payload_of(decision, "load_prediction", meta=meta_of(decision)) == (
        b'{"batch_id":"SCHEDULE-STATION-REALTIME-DATA_1763085600","module":"load_prediction","timestamp":1763085603.123,'
        b'"stations":[{"station_id":"A","result":123},{"station_id":"C","result":789}],"station_count":2,'
        b'"meta":{"status":"complete","completed_by":"all","revision":1,"expected_count":4,"arrived_count":4,'
        b'"missing":[],"failed":[{"station_id":"D","error":"ValueError: ..."}],"empty":["B"],'
        b'"opened_at":1763085603.001,"deadline":1763085608.001,"closed_at":1763085603.123,"part":1,"parts":1}}'
    )


def test_without_meta_the_payload_ends_with_the_count() -> None:
    (part,) = parts_of(decision_of(('{"station_id":"A"}',)), "m", with_meta=False, max_bytes=10_000)
    assert part.value == (
        b'{"batch_id":"SCHEDULE-STATION-REALTIME-DATA_1763085600","module":"m","timestamp":1763085603.123,'
        b'"stations":[{"station_id":"A"}],"station_count":1}'
    )


def test_missing_stations_are_named_and_counted() -> None:
    meta = meta_of(decision_of(("1",), missing=("X", "Y")))
    assert (meta["status"], meta["completed_by"], meta["missing"]) == ("partial", "timeout", ("X", "Y"))
    assert (meta["expected_count"], meta["arrived_count"]) == (4, 2)


def test_an_operator_is_named_only_where_one_has_acted() -> None:
    assert "operator" not in meta_of(decision_of(()))
    acted = replace(decision_of(()), operator=Operator(Action.EXTEND, "ops@10.0.0.7", 1763085604.5))
    assert meta_of(acted)["operator"] == {"action": "extend", "by": "ops@10.0.0.7", "at": 1763085604.5}


def test_a_batch_without_any_result_has_an_empty_list() -> None:
    (part,) = parts_of(decision_of(()), "m", with_meta=True, max_bytes=1)
    payload = json.loads(part.value)
    assert (payload["stations"], payload["station_count"]) == ([], 0)


def test_the_headers_say_what_the_message_is() -> None:
    assert headers_of(decision_of((), missing=("X",)), 2, 3) == [
        ("completed-by", b"timeout"),
        ("revision", b"1"),
        ("part", b"2"),
        ("parts", b"3"),
    ]


def test_a_message_is_known_by_its_key_revision_and_part_and_one_of_several_by_its_bytes() -> None:
    headers = headers_of(decision_of(()), 2, 3)
    assert output_id(BATCH.encode(), headers, b"{}") == OutputId(BATCH.encode(), 1, 2, 3, crc32(b"{}"))
    assert output_id(None, headers, None) == OutputId(b"", 1, 2, 3, 0)
    assert output_id(b"key", headers_of(decision_of(())), b"{}") == OutputId(b"key", 1, 1, 1, 0)


def test_an_output_is_whole_when_all_parts_of_one_cut_are_there() -> None:
    cut = [OutputId(b"a", 1, part, 3, part) for part in (1, 2, 3)]
    assert whole_outputs(cut) == {(b"a", 1)}
    assert whole_outputs([*cut[:2], OutputId(b"a", 1, 3, 4, 9), OutputId(b"b", 2, 1, 1, 0)]) == {(b"b", 2)}


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("revision", b"1")],
        [("revision", b"x"), ("part", b"1")],
        [("revision", b"1"), ("part", None)],
        [("revision", b"9" * 5000), ("part", b"1")],
        [("revision", b"1"), ("part", b"9" * 30)],
        [("revision", b"0"), ("part", b"1")],
    ],
)
def test_a_message_without_revision_and_part_has_no_id(headers: list[tuple[str, bytes | None]]) -> None:
    assert output_id(b"key", headers, b"{}") is None


@pytest.mark.parametrize(
    ("header", "number"),
    [
        (b"1", 1),
        (b"007", 7),
        (b"999999999", 999_999_999),
        (b"1000000000", None),
        (b"9" * 5000, None),  # Python refuses to read more than 4,300 digits
        (b"0", None),
        (b"-1", None),
        (b"1.0", None),
        ("１".encode(), None),
        (b" 1", None),
        (b"", None),
        (None, None),
    ],
)
def test_a_number_in_a_header_has_at_most_nine_digits_and_is_above_zero(
    header: bytes | None, number: int | None
) -> None:
    assert number_in(header) == number


results = st.lists(st.text(max_size=60).map(json.dumps), max_size=40).map(tuple)


@settings(max_examples=150)
@given(results, st.integers(0, 900), st.booleans())
def test_parts_hold_every_result_once_in_order_within_the_limit(
    texts: tuple[str, ...], room: int, with_meta: bool
) -> None:
    decision = decision_of(texts, missing=("X",))
    empty = len(payload_of(decision, "m", results=(), meta=meta_of(decision) if with_meta else None))
    limit = empty + 32 + max([room, *(len(text.encode()) + 1 for text in texts)])
    parts = parts_of(decision, "m", with_meta=with_meta, max_bytes=limit)
    payloads = [json.loads(part.value) for part in parts]
    assert max(len(part.value) for part in parts) <= limit
    assert [result for payload in payloads for result in payload["stations"]] == [json.loads(text) for text in texts]
    assert [payload["station_count"] for payload in payloads] == [len(payload["stations"]) for payload in payloads]
    assert [(part.number, part.count) for part in parts] == [(n + 1, len(parts)) for n in range(len(parts))]
    if with_meta:
        assert [(payload["meta"]["part"], payload["meta"]["parts"]) for payload in payloads] == [
            (part.number, part.count) for part in parts
        ]
    assert all("meta" in payload for payload in payloads) == with_meta


@pytest.mark.parametrize("over", [0, 1])
def test_an_output_is_split_only_when_it_is_over_the_limit(over: int) -> None:
    decision = decision_of(tuple(f'"{n}"' for n in range(500)))
    whole = payload_of(decision, "m", meta=meta_of(decision))
    parts = parts_of(decision, "m", with_meta=True, max_bytes=len(whole) - over)
    assert (len(parts) == 1) == (over == 0)
    assert (parts[0].value == whole) == (over == 0)


def test_error_texts_are_cut_when_meta_would_leave_no_room_for_results() -> None:
    failed = tuple((f"S{number}", "ValueError: " + "x" * 480) for number in range(200))
    decision = replace(
        decision_of(tuple(f'{{"station_id":"R{number}","result":1}}' for number in range(50))), failed=failed
    )
    parts = parts_of(decision, "m", with_meta=True, max_bytes=20_000)
    assert all(len(part.value) <= 20_000 for part in parts)
    metas = [json.loads(part.value)["meta"] for part in parts]
    assert all([one["station_id"] for one in meta["failed"]] == [name for name, _ in failed] for meta in metas)
    assert sum(json.loads(part.value)["station_count"] for part in parts) == 50
