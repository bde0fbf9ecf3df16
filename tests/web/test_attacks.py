"""What somebody gets who may not ask, or asks in ways that he should not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import chain

import pytest

from app.settings import Settings
from app.web import guard, server
from app.web.access import Access, access_of
from app.web.app import create_web
from app.web.cluster import INTERNAL
from app.web.guard import Buckets, client_of
from app.web.server import WebServer
from app.web.turns import Pace
from tests.web.asking import Ask, ask, ask_all
from tests.web.fake_worker import FakeWorker

TOKEN = "a-token-that-nobody-guesses"  # noqa: S105
GUARDED = Access(TOKEN)
RIGHT = {"authorization": f"Bearer {TOKEN}"}
KNOWN = Ask("/batches", headers=RIGHT)
GUESS = Ask("/batches", headers={"authorization": "Bearer guess"})
HEADERS = (
    "content-security-policy",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "cross-origin-resource-policy",
)


def worker_with_a_batch() -> FakeWorker:
    worker = FakeWorker()
    worker.open("T_1", ["station-that-is-a-secret"])
    return worker


# -- the token ---------------------------------------------------------------------------------------------------------

PATHS = ["/batches", "/batches/T_1", "/batches/unknown", "/metrics", "/openapi.json", "/nothing", "/docs", "/table/"]
COURSES = [f"/batches/{batch_id}/{what}" for batch_id in ("T_1", "unknown") for what in ("output", "timeline")]
STATIONS = [
    "/stations/station-that-is-a-secret",
    "/stations/?station=a-secret",
    "/stations/unknown",
    "/stations/%2F",
    "/stats?since=15m",
]
OWN = (
    "/batches",
    "/batches/T_1",
    "/rows/T_1",
    "/figures",
    "/tallies",
    "/samples?until=1763000000",
    "/lags?after=0",
    "/search",
    "/courses/T_1",
    "/times/T_1",
    "/one-station",
)
INTERNAL_PATHS = [f"{INTERNAL}{path}" for path in OWN]
ENCODED = ["/batches/T%5F1", "/batches/%54_1", "/batches/T_1%2Fcomplete", "/batches/..%2Fhealthz", "/%68ealthz/"]


def test_without_the_token_every_path_has_the_same_answer() -> None:
    paths = [
        *PATHS,
        *COURSES,
        *STATIONS,
        *INTERNAL_PATHS,
        *ENCODED,
        "/batches?limit=0",
        "/healthz/",
        "/readyz//",
        "/static",
        "/%2e/healthz",
    ]
    methods = ["GET", "POST", "DELETE", "OPTIONS", "TRACE"]
    # A worker for each method: after a hundred guesses there is another answer.
    asked = [ask_all(worker_with_a_batch(), [Ask(path, method) for path in paths], GUARDED) for method in methods]
    first, *others = chain.from_iterable(asked)
    assert first.status_code == 401
    assert first.headers["www-authenticate"] == "Bearer"
    assert all(name in first.headers for name in HEADERS)
    assert "secret" not in first.text
    for other in others:
        assert (other.status_code, other.content, other.headers) == (401, first.content, first.headers), other.url


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN} {TOKEN}", f"Bearer,{TOKEN}", "Bearer t ken"],
)
def test_what_is_no_bearer_token_is_told_as_none(given: str) -> None:
    requests = [Ask("/batches", headers={"authorization": given}), Ask("/batches")]
    other, none = ask_all(worker_with_a_batch(), requests, GUARDED)
    assert (other.status_code, other.content, other.headers) == (401, none.content, none.headers)
    assert none.json()["error"]["message"].startswith("no token was given as `Authorization: Bearer TOKEN`")


@pytest.mark.parametrize(
    "given",
    [
        *(f"{TOKEN}x", TOKEN[:-1], "null", TOKEN.upper(), f'"{TOKEN}"', "x"),
        *(f"{TOKEN}{'x' * length}" for length in (1_000, 16_000)),
    ],
)
def test_a_wrong_token_is_told_as_one_and_nothing_else_about_it(given: str) -> None:
    headers = {"authorization": f"Bearer {given}"}
    requests = [Ask(path, headers=headers) for path in ("/batches/T_1", "/batches/unknown", "/nothing")]
    known, *others = ask_all(worker_with_a_batch(), [*requests, Ask("/", headers=headers)], GUARDED)
    assert others.pop().status_code == 200
    assert known.status_code == 401
    assert known.json()["error"]["message"] == (
        "the token is wrong: this needs the one that is set as AGG_WEB_TOKEN or AGG_WEB_READ_TOKEN"
    )
    for other in others:
        assert (other.status_code, other.content, other.headers) == (401, known.content, known.headers)


def test_two_tokens_are_none() -> None:
    headers = [("authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer other")]
    assert ask(FakeWorker(), "/batches", headers=headers, access=GUARDED).status_code == 401


@pytest.mark.parametrize(
    "place", ["/batches?token={}", "/batches?access_token={}", "/batches?authorization=Bearer%20{}"]
)
def test_a_token_in_the_address_which_logs_keep_is_none(place: str) -> None:
    assert ask(FakeWorker(), place.format(TOKEN), access=GUARDED).status_code == 401


def test_a_token_in_a_cookie_which_browsers_send_by_themselves_is_none() -> None:
    answer = ask(FakeWorker(), "/batches", headers={"cookie": f"token={TOKEN}; authorization={TOKEN}"}, access=GUARDED)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_right_token_opens_everything(scheme: str) -> None:
    headers = {"authorization": f"{scheme} {TOKEN}"}
    answers = ask_all(worker_with_a_batch(), [Ask(path, headers=headers) for path in PATHS], GUARDED)
    assert [answer.status_code for answer in answers] == [200, 200, 404, 200, 200, 404, 404, 404]


def test_an_id_may_be_percent_encoded() -> None:
    answers = ask_all(worker_with_a_batch(), [Ask(path, headers=RIGHT) for path in ENCODED], GUARDED)
    assert [answer.status_code for answer in answers] == [200, 200, 405, 404, 404]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_need_no_token(path: str) -> None:
    assert ask(FakeWorker(), path, access=GUARDED).status_code == 200


def test_another_site_is_told_nothing_by_preflight_or_by_headers() -> None:
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for method in ("OPTIONS", "GET"):
        answer = ask(FakeWorker(), "/batches", method=method, headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_token_shows_in_no_text_of_its_own_holder() -> None:
    assert TOKEN not in repr(GUARDED)


def test_the_token_is_in_no_log_whatever_happens(caplog: pytest.LogCaptureFixture) -> None:
    class BrokenWorker(FakeWorker):
        def working_sets(self) -> dict[int, object]:  # type: ignore[override]
            raise LookupError("a bug")

    with caplog.at_level(logging.DEBUG):
        assert ask(BrokenWorker(), "/batches", headers=RIGHT, access=GUARDED).status_code == 500
        assert ask(BrokenWorker(), "/batches", headers={"authorization": TOKEN}, access=GUARDED).status_code == 401
    assert TOKEN not in caplog.text


# -- the host ----------------------------------------------------------------------------------------------------------


def settings(**given: str) -> Settings:
    return Settings(**given)


@pytest.mark.parametrize(
    ("given", "served", "refused"),
    [
        ({}, ["127.0.0.1:6066", "localhost", "[::1]"], ["evil.example", "10.0.0.1", "", "w.lan"]),
        ({"web_token": TOKEN}, ["127.0.0.1", "localhost"], ["evil.example", "10.0.0.1"]),
        ({"web_advertised_url": "http://W.lan:80"}, ["w.lan", "W.LAN:6066", "localhost"], ["evil.w.lan", "w.lan.evil"]),
        ({"web_advertised_url": "http://主机:1"}, ["xn--tiq422d:1", "XN--TIQ422D"], ["xn--tiq422", "evil.example"]),
        ({"web_host": "w.lan", "web_token": TOKEN}, ["w.lan:1", "10.0.0.1", "localhost"], ["evil.example"]),
        ({"web_host": "10.0.0.1", "web_token": TOKEN}, ["10.0.0.1:1", "[fd00::1]"], ["evil.example", "localhost.evil"]),
        ({"web_host": "0.0.0.0", "web_token": TOKEN}, ["10.0.0.1", "worker", "any.name:1"], []),  # noqa: S104
        ({"web_host": "::", "web_token": TOKEN}, ["10.0.0.1", "worker", "any.name:1"], []),
    ],
)
def test_hosts_that_are_served(given: dict[str, str], served: list[str], refused: list[str]) -> None:
    access = access_of(settings(**given))
    answers = ask_all(FakeWorker(), [Ask("/healthz", headers={"host": host}) for host in [*served, *refused]], access)
    assert [answer.status_code for answer in answers] == [200] * len(served) + [400] * len(refused)


def test_a_name_that_was_rebound_reads_nothing() -> None:
    answer = ask(worker_with_a_batch(), "/batches", headers={"host": "evil.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad-host")
    assert "secret" not in answer.text


# -- how much ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", ["4097", "99999999999999999999", "-1", "x", "4096, 4096"])
def test_a_body_that_says_to_be_too_long_is_refused(length: str) -> None:
    answer = ask(FakeWorker(), "/batches", headers={"content-length": length})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too-large")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (Ask("/batches/" + "a" * 9000), "address-too-long"),
        (Ask("/batches?cursor=" + "a" * 9000), "address-too-long"),
        (Ask("/batches", headers={"x": "a" * 17_000}), "headers-too-large"),
        (Ask("/batches", headers={f"x-{number}": "a" * 100 for number in range(200)}), "headers-too-large"),
    ],
)
def test_an_address_and_headers_have_their_bounds(request_: Ask, code: str) -> None:
    (answer,) = ask_all(FakeWorker(), [request_])
    assert answer.status_code in {414, 431}
    assert answer.json()["error"]["code"] == code


# -- how often ---------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_what_is_in_it_and_fills_again() -> None:
    clock = Clock()
    buckets = Buckets(rate=2.0, burst=3.0, clock=clock)
    assert [buckets.take("a") for _ in range(4)] == [True, True, True, False]
    assert buckets.take("b")
    assert buckets.seconds_until_one("a") == 0.5
    clock.now = 0.5
    assert [buckets.take("a") for _ in range(2)] == [True, False]
    clock.now = 100.0
    assert [buckets.take("a") for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("127.0.0.1", "127.8.9.1"),
        ("127.0.0.1", "::1"),
        ("10.0.0.1", "::ffff:10.0.0.1"),
        ("fd00::1", "fd00::ffff:1%eth0"),
    ],
)
def test_one_machine_is_one_client(one: str, other: str) -> None:
    assert client_of(one) == client_of(other)


@pytest.mark.parametrize(("one", "other"), [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00:0:0:1::1"), ("", "10.0.0.1")])
def test_other_machines_are_others(one: str, other: str) -> None:
    assert client_of(one) != client_of(other)


def statuses(requests: list[Ask], access: Access) -> list[int]:
    return [answer.status_code for answer in ask_all(FakeWorker(), requests, access)]


@pytest.fixture
def no_refill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes back, however long a busy machine takes."""
    monkeypatch.setattr(guard, "_RATE", 0.001)
    monkeypatch.setattr(guard, "_WRONG_RATE", 0.001)


@pytest.mark.usefixtures("no_refill")
def test_who_asks_too_often_is_told_to_wait_and_probes_get_through() -> None:
    seen = statuses([Ask("/nothing")] * 410 + [Ask("/readyz")], Access())
    assert seen == [404] * 400 + [429] * 10 + [200]


@pytest.mark.usefixtures("no_refill")
def test_readers_behind_one_address_each_get_the_whole_page() -> None:
    seen = statuses([Ask("/static/js/main.js")] * 1200 + [Ask("/nothing")], Access())
    assert seen == [200] * 1200 + [404]


@pytest.mark.usefixtures("no_refill")
def test_who_guesses_tokens_is_soon_not_told_any_more_whether_one_is_right() -> None:
    seen = statuses([GUESS] * 150 + [KNOWN], GUARDED)
    assert seen[:100] == [401] * 100
    assert seen[-1] == 429


def test_who_has_the_token_is_not_locked_out_by_a_neighbour_who_has_not() -> None:
    seen = statuses([KNOWN, *[GUESS] * 150, KNOWN], GUARDED)
    assert seen[-1] == 200


# -- on the wire -------------------------------------------------------------------------------------------------------


def on_the_wire(test: Callable[[int], Awaitable[None]], access: Access = GUARDED) -> None:
    async def serving() -> None:
        server = WebServer(create_web(worker_with_a_batch(), access), host="127.0.0.1", port=0)
        await server.start()
        try:
            async with asyncio.timeout(300):
                await test(server.port)
        finally:
            await server.stop()

    asyncio.run(serving())


async def exchange(port: int, request: bytes) -> bytes:
    """All that comes until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET /batches HTTP/1.1\r\n\r\n",  # no host
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000,
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_in_our_form(request_bytes: bytes) -> None:
    async def test(port: int) -> None:
        answer = (await exchange(port, request_bytes)).decode()
        head, _, body = answer.partition("\r\n\r\n")
        assert head.startswith("HTTP/1.1 400 ")
        assert "x-content-type-options: nosniff" in head.lower()
        assert body.startswith('{"error":{"code":"')

    on_the_wire(test, Access())


@pytest.mark.parametrize(
    "path",
    [
        *("/static/../page.py", "/static/..%2f..%2fpage.py", "/static/%2e%2e/%2e%2e/guard.py", "/static/....//page.py"),
        *("/static/js/..%5c..%5c..%5cpage.py", "/static//etc/passwd", "/static/%00", "/static/js/main.js%00.css"),
        *("/static/../batches", "/static/%2e%2e/batches", "/static/../internal/batches"),
    ],
)
def test_no_path_leads_out_of_the_pages_files(path: str) -> None:
    async def test(port: int) -> None:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert (await exchange(port, request.encode())).startswith(b"HTTP/1.1 404 ")

    on_the_wire(test)


def test_a_body_without_end_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    async def test(port: int) -> None:
        head = b"POST /batches/T_1/extend HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        head += f"Connection: close\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
        answer = await exchange(port, head + b"1000\r\n" + b"a" * 4096 + b"\r\n" + b"1000\r\n" + b"a" * 4096 + b"\r\n")
        assert answer[9:12] in {b"413", b"404"}

    with caplog.at_level(logging.WARNING):
        on_the_wire(test)
    assert caplog.text == ""


def test_a_request_that_does_not_come_in_full_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.05)

    async def test(port: int) -> None:
        for start in (
            b"",
            b"GET /healthz HT",
            b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-",
        ):
            await exchange(port, start)

    on_the_wire(test)


def test_a_connection_too_many_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)

    async def test(port: int) -> None:
        open_ones = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        assert await exchange(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") == b""
        open_ones[0][1].transport.abort()
        while True:  # until the server has seen that it is gone
            if await exchange(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"):
                break
        open_ones[1][1].transport.abort()

    on_the_wire(test)


def test_only_requests_that_may_be_answered_with_data_have_a_place_among_the_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who has no token takes nothing of the time that those have who look; probes and files wait for nobody."""
    entered: list[Pace] = []

    async def enter(self: Pace) -> None:
        entered.append(self)

    monkeypatch.setattr(Pace, "enter", enter)
    free = [Ask("/healthz"), Ask("/readyz"), Ask("/"), Ask("/static/js/poll.js"), Ask("/stats"), GUESS]
    assert [answer.status_code for answer in ask_all(worker_with_a_batch(), free, GUARDED)] == [200] * 4 + [401] * 2
    assert entered == []
    looks = [KNOWN, Ask(INTERNAL + "/batches", headers=RIGHT)]
    assert [answer.status_code for answer in ask_all(worker_with_a_batch(), looks, GUARDED)] == [200, 200]
    assert len(entered) == 2
    assert entered[0] is entered[1]
