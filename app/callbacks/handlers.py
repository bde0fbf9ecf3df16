"""The user's result handlers: called with a batch's results, or a station's; retried, bounded in time.

Retries are Tenacity's (Apache-2.0, the standard of its field); its sleep is the event loop's, so that a test driver's
clock moves it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import orjson
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt, wait_exponential

from app.callbacks.executors.threads import ThreadPool
from app.callbacks.handler_context import HandlerContext
from app.callbacks.loading import is_async
from app.callbacks.missed_keys import with_columns
from app.callbacks.outcome import Outcome, failed, json_bytes
from app.callbacks.signatures import ContextBy, takes_context
from app.callbacks.tasks import is_from_outside, user_context
from app.messages.dead_letters import last_line
from app.messages.message import Sender
from app.messages.output import meta_of
from app.messages.trace_context import handler_trace, trace_headers
from app.observability.log_lines import Line, tell
from app.settings import Settings
from tables.model.events import Decision
from tables.storage import exact_json
from tables.storage.records import Prepared

logger = logging.getLogger(__name__)

FIRST_BACKOFF = 0.5
CANCEL_GRACE = 0.5  # seconds that a handler gets to clean up when its time is up

# Makes the function to call and its arguments, anew for each attempt.
MakeCall = Callable[[], tuple[Callable[..., Any], Sequence[Any]]]


# -- one call within a time limit ------------------------------------------------------------------------------------


class OutOfTimeError(TimeoutError):
    """A call did not end within its time limit. A TimeoutError of the function's own is not one."""


@contextlib.asynccontextmanager
async def time_limit(seconds: float, on_ignored: Callable[[], None] | None = None) -> AsyncIterator[None]:
    """End the block after so many seconds, and contain what must not get out of a user's function.

    `on_ignored` is called if the block is still there some time after it was cancelled for that.

    Raises:
        OutOfTimeError: the time is up.
        RuntimeError: the block raised SystemExit, KeyboardInterrupt, a cancellation of its own or the like.
        Exception: any other one that the block raised.
    """
    limit = asyncio.timeout(seconds)
    ignored = on_ignored and asyncio.get_running_loop().call_later(seconds + CANCEL_GRACE, on_ignored)
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
    finally:
        if ignored is not None:
            ignored.cancel()


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

    async def call(
        self,
        function: Callable[..., Any],
        *args: Any,
        timeout: float,  # noqa: ASYNC109 - part of the call
        on_ignored: Callable[[], None] | None = None,
    ) -> Any:
        """Call the function in a thread; if it returns an awaitable, await that here.

        The `timeout` is in seconds from the start of the call. A thread that has not returned by then is abandoned, and
        replaced. For what is raised, and `on_ignored`, see `time_limit`.
        """
        async with self._places, time_limit(timeout, on_ignored):
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
        self._language = settings.log_language
        self._async = is_async(handler)
        self._running: set[asyncio.Task[Prepared]] = set()  # those too that were left behind

    async def answer(self, call: MakeCall, about: str) -> Prepared:
        """Return the JSON of what the handler returns, nothing, or the last error; `about` is the batch or station."""
        # Errors are values here: an exception such as StopAsyncIteration means something to what it passes through.
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._attempts),
            wait=wait_exponential(multiplier=FIRST_BACKOFF),
            sleep=asyncio.sleep,
            retry=retry_if_result(_has_failed),
            before_sleep=partial(self._tell, about),
            retry_error_callback=_last_result,
        )
        prepared: Prepared = await retrying(self._attempt_apart, call, about)
        return prepared

    def _tell(self, about: str, state: RetryCallState) -> None:
        """Say that an attempt has failed, and that there is another one: until the last nothing else does."""
        tell(
            logger,
            logging.WARNING,
            self._language,
            Line.HANDLER_AGAIN,
            name=self.name,
            about=about,
            attempt=state.attempt_number,
            attempts=self._attempts,
            seconds=state.upcoming_sleep,
            error=last_line(_last_result(state).error or ""),
        )

    async def _attempt_apart(self, call: MakeCall, about: str) -> Prepared:
        """Make an attempt in a task of its own: a handler that cancels the task that it runs in cancels only that.

        One that does not listen when its time is up is left behind.
        """
        loop = asyncio.get_running_loop()
        ignored = loop.create_future()
        work = loop.create_task(
            self.attempt(call, about, on_ignored=partial(ignored.set_result, None)), context=user_context()
        )
        self._running.add(work)
        work.add_done_callback(self._running.discard)
        try:
            await asyncio.wait([work, ignored], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            work.cancel()
            await asyncio.wait([work])
            raise
        if not work.done():
            return Prepared(None, f"TimeoutError: {self._too_slow(about)}; it ignores that it was cancelled for that")
        return Prepared(None, "CancelledError: the handler cancelled its task") if work.cancelled() else work.result()

    async def attempt(self, call: MakeCall, about: str, on_ignored: Callable[[], None]) -> Prepared:
        """Return the JSON of what one call returns, nothing, or the error: whatever leaves the handler."""
        try:
            payload = await self._called(call, about, on_ignored)
            return Prepared(None if payload is None else json_bytes(payload, "what the handler returned").decode())
        except BaseException as error:  # noqa: BLE001 - a task that raises a SystemExit ends the event loop
            outcome = self._failed(error, call)
            return Prepared(None, outcome.traceback or outcome.value)

    def _failed(self, error: BaseException, call: MakeCall) -> Outcome:  # noqa: ARG002 - of a handler with inputs
        """Return what has become of a call that has raised; `call` makes its arguments once more."""
        return failed(error)

    async def _called(self, call: MakeCall, about: str, on_ignored: Callable[[], None]) -> Any:
        handler, arguments = call()
        try:
            if self._async:
                async with time_limit(self._timeout, on_ignored):
                    return await handler(*arguments)
            return await self.threads.call(handler, *arguments, timeout=self._timeout, on_ignored=on_ignored)
        except OutOfTimeError as error:
            raise TimeoutError(self._too_slow(about)) from error

    def _too_slow(self, about: str) -> str:
        return f"{self.name} did not finish within {self._timeout:g} s for {about} (AGG_HANDLER_TIMEOUT)"

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
        self._max_bytes = settings.max_message_bytes
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
        context = HandlerContext(meta, self._sender, asyncio.get_running_loop(), headers, self._max_bytes)
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

    async def __call__(self, station_id: str, module_input: Callable[[], dict[str, Any]], result: str) -> Prepared:
        """Return what is to be published for a station whose callback has returned the value with the JSON `result`.

        `module_input` is called for each attempt: what one has edited is none of the next one's.
        """
        return await self.answer(
            lambda: (self._handler, (station_id, module_input(), exact_json.loads(result.encode()))),
            f"station {station_id}",
        )

    def _failed(self, error: BaseException, call: MakeCall) -> Outcome:
        return with_columns(failed(error), lambda: call()[1][1])


def _has_failed(prepared: Prepared) -> bool:
    return prepared.error is not None


def _last_result(state: RetryCallState) -> Prepared:
    """Return what the last attempt has come to, which is an error."""
    if state.outcome is None:
        message = "no attempt was made"
        raise RuntimeError(message)
    result: Prepared = state.outcome.result()
    return result
