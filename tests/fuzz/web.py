"""A check of the web: any request that a server hands on has an answer that is no bug, without a socket."""

from __future__ import annotations

import asyncio
import atexit
import itertools
import re
from functools import cache
from typing import Any
from urllib.parse import unquote

import orjson

from app.web.access import Access
from app.web.app import create_web
from app.web.errors import Refusal
from app.web.paging import encode_place, read_cursor
from tests.web.fake_worker import FakeWorker

__all__ = ["check_cursor", "check_web"]

TOKEN = "a-token"  # noqa: S105 - of nothing
TARGET = re.compile(rb"[\x21-\x7e]+")
TOKENS = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
VALUE = re.compile(rb"[\x20-\x7e\x80-\xff\t]*")
ANSWER_BYTES = 1_000_000  # the largest of the dashboard's files has half of that
CODES = frozenset({200, 202, 304, 400, 401, 403, 404, 405, 409, 413, 414, 422, 429, 431, 503, 504})


class _Web:
    """A worker with two batches behind the ASGI application, and a loop that lives on."""

    def __init__(self) -> None:
        self.worker = FakeWorker()
        self.worker.open("T_1", ["A", "B"])
        self.worker.add_closed("T_0", at=90.0)
        settings = self.worker.settings
        letter = {"reason": "bad-record", "error": "ValueError: x", "batch-id": "T_1", "station-id": "A"}
        self.worker.append(settings.dead_letter_topic, b"\xff", letter)
        self.worker.append(settings.dead_letter_topic, b'{"T":[]}', letter, partition=1)
        for partition in range(settings.partitions):
            self.worker.append(
                settings.late_topic, b'{"batch_id":"T_1","station_id":"A"}', key=b"T_1", partition=partition
            )
        self.application = create_web(self.worker, Access(TOKEN))
        self.loop = asyncio.new_event_loop()
        atexit.register(self.loop.close)
        self.clients = itertools.count()

    def ask(self, method: str, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> tuple[int, bytes]:
        path, _, query = target.partition(b"?")
        number = next(self.clients)  # of the client: one that asks too often gets another answer
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(b"host", b"127.0.0.1:6066"), (b"authorization", f"Bearer {TOKEN}".encode()), *headers],
            "client": (f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 1),
            "server": ("127.0.0.1", 6066),
        }
        received = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Any] = []

        async def receive() -> Any:
            return received.pop() if received else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        self.loop.run_until_complete(self.application(scope, receive, send))
        self.worker.commands.clear()
        self.worker.replays.clear()
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


@cache
def _web() -> _Web:
    return _Web()


def check_web(data: bytes) -> None:
    """Ask what stands in the bytes: `METHOD target`, a line for each header, an empty line, the body."""
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    method, _, target = first.partition(b" ")
    headers = [(name.lower(), value.strip(b" ")) for name, _, value in (line.partition(b":") for line in lines)]
    passes = all(TOKENS.fullmatch(name) and VALUE.fullmatch(value) for name, value in headers)
    if not (TOKENS.fullmatch(method) and TARGET.fullmatch(target) and target.startswith(b"/") and passes):
        return  # the server before the application refuses it
    status, answer = _web().ask(method.decode(), target, headers, body)
    assert status in CODES, f"status {status}: {answer[:200]!r}"
    assert len(answer) < ANSWER_BYTES
    if status >= 400 and method != b"HEAD":
        error = orjson.loads(answer)["error"]
        assert error["code"]
        assert len(error["message"]) < 4000


def check_cursor(data: bytes) -> None:
    """Read a cursor: it is refused, or a place that is written as the same place."""
    try:
        cursor = read_cursor(data.decode("latin-1"))
    except Refusal:
        return
    assert cursor is not None
    assert read_cursor(encode_place(cursor)) == cursor
