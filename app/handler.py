"""The user's result handler: called with a batch's results, its answer made bytes; retried, bounded in time.

Retries are Tenacity's (Apache-2.0, the standard of its field); its sleep is the event loop's, so that a test driver's
clock moves it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from tenacity import AsyncRetrying, stop_after_attempt, wait_exponential

from app.functions import ContextBy, OutOfTimeError, ThreadCaller, is_async, takes_context, time_limit
from app.output import meta_of
from app.results import failed, json_bytes
from app.transport import OutMessage, Sender
from tables.events import Decision
from tables.records import Prepared

__all__ = ["HandlerContext", "ResultHandler"]

FIRST_BACKOFF = 0.5


@dataclass(frozen=True, slots=True)
class HandlerContext:
    """What a result handler with a third parameter, or a keyword-only `context`, gets.

    `meta` is the `meta` object of the default payload. `send` publishes a message of the handler's own and returns when
    the broker has confirmed it; `value` may be bytes, text, or anything that JSON can hold.
    """

    meta: dict[str, Any]
    _sender: Sender

    async def send(self, topic: str, key: str | bytes | None, value: object) -> None:
        """Publish a message."""
        await self._sender.send([OutMessage(topic, _bytes_of(value), key=_key_bytes(key))])


class ResultHandler:
    """Calls `handler(batch_id, batch_results_list[, context])`, at most `retries` times more when it fails."""

    def __init__(self, handler: Callable[..., Any], *, name: str, sender: Sender, timeout: float, retries: int) -> None:
        self._handler = handler
        self._name = name
        self._sender = sender
        self._timeout = timeout
        self._attempts = retries + 1
        self._context_by = takes_context(handler)
        self._async = is_async(handler)
        self.threads = ThreadCaller("result-handler")

    async def __call__(self, decision: Decision) -> Prepared:
        """What is to be published: the handler's payload, nothing, or a dead letter with the last error."""
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._attempts),
            wait=wait_exponential(multiplier=FIRST_BACKOFF),
            sleep=asyncio.sleep,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    payload = await self._call(decision)
        except Exception as error:  # noqa: BLE001 - whatever the user's handler raises becomes a dead letter
            outcome = failed(error)
            return Prepared(None, outcome.traceback or outcome.value)
        return Prepared(payload)

    async def _call(self, decision: Decision) -> str | None:
        results = orjson.loads(b"[%b]" % ",".join(decision.results).encode())
        handler, arguments = self._handler, [decision.batch_id, results]
        if self._context_by is not ContextBy.NOTHING:
            context = HandlerContext(orjson.loads(orjson.dumps(meta_of(decision))), self._sender)
            if self._context_by is ContextBy.POSITION:
                arguments.append(context)
            else:
                handler = partial(handler, context=context)
        try:
            if self._async:
                async with time_limit(self._timeout):
                    payload = await handler(*arguments)
            else:
                payload = await self.threads.call(handler, *arguments, timeout=self._timeout)
        except OutOfTimeError as error:
            message = (
                f"{self._name} did not finish within {self._timeout:g} s for batch {decision.batch_id} "
                "(AGG_HANDLER_TIMEOUT)"
            )
            raise TimeoutError(message) from error
        return None if payload is None else json_bytes(payload).decode()

    def close(self) -> None:
        """Let its threads end."""
        self.threads.close()


def _bytes_of(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else json_bytes(value)


def _key_bytes(key: str | bytes | None) -> bytes | None:
    return key.encode() if isinstance(key, str) else key
