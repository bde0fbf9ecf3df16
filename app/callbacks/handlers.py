"""The user's result handlers: called with a batch's results, or a station's; retried, bounded in time.

Retries are Tenacity's (Apache-2.0, the standard of its field); its sleep is the event loop's, so that a test driver's
clock moves it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from tenacity import AsyncRetrying, stop_after_attempt, wait_exponential

from app.callbacks.loading import ContextBy, OutOfTimeError, ThreadCaller, is_async, takes_context, time_limit
from app.callbacks.outcome import failed, json_bytes
from app.messages.message import Headers, OutMessage, Sender
from app.messages.output import meta_of
from app.messages.trace_context import handler_trace, trace_headers
from tables.model.events import Decision
from tables.storage.records import Prepared

__all__ = ["HandlerCalls", "HandlerContext", "ResultHandler", "StationResultHandler"]

FIRST_BACKOFF = 0.5


@dataclass(frozen=True, slots=True)
class HandlerContext:
    """What a result handler with a third parameter, or a keyword-only `context`, gets.

    `meta` is the `meta` object of the default payload.
    """

    meta: dict[str, Any]
    _sender: Sender
    _loop: asyncio.AbstractEventLoop
    _headers: Headers = ()

    def send(self, topic: str, key: str | bytes | None, value: object) -> Awaitable[None]:
        """Publish a message of the handler's own; done when the broker has confirmed it.

        `async def` handlers await it. A `def` handler runs in a thread and can't: there it returns when it is done.

        Args:
            topic: where to.
            key: of the message.
            value: bytes, text, or anything that JSON can hold.
        """
        sending = self._send(OutMessage(topic, _bytes_of(value), key=_key_bytes(key), headers=self._headers))
        if self._is_on_loop():
            return sending
        asyncio.run_coroutine_threadsafe(sending, self._loop).result()
        return _Sent()

    async def _send(self, message: OutMessage) -> None:
        await self._sender.send([message])

    def _is_on_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False


class _Sent:
    """What there is to await of a message that is out."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


class HandlerCalls:
    """Calls a handler of the user's: again when it fails, each call bounded in time."""

    def __init__(
        self, handler: Callable[..., Any], *, name: str, timeout: float, retries: int, threads: ThreadCaller
    ) -> None:
        self.name = name
        self._timeout = timeout
        self._attempts = retries + 1
        self._async = is_async(handler)
        self._threads = threads

    async def answer(self, call: Callable[[], tuple[Callable[..., Any], Sequence[Any]]], about: str) -> Prepared:
        """The JSON of what it returns, nothing, or the last error.

        Args:
            call: makes the function and its arguments, anew for each attempt.
            about: what it is called for, for an error.
        """
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._attempts),
            wait=wait_exponential(multiplier=FIRST_BACKOFF),
            sleep=asyncio.sleep,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    payload = await self.attempt(call, about)
        except Exception as error:  # noqa: BLE001 - whatever the user's handler raises becomes a dead letter
            outcome = failed(error)
            return Prepared(None, outcome.traceback or outcome.value)
        return Prepared(payload)

    async def attempt(self, call: Callable[[], tuple[Callable[..., Any], Sequence[Any]]], about: str) -> str | None:
        """The JSON of what one call returns, or None; it raises what the handler raises."""
        handler, arguments = call()
        try:
            if self._async:
                async with time_limit(self._timeout):
                    payload = await handler(*arguments)
            else:
                payload = await self._threads.call(handler, *arguments, timeout=self._timeout)
        except OutOfTimeError as error:
            message = f"{self.name} did not finish within {self._timeout:g} s for {about} (AGG_HANDLER_TIMEOUT)"
            raise TimeoutError(message) from error
        return None if payload is None else json_bytes(payload).decode()


class ResultHandler:
    """Calls `handler(batch_id, batch_results_list[, context])`, at most `retries` times more when it fails."""

    def __init__(self, handler: Callable[..., Any], *, name: str, sender: Sender, timeout: float, retries: int) -> None:
        self._handler = handler
        self._sender = sender
        self._context_by = takes_context(handler)
        self.threads = ThreadCaller("result-handler")
        self._calls = HandlerCalls(handler, name=name, timeout=timeout, retries=retries, threads=self.threads)

    async def __call__(self, decision: Decision) -> Prepared:
        """What is to be published: the handler's payload, nothing, or a dead letter with the last error."""
        return await self._calls.answer(partial(self._call, decision), f"batch {decision.batch_id}")

    def _call(self, decision: Decision) -> tuple[Callable[..., Any], Sequence[Any]]:
        arguments = [decision.batch_id, orjson.loads(b"[%b]" % ",".join(decision.results).encode())]
        if self._context_by is ContextBy.NOTHING:
            return self._handler, arguments
        headers = trace_headers(handler_trace(decision))
        meta = orjson.loads(orjson.dumps(meta_of(decision)))
        context = HandlerContext(meta, self._sender, asyncio.get_running_loop(), headers)
        if self._context_by is ContextBy.POSITION:
            return self._handler, [*arguments, context]
        return partial(self._handler, context=context), arguments

    def close(self) -> None:
        """Let its threads end."""
        self.threads.close()


class StationResultHandler:
    """Calls `handler(station_id, module_input, result)` for a pass-through station, bounded in the same way."""

    def __init__(
        self, handler: Callable[..., Any], *, name: str, timeout: float, retries: int, concurrency: int
    ) -> None:
        """No call is made yet.

        Args:
            handler: the user's, `def` (called in threads) or `async def`.
            name: of its setting's value, for errors.
            timeout: of one call, in seconds.
            retries: further calls when it fails.
            concurrency: `def` calls at once.
        """
        self._handler = handler
        self.threads = ThreadCaller("station-result-handler", size=concurrency)
        self._calls = HandlerCalls(handler, name=name, timeout=timeout, retries=retries, threads=self.threads)

    async def __call__(self, station_id: str, module_input: dict[str, Any], result: str) -> Prepared:
        """What is to be published for a station whose callback has returned the value with the JSON `result`."""
        return await self._calls.answer(
            lambda: (self._handler, (station_id, module_input, orjson.loads(result))), f"station {station_id}"
        )

    def close(self) -> None:
        """Let its threads end."""
        self.threads.close()


def _bytes_of(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else json_bytes(value)


def _key_bytes(key: str | bytes | None) -> bytes | None:
    return key.encode() if isinstance(key, str) else key
