"""Pages of the user's own, `@app.page` of Faust, served by the worker's web: under its guard, its headers, its token.

A page gets a request that has what Faust's documentation shows of one, and answers with what `view.json`, `view.text`,
`view.html` and `view.bytes` make.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request, Response
from starlette.routing import Match
from yarl import URL

from app.settings import Settings
from app.web.errors import error_response
from app.web.operators import act
from app.words import words

logger = logging.getLogger(__name__)

_PATH: Final = re.compile(r"/(?:[^{}]|\{[A-Za-z_]\w*\})*")
_LOOKS: Final = frozenset({"GET", "HEAD"})
_SET_BY_US: Final = frozenset({"content-length", "transfer-encoding", "connection", "date", "server"})


class PageError(ValueError):
    """A page can't be served; the text names its path, and says what to do."""


class Page(Protocol):
    """A view of Faust's.

    Attributes:
        view_path: where it is, such as `/loads/{station}`.
    """

    view_path: str

    def get_methods(self) -> set[str]:
        """Return the HTTP methods that it answers."""

    async def __call__(self, request: Any) -> Any:
        """Return an answer as aiohttp has it: `status`, `headers`, `body`."""


class PageRequest:
    """What a page gets: the attributes of an aiohttp request that Faust's documentation uses.

    Attributes:
        method: of HTTP.
        match_info: what stands for the names in braces of the path.
        query: the arguments behind `?`.
        headers: in any case.
        cookies: by name.
        path: of the address.
        url: the whole of it.
        content: has `read`, as this has.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.method = request.method
        self.match_info: Mapping[str, str] = request.path_params
        self.query = request.query_params
        self.headers = request.headers
        self.cookies = request.cookies
        self.path = request.url.path
        self.url = self.rel_url = URL(str(request.url))
        self.content = self

    async def read(self) -> bytes:
        """Return the body."""
        return await self._request.body()

    async def text(self) -> str:
        """Return the body as text, UTF-8."""
        return (await self.read()).decode()

    async def json(self) -> Any:
        """Return the body, parsed."""
        return json.loads(await self.read())

    async def post(self) -> Mapping[str, str]:
        """Return the fields of a form that is sent URL-encoded."""
        return dict(parse_qsl(await self.text(), keep_blank_values=True))


def add_pages(web: FastAPI, pages: Iterable[Page], settings: Settings, *, enabled: bool) -> None:
    """Serve pages beside what is served already. What does more than look is an action, as the application's own are.

    Args:
        web: what is served already.
        pages: those of the user's.
        settings: the worker's.
        enabled: whether the workers have a token for operators.

    Raises:
        PageError: the path of one is ours, or has another form.
    """
    ours = list(web.routes)
    for page in pages:
        path = "/" + page.view_path.lstrip("/")
        if _PATH.fullmatch(path) is None:
            raise PageError(
                words(
                    "@app.page({path!r}): its path may have names in braces, as /loads/{{station}}, and no patterns",
                    "@app.page({path!r})：路径中可以有花括号中的名称，如 /loads/{{station}}，不能有其他模式",
                    path=path,
                )
            )
        scope = {"type": "http", "method": "GET", "path": path, "root_path": "", "headers": []}
        if any(route.matches(scope)[0] is not Match.NONE for route in ours):
            raise PageError(
                words(
                    "@app.page({path!r}): this application serves a page there; take another path",
                    "@app.page({path!r})：本应用在此路径已有页面，请换一个路径",
                    path=path,
                )
            )
        methods = sorted(page.get_methods() - {"HEAD"})
        web.add_route(path, _endpoint(page, settings, enabled=enabled), methods=methods, include_in_schema=False)


def _endpoint(page: Page, settings: Settings, *, enabled: bool) -> Any:
    async def serve(request: Request) -> Response:
        if request.method in _LOOKS:
            return await answer_of(request)
        return await act(settings, request, answer_of, enabled=enabled)

    async def answer_of(request: Request) -> Response:
        try:
            return _response_of(await page(PageRequest(request)))
        except Exception:
            logger.exception("@app.page(%r) failed", page.view_path)
            text = f"@app.page({page.view_path!r}) failed; the worker's log says how"
            return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, text)

    return serve


def _response_of(answer: Any) -> Response:
    """Return a page's answer, which is aiohttp's, as Starlette has it."""
    body = getattr(answer, "body", answer)
    if not isinstance(body, bytes | bytearray | None):
        message = f"it must answer with what view.json, text, html or bytes make, not {type(body).__name__}"
        raise TypeError(message)
    response = Response(bytes(body or b""), status_code=answer.status)
    for name, value in answer.headers.items():
        if name.lower() not in _SET_BY_US:
            response.headers[name] = value
    return response
