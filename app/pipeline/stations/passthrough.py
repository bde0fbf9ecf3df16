"""The pass-through path: a station's outcome becomes an output message of its own at once, without a batch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from app.callbacks.handlers import StationResultHandler
from app.callbacks.outcome import Outcome
from app.messages.dead_letters import Reason
from app.messages.frames import StationGroup
from app.messages.message import OutMessage, Sender
from app.messages.trace_context import station_trace, trace_headers
from app.pipeline.dead_letters import DeadLetters
from app.pipeline.sending import SETTLE_SECONDS, ConfirmingSender
from tables.context import Record
from tables.model.enums import Code
from tables.storage.records import Prepared

__all__ = ["PassThrough", "PassThroughConfig", "SingleStation"]


@dataclass(frozen=True, slots=True)
class PassThroughConfig:
    """What goes into an output, and where to. Sizes in bytes, of key and value."""

    output_topic: str
    module: str
    max_message_bytes: int  # of what a handler returns
    output_limit: int  # of the default payload: what the output topic takes
    concurrency: int  # handlers at once


@dataclass(slots=True, eq=False)
class SingleStation:
    """A station's event on the pass-through path, and what the callback got for it.

    `stored` is called when all that was made of the event is stored. `started` is set only where it is traced.
    """

    group: StationGroup
    records: list[Record]
    stored: Callable[[], None]
    module_input: dict[str, Any] | None = None
    started: float | None = None


@dataclass(frozen=True, slots=True)
class _Result:
    """A result that a handler is to be called with."""

    station_id: str
    job: SingleStation
    value: str


class PassThrough:
    """Publishes results one by one, in order for each station, and tells each event's owner when that is stored.

    With a handler of the user's: the calls for one station are made one at a time, those for different stations side by
    side. `on_error` gets what a send raised; nothing of it is acknowledged.
    """

    def __init__(
        self,
        config: PassThroughConfig,
        *,
        sender: Sender,
        handler: StationResultHandler | None,
        dead_letters: DeadLetters,
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._config = config
        self._handler = handler
        self._dead_letters = dead_letters
        self._on_error = on_error
        self._sender = ConfirmingSender(sender.send, on_error)
        # The stations whose handler runs or waits for a place, each with the results that must wait for that one.
        self._lanes: dict[str, deque[_Result]] = {}
        self._places = asyncio.Semaphore(config.concurrency)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def has_handler(self) -> bool:
        """Whether the callback's input is needed again after the callback."""
        return self._handler is not None

    def take(self, station_id: str, job: SingleStation, outcome: Outcome) -> None:
        """Take the outcome of a station's callback; its value is the JSON of what the callback has returned."""
        if outcome.code == Code.FAILED:
            self._sender.add([self._failure(station_id, job, outcome)], job.stored)
        elif outcome.code != Code.RESULT or outcome.value is None:
            job.stored()
        elif self._handler is None:
            payload = self._payload(station_id, outcome.value)
            self._publish(station_id, job, payload, self._config.output_limit)
        else:
            self._queue(_Result(station_id, job, outcome.value), self._handler)

    async def cancel(self) -> None:
        """Stop handlers at once, and give what is on its way to the broker a little time to get there."""
        self._lanes.clear()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SETTLE_SECONDS)
        await self._sender.cancel()

    # -- handlers ----------------------------------------------------------------------------------------------------

    def _queue(self, result: _Result, handler: StationResultHandler) -> None:
        lane = self._lanes.get(result.station_id)
        if lane is not None:
            lane.append(result)
            return
        lane = self._lanes[result.station_id] = deque([result])
        task = asyncio.get_running_loop().create_task(self._work_off(lane, handler))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work_off(self, lane: deque[_Result], handler: StationResultHandler) -> None:
        try:
            while lane:
                result = lane[0]
                async with self._places:
                    answer = await handler(result.station_id, result.job.module_input or {}, result.value)
                if self._lanes.get(result.station_id) is not lane:
                    return  # the partitions have been taken away, and the handler did not listen
                self._take_answer(result, answer)
                lane.popleft()
            del self._lanes[result.station_id]
        except Exception as error:  # noqa: BLE001 - a bug of ours: nothing of it is acknowledged
            self._on_error(error)

    def _take_answer(self, result: _Result, answer: Prepared) -> None:
        station_id, job = result.station_id, result.job
        if answer.error is not None:
            letter = self._letter(
                Reason.HANDLER_FAILED, answer.error, station_id, job, self._payload(station_id, result.value)
            )
            self._sender.add([letter], job.stored)
        elif answer.value is None:
            job.stored()
        else:
            self._publish(station_id, job, answer.value.encode(), self._config.max_message_bytes)

    # -- messages ----------------------------------------------------------------------------------------------------

    def _payload(self, station_id: str, value: str) -> bytes:
        head = orjson.dumps({"station_id": station_id, "module": self._config.module})
        return b'%b,"result":%b}' % (head[:-1], value.encode())

    def _publish(self, station_id: str, job: SingleStation, payload: bytes, limit: int) -> None:
        key = station_id.encode()
        if len(key) + len(payload) <= limit:
            headers = trace_headers(station_trace(job.group.trace, station_id))
            message = OutMessage(self._config.output_topic, payload, key=key, headers=headers)
        else:
            error = (
                f"the output of station {station_id} has {len(key) + len(payload)} bytes with its key, more than the "
                f"{limit} that one may have (AGG_MAX_MESSAGE_BYTES, max.message.bytes of {self._config.output_topic})"
            )
            message = self._letter(Reason.TOO_LARGE, error, station_id, job, payload)
        self._sender.add([message], job.stored)

    def _failure(self, station_id: str, job: SingleStation, outcome: Outcome) -> OutMessage:
        return self._dead_letters.letter(
            Reason.STATION_FAILED,
            outcome.traceback or outcome.value or "",
            value=orjson.dumps({job.group.source.topic: job.records}),
            key=job.group.key,
            failed_at=job.group.opened_at,
            source=job.group.source,
            station_id=station_id,
            trace=station_trace(job.group.trace, station_id),
        )

    def _letter(self, reason: Reason, error: str, station_id: str, job: SingleStation, payload: bytes) -> OutMessage:
        """A letter with a payload that was not published."""
        return self._dead_letters.letter(
            reason,
            error,
            value=payload,
            key=station_id.encode(),
            failed_at=job.group.opened_at,
            source=job.group.source,
            station_id=station_id,
            trace=station_trace(job.group.trace, station_id),
        )
