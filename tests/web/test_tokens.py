"""Two tokens: the operators', and the one of those who look and do not act."""

from __future__ import annotations

import asyncio
import logging

import pytest

from app.settings import Settings
from app.web.access import Access, Role, access_of
from tests.web.asking import Ask, ask, ask_all
from tests.web.fake_worker import FakeWorker
from tests.web.live_cluster import Live, on_cluster, peer

OPERATOR, READER = "the-operators-token", "the-readers-token"
BOTH = Access(OPERATOR, read_token=READER)
ONLY_READING = Access(read_token=READER)
LOOKS = ["/batches", "/batches/T_1", "/stats", "/stations", "/cluster", "/metrics", "/openapi.json", "/settings"]
LOOKS += ["/partitions", "/dead-letters", "/late", "/internal/batches"]
ACTIONS = ["/batches/T_1/complete", "/batches/unknown/discard", "/batches/T_1/extend", "/dead-letters/replay"]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def worker_with_a_batch() -> FakeWorker:
    worker = FakeWorker()
    worker.open("T_1", ["A"])
    return worker


@pytest.mark.parametrize("access", [BOTH, ONLY_READING])
def test_who_has_the_read_token_sees_everything_and_does_nothing(access: Access) -> None:
    worker = worker_with_a_batch()
    looks = ask_all(worker, [Ask(path, headers=bearer(READER)) for path in LOOKS], access)
    assert [answer.status_code for answer in looks] == [200] * len(LOOKS)
    acts = ask_all(worker, [Ask(path, "POST", bearer(READER), b"{nonsense") for path in ACTIONS], access)
    code = "read-only" if access.token else "actions-disabled"
    assert {(answer.status_code, answer.json()["error"]["code"]) for answer in acts} == {(403, code)}
    assert (worker.commands, worker.replays) == ([], [])


def test_with_both_tokens_the_operators_acts() -> None:
    worker = worker_with_a_batch()
    (answer,) = ask_all(worker, [Ask(ACTIONS[0], "POST", bearer(OPERATOR))], BOTH)
    assert answer.status_code == 202
    assert len(worker.commands) == 1


@pytest.mark.parametrize("access", [BOTH, ONLY_READING])
@pytest.mark.parametrize("given", ["", "Bearer x", f"Bearer {READER}x", f"Bearer {OPERATOR}{READER}", "Bearer "])
def test_a_wrong_token_is_401_for_looks_and_acts_alike(access: Access, given: str) -> None:
    requests = [Ask(path, headers={"authorization": given}) for path in (*LOOKS, "/nothing")]
    requests += [Ask(path, "POST", {"authorization": given}) for path in ACTIONS]
    answers = ask_all(worker_with_a_batch(), requests, access)
    assert {(answer.status_code, answer.content) for answer in answers} == {(401, answers[0].content)}


def test_the_operators_token_opens_nothing_where_only_the_read_token_is_set() -> None:
    assert ask(FakeWorker(), "/batches", headers=bearer(OPERATOR), access=ONLY_READING).status_code == 401


@pytest.mark.parametrize(
    ("access", "token", "role"),
    [
        (BOTH, OPERATOR, Role.OPERATOR),
        (BOTH, READER, Role.READER),
        (ONLY_READING, READER, Role.READER),
        (Access(OPERATOR), OPERATOR, Role.OPERATOR),
        (Access(), "any", Role.ANYONE),
    ],
)
def test_who_asks_is_told_what_his_token_allows(access: Access, token: str, role: Role) -> None:
    answer = ask(FakeWorker(), "/cluster", headers=bearer(token), access=access)
    assert answer.json()["access"] == role.value


def test_both_tokens_come_from_the_settings_and_show_in_no_text() -> None:
    access = access_of(Settings(web_token=OPERATOR, web_read_token=READER))
    assert (access.token, access.read_token, access.tokens) == (OPERATOR, READER, [OPERATOR, READER])
    assert OPERATOR not in repr(access)
    assert READER not in repr(access)


# -- between the workers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accesses",
    [
        [BOTH, BOTH],
        [ONLY_READING, ONLY_READING],
        [BOTH, ONLY_READING],  # one has been restarted with other tokens, the other will be
        [Access(OPERATOR), BOTH],
    ],
)
def test_workers_ask_each_other_with_the_token_that_the_other_takes(accesses: list[Access]) -> None:
    first, second = FakeWorker(0), FakeWorker(1)
    second.open("T_1", ["A"], partition=1)

    async def test(live: list[Live]) -> None:
        for _ in range(2):
            token = accesses[0].tokens[-1]
            answer = (await live[0].ask("/batches", token=token)).json()
            assert ([row["batch_id"] for row in answer["batches"]], answer["incomplete"]) == (["T_1"], [])

    on_cluster([first, second], test, accesses=accesses)


def test_a_worker_that_takes_neither_token_is_named_once_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[bytes] = []

    async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async def test(live: list[Live]) -> None:
        async with peer(refusing) as url:
            live[0].worker.others[url] = frozenset({1})
            for _ in range(2):
                assert (await live[0].ask("/batches", token=READER)).json()["incomplete"] == [url]

    with caplog.at_level(logging.WARNING):
        on_cluster([FakeWorker(0)], test, accesses=[BOTH])
    assert [OPERATOR.encode() in one for one in asked] == [True, False, True, False]
    assert len(caplog.records) == 1


# -- the log -----------------------------------------------------------------------------------------------------------


def test_every_action_is_in_the_log_with_who_asked_and_what_came_of_it(caplog: pytest.LogCaptureFixture) -> None:
    requests = [
        Ask("/batches/T_1/complete", "POST", bearer(OPERATOR) | {"x-operator": "Zhang"}),
        Ask("/batches/unknown/discard", "POST", bearer(OPERATOR)),
        Ask("/batches/T_1/extend", "POST", bearer(OPERATOR) | {"x-operator": "%00"}, b"{}"),
        Ask("/batches/T_1/discard", "POST", bearer(READER) | {"x-operator": "Li\tx"}),
        Ask("/batches/T_1/discard", "POST", bearer("wrong")),
    ]
    with caplog.at_level(logging.INFO):
        ask_all(worker_with_a_batch(), requests, BOTH)
    said = [(record.levelname, record.getMessage()) for record in caplog.records if record.name.endswith("operators")]
    assert said == [
        (
            "INFO",
            "Operator Zhang at 127.0.0.1 with the operator token: POST /batches/T_1/complete was answered with 202",
        ),
        (
            "INFO",
            "Operator 127.0.0.1 at 127.0.0.1 with the operator token: POST /batches/unknown/discard was answered with "
            "404",
        ),
        ("INFO", "Operator ? at 127.0.0.1 with the operator token: POST /batches/T_1/extend was answered with 400"),
        (
            "WARNING",
            "Operator ? at 127.0.0.1 with the read-only token: POST /batches/T_1/discard was answered with 403",
        ),
    ]
    assert OPERATOR not in caplog.text
    assert READER not in caplog.text
