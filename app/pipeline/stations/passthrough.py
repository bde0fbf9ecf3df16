"""The pass-through path: each outcome of a station becomes an output message at once, without a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import orjson

from app.callbacks.handlers import StationResultHandler
from app.callbacks.outcome import Outcome
from app.callbacks.runner import ModuleInput
from app.messages.dead_letters import Reason
from app.messages.frames import StationGroup
from app.messages.message import OutMessage
from app.messages.trace_context import station_trace, trace_headers
from app.pipeline.dead_letters import DeadLetters
from app.pipeline.ports import Backend, ConfirmingSender, OneAtATime
from app.settings import Settings
from tables.context import Record
from tables.model.enums import Code
from tables.storage import exact_json


@dataclass(slots=True, eq=False)
class SingleStation:
    """A station's event on the pass-through path, and what has come of it so far.

    Attributes:
        stored: called when all that was made of the event is stored.
        started: when its callback did, set only where it is traced.
        module_input: the callback's input, set only where a handler needs it.
    """

    station_id: str
    group: StationGroup
    records: list[Record]
    stored: Callable[[], None]
    started: float | None = None
    module_input: ModuleInput | None = None


class PassThrough:
    """Publishes results one by one, in order for each station, and calls an event's `stored` when that is confirmed.

    With a handler of the user's: the calls for one station are made one at a time, those for different stations side by
    side. `on_error` gets what a send raised; nothing of it is acknowledged.
    """

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        *,
        handler: StationResultHandler | None,
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._output_topic = settings.output_topic
        self._module = settings.module
        self._largest_payload = backend.largest_result(settings)  # of a handler, in bytes of key and value
        self._largest_output = backend.largest_output(settings)  # of the default payload, the same
        self._handler = handler
        self._dead_letters = DeadLetters(settings.dead_letter_topic)
        self._on_error = on_error
        self._sender = ConfirmingSender(backend.sender.send, on_error)
        self._places = asyncio.Semaphore(settings.concurrency)
        self._calls = OneAtATime(on_error)  # of the handler, by station

    @property
    def has_handler(self) -> bool:
        """Return whether the callback's input is needed again after the callback."""
        return self._handler is not None

    def take(self, job: SingleStation, outcome: Outcome) -> None:
        """Take the outcome of a station's callback; its value is the JSON of what the callback has returned."""
        if outcome.code == Code.FAILED:
            error, value = (
                outcome.traceback or outcome.value or "",
                exact_json.dumps({job.group.source.topic: job.records}),
            )
            self._refuse(Reason.STATION_FAILED, error, job, value, job.group.key)
        elif outcome.code != Code.RESULT or outcome.value is None:
            job.stored()
        elif self._handler is None:
            self._publish(job, self._payload(job, outcome.value), self._largest_output)
        else:
            call = partial(self._handle, self._calls, self._handler, job, outcome.value)
            self._calls.start([job.station_id], call)

    async def cancel(self) -> None:
        """Stop handlers at once, and give what is in flight to the broker a little time to be confirmed."""
        calls, self._calls = self._calls, OneAtATime(self._on_error)
        await calls.cancel()
        await self._sender.cancel()

    async def _handle(self, calls: OneAtATime, handler: StationResultHandler, job: SingleStation, result: str) -> None:
        async with self._places:
            answer = await handler(job.station_id, job.module_input or {}, result)
        if calls is not self._calls:
            return  # the partitions have been taken away, and the handler did not listen
        if answer.error is not None:
            self._refuse(Reason.HANDLER_FAILED, answer.error, job, self._payload(job, result), job.station_id.encode())
        elif answer.value is None:
            job.stored()
        else:
            self._publish(job, answer.value.encode(), self._largest_payload)

    def _payload(self, job: SingleStation, result: str) -> bytes:
        head = orjson.dumps({"station_id": job.station_id, "module": self._module})
        return b'%b,"result":%b}' % (head[:-1], result.encode())

    def _publish(self, job: SingleStation, payload: bytes, limit: int) -> None:
        key = job.station_id.encode()
        size = len(key) + len(payload)
        if size > limit:
            error = (
                f"the output of station {job.station_id} has {size} bytes with its key, more than the {limit} that one "
                f"may have (AGG_MAX_MESSAGE_BYTES, max.message.bytes of {self._output_topic})"
            )
            self._refuse(Reason.TOO_LARGE, error, job, payload, key)
            return
        headers = trace_headers(station_trace(job.group.trace, job.station_id))
        self._sender.add([OutMessage(self._output_topic, payload, key=key, headers=headers)], job.stored)

    def _refuse(self, reason: Reason, error: str, job: SingleStation, value: bytes, key: bytes | None) -> None:
        """Send a dead letter in place of an output."""
        letter = self._dead_letters.of_station(reason, error, job.group, job.station_id, value=value, key=key)
        self._sender.add([letter], job.stored)
