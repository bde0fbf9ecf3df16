"""The application of one worker's web: its routers, their guard, and the dashboard's files.

The dashboard is one empty page and the files that it is made of. They carry no data: the page asks the API, with the
reader's token. All files are read once, at the start. So a path can name no other file, whatever it says, and serving
needs no thread beside the pipeline's loop, as Starlette's StaticFiles does.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.exceptions import HTTPException

from app.web.access import Access
from app.web.cluster import Cluster
from app.web.description import DescribedWeb
from app.web.errors import answer_errors, api_router
from app.web.guard import STATIC, Guard
from app.web.routers.batches import Batches, actions_router
from app.web.routers.courses import Courses
from app.web.routers.lags import Lags
from app.web.routers.letters import Letters
from app.web.routers.one_station import OneStation
from app.web.routers.partitions import partitions_router
from app.web.routers.settings import settings_router
from app.web.routers.sources import sources_router
from app.web.routers.stations import Heatmap, Stations
from app.web.routers.statistics import statistics_router
from app.web.routers.workers import ClusterView, health_router, metrics_router
from app.web.state import WorkerState
from app.web.tallies import Tallies, keep_counting
from app.web.turns import Pace
from app.web.users_pages import Page, add_pages

_FREE: Final = Access()
_FILES: Final = Path(__file__).parent / "static"
_FOR_EVER: Final = "public, max-age=31536000, immutable"  # the version of a vendored file is in its name
_ASK_AGAIN: Final = "no-cache"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


def create_web(state: WorkerState, access: Access = _FREE, pages: Sequence[Page] = ()) -> FastAPI:
    """Return the ASGI application of one worker, for whom `access` allows, with pages of the user's.

    `web.state.cluster` has to be closed at the end. `web.state.heartbeat()` is to run as long as the worker does.

    Raises:
        PageError: a page can't be served.
    """
    cluster, pace = Cluster(state, access.tokens), Pace()
    batches = Batches(state, cluster, pace)
    workers = ClusterView(state, cluster)
    lags, tallies = Lags(state, cluster), Tallies(state, pace)
    letters = Letters(state)
    enabled = access.token is not None
    web = DescribedWeb(
        free=[_dashboard_router(), health_router(state)],
        guarded=[
            batches.router(),
            Courses(state, cluster, batches, letters).router(),
            actions_router(state, batches, enabled=enabled),
            letters.router(),
            letters.replay_router(enabled=enabled),
            Stations(state, cluster, tallies, pace).router(),
            OneStation(state, cluster, tallies, pace).router(),
            statistics_router(state, cluster, lags, pace),
            lags.router(),
            Heatmap(state, cluster, pace).router(),
            workers.router(),
            settings_router(state, cluster),
            partitions_router(state, cluster),
            sources_router(state, cluster),
            metrics_router(state),
        ],
        tokens=bool(access.tokens),
    )
    add_pages(web, pages, state.settings, enabled=enabled)
    answer_errors(web)
    web.add_middleware(Guard, access=access, pace=pace)

    async def heartbeat() -> None:
        await asyncio.gather(workers.keep_asking(), lags.keep(), keep_counting(state))

    web.state.cluster, web.state.heartbeat, web.state.lags = cluster, heartbeat, lags
    return web


def _dashboard_router() -> APIRouter:
    """Serve `/` and the files that it needs; open to everybody who may talk to the worker at all."""
    router = api_router("dashboard")
    files = {path.relative_to(_FILES).as_posix(): _served(path) for path in _FILES.rglob("*") if path.is_file()}

    @router.get("/", response_class=Response, responses={200: {"content": {"text/html": {}}}})
    async def dashboard(request: Request) -> Response:
        """The dashboard: a page that asks this API."""
        return _answer(files["index.html"], request)

    @router.get(STATIC + "{path:path}", include_in_schema=False)
    async def static(path: str, request: Request) -> Response:
        if path not in files:
            raise HTTPException(404)
        return _answer(files[path], request)

    return router


def _served(path: Path) -> Response:
    body = path.read_bytes()
    vendored = path.parent.name == "vendor" and path.suffix != ".json"
    headers = {
        "content-type": _TYPES[path.suffix],
        "cache-control": _FOR_EVER if vendored else _ASK_AGAIN,
        "etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
    }
    return Response(body, headers=headers)


def _answer(file: Response, request: Request) -> Response:
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if file.headers["etag"] not in known:
        return file
    headers = {name: value for name, value in file.headers.items() if name != "content-length"}
    return Response(status_code=304, headers=headers)
