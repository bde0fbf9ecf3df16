"""The user's result handlers: called with a batch's results, or a station's; retried, bounded in time.

Retries are Tenacity's (Apache-2.0, the standard of its field); its sleep is the event loop's, so that a test driver's
clock moves it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from tenacity import AsyncRetrying, stop_after_attempt, wait_exponential

from app.callbacks.executors.threads import ThreadPool
from app.callbacks.loading import ContextBy, is_async, takes_context
from app.callbacks.outcome import failed, json_bytes
from app.callbacks.tasks import is_from_outside
from app.messages.message import Headers, OutMessage, Sender
from app.messages.output import meta_of
from app.messages.trace_context import handler_trace, trace_headers
from app.settings import Settings
from tables.model.events import Decision
from tables.storage import exact_json
from tables.storage.records import Prepared

FIRST_BACKOFF = 0.5

# Makes the function to call and its arguments, anew for each attempt.
MakeCall = Callable[[], tuple[Callable[..., Any], Sequence[Any]]]


# -- one call within a time limit ------------------------------------------------------------------------------------


class OutOfTimeError(TimeoutError):
    """A call did not end within its time limit. A TimeoutError of the function's own is not one."""


@contextlib.asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[None]:
    """End the block after so many seconds, and contain what must not get out of a user's function.

    Raises:
        OutOfTimeError: the time is up.
        RuntimeError: the block raised SystemExit, KeyboardInterrupt, a cancellation of its own or the like.
        Exception: any other one that the block raised.
    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if limit.expired():
            raise OutOfTimeError from error
        raise
    except Exception:
        raise
    except BaseException as error:
        if is_from_outside(error):
            raise
        raise _contained_error(error) from error


class ThreadCaller(ThreadPool):
    """Calls `def` functions in a few daemon threads of its own, each call with a time limit."""

    def __init__(self, name: str = "function", *, size: int = 8) -> None:
        """No thread is started before the first call.

        Args:
            name: of the threads.
            size: calls at once; further ones wait, and their time limit starts when their turn comes.
        """
        super().__init__(name, keep=size)
        self._places = asyncio.Semaphore(size)

    async def call(self, function: Callable[..., Any], *args: Any, timeout: float) -> Any:  # noqa: ASYNC109 - part of the call
        """Call the function in a thread; if it returns an awaitable, await that here.

        The `timeout` is in seconds from the start of the call. A thread that has not returned by then is abandoned, and
        replaced. For what is raised see `time_limit`.
        """
        async with self._places, time_limit(timeout):
            value = await self.run(_contained, function, args)
            return await value if inspect.isawaitable(value) else value


def _contained(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    try:
        return function(*args)
    except Exception:
        raise
    except BaseException as error:
        raise _contained_error(error) from error


def _contained_error(error: BaseException) -> RuntimeError:
    return RuntimeError(f"the function raised {failed(error).value}, which must not end the worker")


# -- handlers --------------------------------------------------------------------------------------------------------


class HandlerCalls:
    """A handler of the user's that is called again when it fails, each call bounded in time.

    Attributes:
        name: the value of its setting, for errors.
        threads: where it is called if it is a `def`.
    """

    def __init__(self, handler: Callable[..., Any], settings: Settings, *, name: str, threads: ThreadCaller) -> None:
        """No call is made yet; its limits are `AGG_HANDLER_TIMEOUT` and `AGG_HANDLER_RETRIES`."""
        self.name = name
        self.threads = threads
        self._handler = handler
        self._timeout = settings.handler_timeout
        self._attempts = settings.handler_retries + 1
        self._async = is_async(handler)

    async def answer(self, call: MakeCall, about: str) -> Prepared:
        """Return the JSON of what the handler returns, nothing, or the last error; `about` is the batch or station."""
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

    async def attempt(self, call: MakeCall, about: str) -> str | None:
        """Return the JSON of what one call returns, or None; raise what the handler raises."""
        handler, arguments = call()
        try:
            if self._async:
                async with time_limit(self._timeout):
                    payload = await handler(*arguments)
            else:
                payload = await self.threads.call(handler, *arguments, timeout=self._timeout)
        except OutOfTimeError as error:
            message = f"{self.name} did not finish within {self._timeout:g} s for {about} (AGG_HANDLER_TIMEOUT)"
            raise TimeoutError(message) from error
        return None if payload is None else json_bytes(payload).decode()

    def close(self) -> None:
        """Let its threads end."""
        self.threads.close()


class ResultHandler(HandlerCalls):
    """Calls `handler(batch_id, batch_results_list[, context])` for a batch that is decided."""

    def __init__(self, handler: Callable[..., Any], settings: Settings, sender: Sender) -> None:
        """No call is made yet; `sender` sends what the handler publishes through its context."""
        name = settings.result_handler or "result_handler"
        super().__init__(handler, settings, name=name, threads=ThreadCaller("result-handler"))
        self._sender = sender
        self._context_by = takes_context(handler)

    async def __call__(self, decision: Decision) -> Prepared:
        """Return what is to be published: the handler's payload, nothing, or a dead letter with the last error."""
        return await self.answer(partial(self._call, decision), f"batch {decision.batch_id}")

    def _call(self, decision: Decision) -> tuple[Callable[..., Any], Sequence[Any]]:
        arguments = [decision.batch_id, exact_json.loads(b"[%b]" % ",".join(decision.results).encode())]
        if self._context_by is ContextBy.NOTHING:
            return self._handler, arguments
        headers = trace_headers(handler_trace(decision))
        meta = orjson.loads(orjson.dumps(meta_of(decision)))
        context = HandlerContext(meta, self._sender, asyncio.get_running_loop(), headers)
        if self._context_by is ContextBy.POSITION:
            return self._handler, [*arguments, context]
        return partial(self._handler, context=context), arguments


class StationResultHandler(HandlerCalls):
    """Calls `handler(station_id, module_input, result)` for a pass-through station."""

    def __init__(self, handler: Callable[..., Any], settings: Settings) -> None:
        """No call is made yet; as many `def` calls run at once as `AGG_CONCURRENCY` says."""
        name = settings.station_result_handler or "station_result_handler"
        threads = ThreadCaller("station-result-handler", size=settings.concurrency)
        super().__init__(handler, settings, name=name, threads=threads)

    async def __call__(self, station_id: str, module_input: dict[str, Any], result: str) -> Prepared:
        """Return what is to be published for a station whose callback has returned the value with the JSON `result`."""
        return await self.answer(
            lambda: (self._handler, (station_id, module_input, exact_json.loads(result.encode()))),
            f"station {station_id}",
        )


# -- a batch handler's context ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HandlerContext:
    """The third argument, or the keyword `context`, of a result handler that takes one.

    `meta` is the `meta` object of the default payload.
    """

    meta: dict[str, Any]
    _sender: Sender
    _loop: asyncio.AbstractEventLoop
    _headers: Headers = ()

    def send(self, topic: str, key: str | bytes | None, value: object) -> Awaitable[None]:
        """Publish a message of the handler's own; done when the broker has confirmed it.

        An `async def` handler awaits that. A `def` handler runs in a thread and can't: for it this returns only then.

        Args:
            topic: where to.
            key: of the message.
            value: bytes, text, or anything that JSON can hold.
        """
        encoded = key.encode() if isinstance(key, str) else key
        sending = self._send(OutMessage(topic, _bytes_of(value), key=encoded, headers=self._headers))
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
    """An awaitable that is done, for a message that the broker has confirmed."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


def _bytes_of(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else json_bytes(value)
