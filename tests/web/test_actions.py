"""What operators do to batches, and who may."""

from __future__ import annotations

import time
from typing import Any

import pytest

from app.web.access import Access
from tables.model.enums import Action
from tests.web.asking import Ask, ask_all
from tests.web.fake_worker import MAX_AGE, FakeWorker
from tests.web.live_cluster import TOKEN, Live, on_cluster

ACTIONS = ["complete", "discard", "extend"]
RIGHT = {"authorization": f"Bearer {TOKEN}"}
BODY = b'{"seconds": 10}'


def worker_with_batches() -> FakeWorker:
    worker = FakeWorker()
    worker.open("T_1", ["A", "B"], at=100.0)
    worker.add_closed("T_0", at=50.0)
    return worker


def act(
    worker: FakeWorker,
    action: str,
    *,
    batch_id: str = "T_1",
    content: bytes | None = BODY,
    access: Access = Access(TOKEN),  # noqa: B008 - frozen
    **headers: str,
) -> Any:
    sent = RIGHT | {name.replace("_", "-"): value for name, value in headers.items()}
    return ask_all(worker, [Ask(f"/batches/{batch_id}/{action}", "POST", sent, content)], access)[0]


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_is_a_command_in_the_log_of_its_batch(action: str) -> None:
    worker = worker_with_batches()
    before = time.time()
    answer = act(worker, action, x_operator="Zhang")
    (command,) = worker.commands
    seconds = 10.0 if action == "extend" else 0.0
    assert (command.batch_id, command.action, command.by, command.seconds) == ("T_1", Action(action), "Zhang", seconds)
    assert before <= command.at <= time.time()
    assert answer.status_code == 202
    assert answer.json() == {
        "batch_id": "T_1",
        "action": action,
        "by": "Zhang",
        "at": command.at,
        "deadline": 105.0 + seconds,
    }


def test_an_extension_says_where_the_deadline_will_be_at_most() -> None:
    assert act(worker_with_batches(), "extend", content=b'{"seconds": 58}').json()["deadline"] == 100.0 + MAX_AGE


@pytest.mark.parametrize("action", ACTIONS)
def test_without_a_token_at_the_workers_there_are_no_actions(action: str) -> None:
    worker = worker_with_batches()
    for batch_id, content in (("T_1", BODY), ("unknown", BODY), ("T_1", b"{nonsense"), ("T_0", b"")):
        answer = act(worker, action, batch_id=batch_id, content=content, access=Access())
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "actions-disabled")
    assert worker.commands == []


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("token", [None, "wrong"])
def test_who_has_not_the_token_does_nothing(action: str, token: str | None) -> None:
    worker = worker_with_batches()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    for batch_id in ("T_1", "T_0", "unknown"):
        (answer,) = ask_all(worker, [Ask(f"/batches/{batch_id}/{action}", "POST", headers, BODY)], Access(TOKEN))
        assert answer.status_code == 401
    assert worker.commands == []


@pytest.mark.parametrize("action", ACTIONS)
def test_an_unknown_batch_is_404_and_a_closed_one_409(action: str) -> None:
    worker = worker_with_batches()
    unknown, closed = act(worker, action, batch_id="unknown"), act(worker, action, batch_id="T_0")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown-batch")
    assert (closed.status_code, closed.json()["error"]["code"]) == (409, "batch-closed")
    assert closed.json()["error"]["message"] == "batch T_0 is closed: complete, by all"
    assert worker.commands == []


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"",
            b"{}",
            b"[]",
            b"10",
            b"null",
            b"{",
            b"\xff",
            b'{"seconds": 0}',
            b'{"seconds": -1}',
            b'{"seconds": "10"}',
        ),
        *(b'{"seconds": true}', b'{"seconds": NaN}', b'{"seconds": Infinity}', b'{"seconds": 1e999}'),
        *(b'{"seconds": null}', b'{"seconds": 60.001}', b'{"seconds": [10]}', b'{"seconds": 10, "more": 1}'),
    ],
)
def test_an_extension_that_is_none_is_400(content: bytes) -> None:
    worker = worker_with_batches()
    answer = act(worker, "extend", content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad-request")
    assert worker.commands == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "body: Field required"),
        (b"{}", "seconds: Field required"),
        (b'{"seconds": ', "body: not JSON: Expecting value at character 12"),
        (b'{"seconds": 0}', "seconds: Input should be greater than 0, got '0'"),
    ],
)
def test_what_is_wrong_with_an_extension_is_said(content: bytes, message: str) -> None:
    assert act(worker_with_batches(), "extend", content=content).json()["error"]["message"] == message


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain", "x"])
def test_a_body_is_json_whatever_it_is_called(content_type: str) -> None:
    assert act(worker_with_batches(), "extend", content_type=content_type).status_code == 202


def test_a_body_that_is_too_long_is_413() -> None:
    worker = worker_with_batches()
    answer = act(worker, "extend", content=b'{"seconds": 10' + b" " * 5000 + b"}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too-large")
    assert worker.commands == []


def test_who_does_not_say_who_he_is_is_the_address_that_he_asks_from() -> None:
    worker = worker_with_batches()
    assert act(worker, "complete").json()["by"] == "127.0.0.1"


@pytest.mark.parametrize("given", ["张伟".encode(), b"%E5%BC%A0%E4%BC%9F", b" \xe5\xbc\xa0%E4%BC%9F "])
def test_a_name_may_be_in_any_script(given: bytes) -> None:
    worker = worker_with_batches()
    (answer,) = ask_all(
        worker,
        [Ask("/batches/T_1/complete", "POST", [*RIGHT.items(), ("x-operator", given)])],  # type: ignore[list-item]
        Access(TOKEN),
    )
    assert (answer.status_code, answer.json()["by"]) == (202, "张伟")


@pytest.mark.parametrize("name", ["", " ", "a" * 65, "a%0Ab", "%1b[31m", "%FF", "%E2%80%AE", "a%00"])
def test_a_name_that_could_forge_a_log_line_is_400(name: str) -> None:
    worker = worker_with_batches()
    answer = act(worker, "complete", x_operator=name)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad-request")
    assert worker.commands == []


def test_what_kafka_does_not_confirm_is_not_accepted() -> None:
    worker = worker_with_batches()
    worker.is_unconfirmed = True
    answer = act(worker, "complete")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not-confirmed")


def test_another_method_does_nothing() -> None:
    worker = worker_with_batches()
    for action in ACTIONS:
        (answer,) = ask_all(worker, [Ask(f"/batches/T_1/{action}", "GET", RIGHT)], Access(TOKEN))
        assert answer.status_code == 405
    assert worker.commands == []


def test_a_worker_acts_on_a_batch_of_another_by_itself() -> None:
    first, second = FakeWorker(0), FakeWorker(1)
    second.open("T_1", ["A"], partition=1)
    second.add_closed("T_0", at=1.0, partition=1)
    first.home = 1

    async def test(live: list[Live]) -> None:
        assert (await live[0].ask("/batches/T_1/complete", method="POST")).status_code == 202
        assert (await live[0].ask("/batches/T_0/complete", method="POST")).status_code == 409
        assert (await live[0].ask("/batches/T_2/complete", method="POST")).status_code == 404
        second.sets.clear()
        assert (await live[0].ask("/batches/T_1/complete", method="POST")).status_code == 503

    on_cluster([first, second], test)
    assert [command.batch_id for command in first.commands] == ["T_1"]
    assert second.commands == []
