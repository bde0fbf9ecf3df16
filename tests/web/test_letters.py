"""Dead letters and late results, as the web tells them and sends them again."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import orjson
import pytest

from app.web.access import Access
from app.web.routers import letters
from app.web.routers.letters import MOST_IDS, VALUE_BYTES
from tests.web.asking import Ask, ask, ask_all, get
from tests.web.fake_worker import FakeWorker
from tests.web.letters_put import TRACE, mark_replayed, put
from tests.web.live_cluster import TOKEN, Live, on_cluster

RIGHT = {"authorization": f"Bearer {TOKEN}", "x-operator": "Zhang"}
READER = "looks"
GUARDED = Access(TOKEN, read_token=READER)


def ids(answer: Any) -> list[str]:
    return [letter["id"] for letter in answer["letters"]]


# -- looking -----------------------------------------------------------------------------------------------------------


def test_letters_are_listed_newest_first_with_what_they_tell() -> None:
    worker = FakeWorker()
    source = {"source-topic": "T", "source-partition": "2", "source-offset": "7"}
    old = put(worker, source, at=100.0, batch_id="T_1", station_id="A")
    new = put(worker, at=200.0, partition=1, reason="bad-message")
    mark_replayed(worker, old, 300.0)
    answer = get(worker, "/dead-letters")
    assert (ids(answer), answer["next"]) == ([new, old], None)
    assert answer["letters"][1] == {
        "id": "0@0",
        "reason": "station-failed",
        "error": "ValueError: no <b>model</b>",
        "failed_at": 100.0,
        "batch_id": "T_1",
        "station_id": "A",
        "source_topic": "T",
        "source_partition": 2,
        "source_offset": 7,
        "replayed_at": 300.0,
    }
    assert {answer["letters"][0][name] for name in ("batch_id", "station_id", "source_topic", "replayed_at")} == {None}


def test_letters_are_filtered() -> None:
    worker = FakeWorker()
    now = time.time()
    first = put(worker, at=now - 7200, batch_id="b1", station_id="A")
    second = put(worker, at=now - 600, batch_id="b2", station_id="场 1", reason="discarded")
    third = put(worker, at=now - 60, batch_id="b2", station_id="A", partition=1)
    for query, due in {
        "reason=discarded": [second],
        "station=A": [third, first],
        "station=%E5%9C%BA%201": [second],
        "batch=b2": [third, second],
        "batch=b2&station=A": [third],
        "since=15m": [third, second],
        "since=1h30m&until=5m": [second],
        f"until={now - 3600:.3f}": [first],
        f"since={now - 700:.3f}&until={now - 500:.3f}": [second],
        "batch=unknown": [],
        "reason=&station=&batch=&since=&until=&limit=&cursor=": [third, second, first],
    }.items():
        assert ids(get(worker, f"/dead-letters?{query}")) == due, query


def test_pages_go_on_where_the_one_before_ended_while_letters_arrive() -> None:
    worker = FakeWorker()
    due = [put(worker, at=float(number), partition=number % 2) for number in range(7)]
    seen, cursor = [], ""
    while cursor is not None:
        answer = get(worker, f"/dead-letters?limit=2&cursor={cursor}")
        seen += ids(answer)
        cursor = answer["next"]
        put(worker, at=1000.0, partition=len(seen) % 2)
    assert seen == due[::-1]


def test_one_letter_has_its_whole_error_and_its_value() -> None:
    worker = FakeWorker()
    letter_id = put(worker, value='{"T": ["场"]}'.encode(), batch_id="b")
    detail = get(worker, f"/dead-letters/{letter_id}")
    assert (detail["id"], detail["error"], detail["value"], detail["value_base64"]) == (
        letter_id,
        TRACE,
        '{"T": ["场"]}',
        None,
    )
    assert (detail["key"], detail["key_base64"], detail["value_bytes"], detail["value_cut"]) == ("key", None, 14, False)
    assert (detail["batch_id"], detail["written_at"], detail["replayed_at"]) == ("b", 100.0, None)


@pytest.mark.parametrize(
    ("value", "text", "encoded", "cut"),
    [
        (None, None, None, False),
        (b"", "", None, False),
        (b"\xff\x00", None, "/wA=", False),
        (b"<script>\x00\x1b", "<script>\x00\x1b", None, False),
        (b"x" * (VALUE_BYTES + 1), "x" * VALUE_BYTES, None, True),
        (b"x" * (VALUE_BYTES - 1) + "场".encode(), "x" * (VALUE_BYTES - 1), None, True),
    ],
)
def test_a_value_is_text_or_marked_and_bounded(
    value: bytes | None, text: str | None, encoded: str | None, cut: bool
) -> None:
    worker = FakeWorker()
    detail = get(worker, f"/dead-letters/{put(worker, value=value)}")
    assert (detail["value"], detail["value_base64"], detail["value_cut"]) == (text, encoded, cut)
    assert detail["value_bytes"] == len(value or b"")


def test_a_letter_that_is_not_there_is_404() -> None:
    worker = FakeWorker()
    put(worker)
    for letter_id in ("0@1", "1@0", "7@0", "999999999@999999999999999999"):
        answer = ask(worker, f"/dead-letters/{letter_id}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown-letter"), letter_id


def test_a_letter_whose_place_is_a_hole_now_is_404() -> None:
    worker = FakeWorker()
    put(worker)
    worker.append(worker.settings.dead_letter_topic, b"{}", hole=1)
    assert ask(worker, "/dead-letters/0@1").status_code == 404


def test_what_has_been_replayed_is_read_on_and_also_of_a_topic_that_was_made_again() -> None:
    worker = FakeWorker()
    first, second = put(worker, at=1.0), put(worker, at=2.0)
    replayed = worker.settings.replayed_topic
    mark_replayed(worker, first, 50.0)

    def told() -> list[float | None]:
        return [letter["replayed_at"] for letter in get(worker, "/dead-letters")["letters"]]

    async def test(live: list[Live]) -> None:
        async def told() -> list[float | None]:
            return [letter["replayed_at"] for letter in (await live[0].get("/dead-letters"))["letters"]]

        assert await told() == [None, 50.0]
        mark_replayed(worker, second, 60.0)
        mark_replayed(worker, first, 70.0)
        assert await told() == [60.0, 70.0]
        worker.append(replayed, None, key=first.encode())
        assert await told() == [60.0, None]
        worker.logs[replayed] = {0: []}
        mark_replayed(worker, first, 80.0)
        assert await told() == [None, 80.0]

    on_cluster([worker], test)
    assert told() == [None, 80.0]


def test_a_log_of_many_replays_is_read_in_bounded_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = FakeWorker()
    letter_id = put(worker)
    for number in range(50):
        mark_replayed(worker, letter_id, float(number))
    monkeypatch.setattr(letters, "_LOG_WINDOW", 16)
    monkeypatch.setattr(letters, "_LOG_BYTES", 200)
    assert get(worker, "/dead-letters")["letters"][0]["replayed_at"] == 49.0


def test_letters_that_others_have_written_are_told_as_far_as_they_tell() -> None:
    worker = FakeWorker()
    topic = worker.settings.dead_letter_topic
    worker.append(topic, None, {"failed-at": "nan", "source-partition": "-1", "error": "\x00\u2028x"})
    worker.append(topic, b"", {"failed-at": "1e999", "reason": "of my own"}, at=-0.001)
    second, first = get(worker, "/dead-letters")["letters"]
    assert (first["reason"], first["failed_at"], first["error"]) == ("", 100.0, "\x00\u2028x")
    assert (second["reason"], second["failed_at"]) == ("of my own", -0.001)


@pytest.mark.parametrize(
    "query",
    [
        *("reason=x", "limit=0", "limit=1001", "limit=x", "cursor=x", "cursor=W1swLC0xXV0", "since=x", "since=-1"),
        *(
            "since=1y",
            "until=2025-11-14",
            "since=NaN",
            "since=1e5",
            "until=%EF%BC%91",
            "since=10m;",
            "since=999999999999",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/dead-letters", "/late"])
def test_bad_input_is_400(path: str, query: str) -> None:
    if (path, query) == ("/late", "reason=x"):
        query = "limit=-1"
    answer = ask(FakeWorker(), f"{path}?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad-request")


@pytest.mark.parametrize(
    "letter_id",
    [
        "x",
        "0",
        "0@",
        "@0",
        "-1@0",
        "0@-1",
        "0@0x",
        "0@0@0",
        "1000000000@0",
        "0@1000000000000000000",
        "%D9%A0@0",
        "0@0%0A",
        "<b>",
    ],
)
def test_an_id_that_is_none_is_400(letter_id: str) -> None:
    answer = ask(FakeWorker(), f"/dead-letters/{letter_id}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad-request")


@pytest.mark.parametrize("path", ["/dead-letters", "/dead-letters/0@0", "/late"])
def test_without_a_broker_the_answer_is_503_and_says_what_is_wrong(path: str) -> None:
    worker = FakeWorker()
    worker.unreadable = "topic x can't be read from Kafka now"
    answer = ask(worker, path)
    assert (answer.status_code, answer.json()["error"]) == (
        503,
        {"code": "broker-away", "message": "topic x can't be read from Kafka now"},
    )


def test_known_and_unknown_letters_are_the_same_to_who_has_no_token() -> None:
    worker = FakeWorker()
    known = put(worker)
    paths = [f"/dead-letters/{known}", "/dead-letters/7@7", "/dead-letters/x", "/dead-letters", "/late"]
    requests = [Ask(path) for path in paths]
    requests += [
        Ask("/dead-letters/replay", "POST", content=orjson.dumps({"ids": [one]})) for one in (known, "7@7", "x")
    ]
    answers = ask_all(worker, requests, GUARDED)
    assert {(answer.status_code, answer.content) for answer in answers} == {(401, answers[0].content)}


# -- sending again -----------------------------------------------------------------------------------------------------


def replay(worker: FakeWorker, body: Any, access: Access = GUARDED, **headers: str) -> Any:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return ask(worker, "/dead-letters/replay", method="POST", headers=RIGHT | headers, content=content, access=access)


def test_a_dry_run_says_what_would_be_done() -> None:
    worker = FakeWorker()
    letter_id = put(worker)
    for body in ({"ids": [letter_id]}, {"ids": [letter_id, letter_id], "dry_run": True, "again": False}):
        answer = replay(worker, body)
        assert (answer.status_code, answer.json()) == (
            200,
            {"letters": [{"id": letter_id, "to": "T", "would": "send", "why": None}], "by": "Zhang", "dry_run": True},
        )
    assert worker.replays == [([(0, 0)], "Zhang", True, False)] * 2


def test_letters_are_sent_again_in_the_operator_s_name_which_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    worker = FakeWorker()
    first, second = put(worker), put(worker, partition=1)
    with caplog.at_level(logging.INFO):
        answer = replay(worker, {"ids": [second, first, "5@5"], "dry_run": False, "again": True})
    assert answer.status_code == 202
    assert [(row["id"], row["would"]) for row in answer.json()["letters"]] == [
        (second, "sent"),
        (first, "sent"),
        ("5@5", "unknown"),
    ]
    assert worker.replays == [([(1, 0), (0, 0), (5, 5)], "Zhang", False, True)]
    topic = worker.settings.dead_letter_topic
    said = [record.getMessage() for record in caplog.records if record.name.startswith("app.web")]
    assert said == [
        f"Dead letters of {topic} sent again by operator Zhang: {{'1@0', '0@0'}}",
        "Operator Zhang at 127.0.0.1 with the operator token: POST /dead-letters/replay was answered with 202",
    ]


def test_letters_none_of_which_is_there_are_404() -> None:
    worker = FakeWorker()
    answer = replay(worker, {"ids": ["0@0"], "dry_run": False})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown-letter")


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"{",
            b"[]",
            b"null",
            {},
            {"ids": []},
            {"ids": "0@0"},
            {"ids": [0]},
            {"ids": ["x"]},
            {"ids": ["0@0", None]},
        ),
        *({"ids": ["0@0"], "dry_run": "no"}, {"ids": ["0@0"], "again": 1}, {"ids": ["0@0"], "dry_run": None}),
        *({"ids": ["0@0"], "more": 1}, {"ids": [f"0@{number}" for number in range(MOST_IDS + 1)]}),
    ],
)
def test_a_request_to_send_again_that_is_none_is_400(body: Any) -> None:
    worker = FakeWorker()
    put(worker)
    answer = replay(worker, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad-request")
    assert worker.replays == []


def test_as_many_letters_as_are_allowed_fit_into_a_request() -> None:
    worker = FakeWorker()
    every = [f"999999999@{10**17 + number}" for number in range(MOST_IDS)]
    assert replay(worker, {"ids": every, "dry_run": False, "again": False}).status_code == 404
    assert len(worker.replays[0][0]) == MOST_IDS


@pytest.mark.parametrize(
    ("access", "token", "status"),
    [
        (Access(), TOKEN, 403),
        (GUARDED, READER, 403),
        (GUARDED, "wrong", 401),
        (Access(read_token=READER), READER, 403),
    ],
)
def test_only_an_operator_sends_letters_again(access: Access, token: str, status: int) -> None:
    worker = FakeWorker()
    letter_id = put(worker)
    for body in ({"ids": [letter_id], "dry_run": False}, {"ids": [letter_id]}, b"nonsense"):
        assert replay(worker, body, access, authorization=f"Bearer {token}").status_code == status
    assert worker.replays == []


def test_without_a_broker_nothing_is_sent_again() -> None:
    worker = FakeWorker()
    worker.unreadable = "no broker"
    answer = replay(worker, {"ids": ["0@0"], "dry_run": False})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "broker-away")


# -- late results ------------------------------------------------------------------------------------------------------


def put_late(
    worker: FakeWorker, batch_id: str, station: str, at: float, reason: str = "batch-closed", **more: Any
) -> None:
    record = {
        "batch_id": batch_id,
        "station_id": station,
        "status": "result",
        "result": {"n": 1},
        "reason": reason,
        "revision": 1,
        "closed_at": at - 2,
        "timestamp": at,
    } | more
    # Both of the fake's partitions may have it: the hash of one partition is always 0.
    worker.append(worker.settings.late_topic, json.dumps(record).encode(), at=at, key=batch_id.encode(), partition=0)


def test_late_results_are_listed_newest_first() -> None:
    worker = FakeWorker()
    put_late(worker, "b1", "A", 100.0)
    put_late(worker, "b2", "B", 200.0, reason="unknown-batch", status="failed", closed_at=None, revision=0)
    answer = get(worker, "/late")
    assert answer == {
        "late": [
            {
                "batch_id": "b2",
                "station_id": "B",
                "status": "failed",
                "reason": "unknown-batch",
                "revision": 0,
                "closed_at": None,
                "timestamp": 200.0,
            },
            {
                "batch_id": "b1",
                "station_id": "A",
                "status": "result",
                "reason": "batch-closed",
                "revision": 1,
                "closed_at": 98.0,
                "timestamp": 100.0,
            },
        ],
        "next": None,
    }


def test_late_results_are_filtered_and_come_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "partition_of", lambda *_: 0)
    worker = FakeWorker()
    now = time.time()
    put_late(worker, "b1", "A", now - 7200)
    put_late(worker, "b2", "B", now - 60, reason="unknown-batch")
    put_late(worker, "b2", "A", now - 30)

    def rows(query: str) -> list[tuple[str, str]]:
        return [(row["batch_id"], row["station_id"]) for row in get(worker, f"/late?{query}")["late"]]

    assert rows("batch=b2") == [("b2", "A"), ("b2", "B")]
    assert rows("station=A") == [("b2", "A"), ("b1", "A")]
    assert rows("reason=unknown-batch") == [("b2", "B")]
    assert rows("since=1h") == [("b2", "A"), ("b2", "B")]
    assert rows("until=1h") == [("b1", "A")]
    assert rows("batch=b2&station=B&since=1h") == [("b2", "B")]
    assert rows("batch=none") == []
    cursor, seen = "", []
    while cursor is not None:
        answer = get(worker, f"/late?limit=1&cursor={cursor}")
        seen += [row["station_id"] for row in answer["late"]]
        cursor = answer["next"]
    assert seen == ["A", "B", "A"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff",
        b"[]",
        b'{"timestamp": 1e999}',
        b' {"revision": 1' + b"0" * 400 + b"}",
        b'{"station_id": "\\ud800"}',
    ],
)
def test_a_late_record_of_somebody_else_is_told_as_far_as_it_tells(value: bytes | None) -> None:
    worker = FakeWorker()
    worker.append(worker.settings.late_topic, value, key=b"k\xff", at=5.0)
    (row,) = get(worker, "/late")["late"]
    assert (row["timestamp"], row["revision"]) == (5.0, None)


def test_an_id_that_is_none_is_named_by_its_place_with_what_is_allowed() -> None:
    said = "must be PARTITION@OFFSET, such as 3@17, got"
    message = replay(FakeWorker(), {"ids": ["0@1", "x"]}).json()["error"]["message"]
    assert message == f"ids.1: {said} 'x'"
    answer = ask(FakeWorker(), "/dead-letters/1@-2")
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, f"letter_id: {said} '1@-2'")
