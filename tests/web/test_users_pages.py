"""Pages of the user's own on a worker's web."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from faust.web import View

from app.application import create_app
from app.settings import Settings
from app.web.access import Access
from app.web.app import create_web
from app.web.users_pages import Page, PageError
from tests.web.fake_worker import FakeWorker
from tests.web.live_cluster import TOKEN

READER = "looks-and-does-not-act"
RIGHT = {"authorization": f"Bearer {TOKEN}"}


def pages() -> Sequence[Page]:
    """Pages as Faust's documentation shows them."""
    app = create_app(Settings(callback="a:b"))

    @app.page("/count/")
    async def count(self: View, request: Any) -> Any:
        return self.json({"path": request.path, "asked": request.query.get("asked")})

    @app.page("/loads/{station}")
    class Load(View):
        async def get(self, request: Any, station: str) -> Any:
            if station == "none":
                raise self.NotFound
            assert request.match_info["station"] == station
            return self.html(f"<p>{station}</p>", headers={"X-Load": "1", "X-Frame-Options": "ALLOW"})

        async def post(self, request: Any, station: str) -> Any:
            return self.text(f"{station} {(await request.json())['kw']}", status=201)

    @app.page("/raises")
    async def raises(self: View, request: Any) -> Any:
        message = "a secret"
        raise ValueError(message)

    @app.page("/broken")
    async def broken(self: View, request: Any) -> Any:
        return {"not": "an answer"}

    app.worker_init_post_autodiscover()  # as each command of `faust -A` does
    return app.pages


def ask(method: str, path: str, access: Access, **options: Any) -> httpx.Response:
    worker = FakeWorker()

    async def asking() -> httpx.Response:
        transport = httpx.ASGITransport(create_web(worker, access, pages()))
        async with httpx.AsyncClient(transport=transport, base_url=worker.url) as client:
            return await client.request(method, path, **options)

    return asyncio.run(asking())


def test_a_page_answers_as_fausts_documentation_says() -> None:
    answer = ask("GET", "/count/?asked=1", Access())
    assert (answer.status_code, answer.json()) == (200, {"path": "/count/", "asked": "1"})
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    answer = ask("GET", "/loads/A", Access())
    assert (answer.text, answer.headers["content-type"]) == ("<p>A</p>", "text/html; charset=utf-8")
    assert ask("GET", "/loads/none", Access()).status_code == 404
    assert ask("HEAD", "/loads/A", Access()).status_code == 200
    assert ask("PUT", "/loads/A", Access()).status_code == 405


def test_a_page_is_behind_the_guard() -> None:
    assert ask("GET", "/count/", Access(TOKEN)).status_code == 401
    answer = ask("GET", "/loads/A", Access(TOKEN), headers=RIGHT)
    assert (answer.status_code, answer.headers["x-load"], answer.headers["x-frame-options"]) == (200, "1", "DENY")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_a_page_that_does_more_than_look_needs_a_token() -> None:
    assert ask("POST", "/loads/A", Access(), content=b'{"kw": 3}').status_code == 403
    answer = ask("POST", "/loads/A", Access(TOKEN), headers=RIGHT, content=b'{"kw": 3}')
    assert (answer.status_code, answer.text) == (201, "A 3")
    for access in (Access(TOKEN, read_token=READER), Access(read_token=READER)):
        reading = {"authorization": f"Bearer {READER}"}
        assert ask("GET", "/loads/A", access, headers=reading).status_code == 200
        assert ask("POST", "/loads/A", access, headers=reading, content=b'{"kw": 3}').status_code == 403


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/broken", "must answer with what view.json, text, html or bytes make, not dict"),
        ("/raises", "ValueError: a secret"),
    ],
)
def test_a_page_that_fails_is_named_as_the_users_and_gives_nothing_away(
    path: str, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = ask("GET", path, Access())
    assert (answer.status_code, answer.json()["error"]) == (
        500,
        {"code": "internal-server-error", "message": f"@app.page({path!r}) failed; the worker's log says how"},
    )
    assert logged in caplog.text


def test_the_pages_of_the_application_stay_and_those_of_faust_are_not_there() -> None:
    assert ask("GET", "/batches", Access()).json()["batches"] == []
    for path in ("/table/", "/router/", "/graph/", "/stats/nothing"):
        assert ask("GET", path, Access()).status_code == 404


@pytest.mark.parametrize("path", ["/", "/batches", "/batches/{name}", "/static/mine", "/healthz", "/openapi.json"])
def test_a_page_in_the_place_of_one_of_ours_is_refused(path: str) -> None:
    app = create_app(Settings(callback="a:b"))

    async def mine(self: View, request: Any, **_: str) -> Any: ...

    app.page(path)(mine)
    with pytest.raises(PageError, match="this application serves a page there"):
        create_web(FakeWorker(), Access(), app.pages)


def test_a_pattern_in_a_path_is_refused() -> None:
    app = create_app(Settings(callback="a:b"))

    async def mine(self: View, request: Any, number: str) -> Any: ...

    app.page("/mine/{number:[0-9]+}")(mine)
    with pytest.raises(PageError, match="no patterns"):
        create_web(FakeWorker(), Access(), app.pages)
