"""The dashboard: one empty page and the files it is made of.

They carry no data; what the page shows it asks of the API, with the reader's token. All files are read once, at the
start: what is not among them can't be asked for, whatever a path says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from app.web.guard import STATIC

__all__ = ["StaticFile", "page_router", "static_files"]

_INDEX: Final = "index.html"
_FOR_EVER: Final = "public, max-age=31536000, immutable"  # the version of what is vendored is in its name
_ASK_AGAIN: Final = "no-cache"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file as it is served."""

    body: bytes
    headers: Mapping[str, str]

    @property
    def etag(self) -> str:
        """The tag by which a browser asks whether it has changed."""
        return self.headers["etag"]


def static_files() -> dict[str, StaticFile]:
    """The files of the dashboard by their paths below `static`, such as `js/main.js`."""
    files = _walk(resources.files("app.web") / "static", PurePosixPath())
    return {path: _served(path, body) for path, body in files}


def _walk(folder: Traversable, path: PurePosixPath) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, path / entry.name)
        else:
            yield str(path / entry.name), entry.read_bytes()


def _served(path: str, body: bytes) -> StaticFile:
    vendored = path.startswith("vendor/") and not path.endswith(".json")
    headers = {
        "content-type": _TYPES[PurePosixPath(path).suffix],
        "cache-control": _FOR_EVER if vendored else _ASK_AGAIN,
        "etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
    }
    return StaticFile(body, headers)


def page_router() -> APIRouter:
    """`GET /` and what it needs; open to everybody who may talk to the worker at all."""
    router = APIRouter(tags=["dashboard"])
    files = static_files()

    @router.get("/", response_class=Response, responses={200: {"content": {"text/html": {}}}})
    async def dashboard(request: Request) -> Response:
        """The dashboard: a page that asks this API."""
        return _answer(files[_INDEX], request)

    @router.get(STATIC + "{path:path}", include_in_schema=False)
    async def static(path: str, request: Request) -> Response:
        file = files.get(path)
        if file is None:
            raise HTTPException(404)
        return _answer(file, request)

    return router


def _answer(file: StaticFile, request: Request) -> Response:
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if file.etag in known:
        return Response(status_code=304, headers=dict(file.headers))
    return Response(file.body, headers=dict(file.headers))
