"""A fake worker that is served while the test's own thread is the browser's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.web.access import Access
from app.web.app import create_web
from app.web.server import WebServer
from tests.integration.support.background import Background
from tests.web.fake_worker import FakeWorker

__all__ = ["served"]


@contextmanager
def served(worker: FakeWorker, access: Access) -> Iterator[str]:
    """Serve it; its URL."""
    loop = Background()
    web = create_web(worker, access)
    server = WebServer(web, host="127.0.0.1", port=0, on_close=web.state.cluster.close)
    loop.run(server.start())
    worker.url = server.url
    try:
        yield server.url
    finally:
        loop.run(server.stop())
        loop.close()
