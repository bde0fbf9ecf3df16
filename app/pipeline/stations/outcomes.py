"""Gathers outcomes that come within a few milliseconds of each other into frames for the batches' partitions."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

from app.callbacks.outcome import Outcome
from app.callbacks.tasks import TaskSet
from app.messages.frames import FRAME_BYTES, FRAME_EVENTS, encode_events
from app.messages.message import Clock, OutMessage, Sender
from app.pipeline.ports import SETTLE_SECONDS
from tables.model.enums import Code
from tables.model.events import Arrived, FailureLetter, Source

GATHER_SECONDS = 0.004
_RESULT, _EMPTY = Code.RESULT.value, Code.EMPTY.value
BUSY_GATHER_SECONDS = 0.05  # while callbacks wait for their turn: what they give to the same batches can still come


class _OutcomeGroup:
    """The outcomes of one source message's stations that go into one frame."""

    __slots__ = ("batch_id", "codes", "letters", "source", "stations", "trace", "values")

    def __init__(self, batch_id: str, source: Source, trace: str | None) -> None:
        self.batch_id = batch_id
        self.source = source
        self.trace = trace
        self.stations: list[str] = []
        self.codes: list[str] = []  # of one station each, or of several in a row
        self.values: list[str | None] = []
        self.letters: dict[int, FailureLetter] = {}

    def event(self, at: float) -> Arrived:
        codes = "".join(self.codes)
        return Arrived(self.batch_id, self.source, at, self.stations, codes, self.values, self.letters, self.trace)


class _OutcomeFrame:
    """A frame for one partition that is being filled, with its groups by batch and source message."""

    __slots__ = ("count", "groups", "size", "stored")

    def __init__(self) -> None:
        self.groups: dict[tuple[str, Source], _OutcomeGroup] = {}
        self.stored: list[tuple[Callable[[int], None], int]] = []
        self.count = 0
        self.size = 0

    def group(self, batch_id: str, source: Source, trace: str | None) -> _OutcomeGroup:
        """Return the group of a source message, which is made if there is none."""
        key = (batch_id, source)
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = _OutcomeGroup(batch_id, source, trace)
        return group


class OutcomeGatherer:
    """Sends outcomes to the `batch-events` topic, and calls an outcome's `stored` when the broker has confirmed it.

    A slow station never delays a fast one: what is there is sent after `GATHER_SECONDS`, or when a frame is full. While
    `busy` returns True it may stay up to `BUSY_GATHER_SECONDS`: callbacks wait for their turn then, the outcomes of a
    batch come from all partitions of the station events, and each event of the batch's log costs CPU. Where `idle`
    returns True, because no call is left and none is on its way, nothing is waited for.
    `on_error` gets whatever goes wrong with a frame; its outcomes then stay unacknowledged, and the worker must end.
    """

    def __init__(
        self,
        topic: str,
        *,
        sender: Sender,
        clock: Clock,
        busy: Callable[[], bool],
        idle: Callable[[], bool],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._topic = topic
        self._sender = sender
        self._clock = clock
        self._busy = busy
        self._idle = idle
        self._on_error = on_error
        self._filling: dict[int, _OutcomeFrame] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None  # a look whether there is anything to wait for
        self._sending = TaskSet(on_error)

    def add(
        self,
        partition: int,
        batch_id: str,
        source: Source,
        station: str,
        outcome: Outcome,
        *,
        trace: str | None,
        letter: FailureLetter | None,
        stored: Callable[[int], None],
    ) -> None:
        """Take one outcome; `stored` is called with 1 when the broker has confirmed it.

        `trace` is the source message's. If this raises, nothing of the outcome has been taken.
        """
        frame = self._frame(partition)
        group = frame.group(batch_id, source, trace)
        # From here on nothing is called that could raise: lists that do not run in parallel could not be read.
        if letter is not None:
            group.letters[len(group.stations)] = letter
            frame.size += len(letter.value)
        group.stations.append(station)
        group.codes.append(outcome.code)
        group.values.append(outcome.value)
        frame.stored.append((stored, 1))
        frame.count += 1
        frame.size += len(station) + len(outcome.value or "")
        self._send_if_ready(partition, frame)

    def add_results(
        self,
        partition: int,
        batch_id: str,
        source: Source,
        stations: Sequence[str],
        values: Sequence[str | None],
        *,
        stored: Sequence[tuple[Callable[[int], None], int]],
    ) -> bool:
        """Take results of stations of a message that is not traced; False: they are to be taken one by one.

        That is so where they do not fit into a frame. If this raises, nothing of them has been taken.

        Args:
            partition: the batch's.
            batch_id: the batch's.
            source: the message.
            stations: ids.
            values: in parallel, the JSON text of a result, None of an empty one.
            stored: each is called with its number, when the broker has confirmed them.
        """
        frame = self._frame(partition)
        empties = values.count(None)
        size = sum(map(len, filter(None, values))) + sum(map(len, stations))
        if frame.size + size > FRAME_BYTES:
            return False
        codes = _RESULT * len(values) if not empties else "".join([_EMPTY if v is None else _RESULT for v in values])
        group = frame.group(batch_id, source, None)
        # As above.
        group.stations += stations
        group.codes.append(codes)
        group.values += values
        frame.stored += stored
        frame.count += len(stations)
        frame.size += size
        self._send_if_ready(partition, frame)
        return True

    def _frame(self, partition: int) -> _OutcomeFrame:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(GATHER_SECONDS, self._look, loop.time() + BUSY_GATHER_SECONDS)
        frame = self._filling.get(partition)
        if frame is None:
            frame = self._filling[partition] = _OutcomeFrame()
        return frame

    def _send_if_ready(self, partition: int, frame: _OutcomeFrame) -> None:
        try:
            if frame.count >= FRAME_EVENTS or frame.size >= FRAME_BYTES:
                self._send({partition: self._filling.pop(partition)})
            elif self._soon is None and self._idle():
                # Not at once: what was delivered together with this is about to be taken in.
                self._soon = asyncio.get_running_loop().call_soon(self._look_soon)
        except Exception as error:  # noqa: BLE001 - it is no single outcome's fault, and this one has been taken
            self._on_error(error)

    def _look_soon(self) -> None:
        """Send what there is, if nothing more can come."""
        self._soon = None
        if self._idle() and self._timer is not None:
            self._timer.cancel()
            self._look(-math.inf)

    def _look(self, flush_at: float) -> None:
        """Send what there is, unless more of the same is about to come."""
        loop = asyncio.get_running_loop()
        try:
            if loop.time() < flush_at and self._busy():
                self._timer = loop.call_later(GATHER_SECONDS, self._look, flush_at)
                return
            self._timer = None
            filling, self._filling = self._filling, {}
            if filling:
                self._send(filling)
        except Exception as error:  # noqa: BLE001 - raised into the event loop it would only be logged
            self._on_error(error)

    async def cancel(self) -> None:
        """Drop what has not been sent, and give what is in flight SETTLE_SECONDS to be confirmed.

        What is then still not confirmed is given up: a worker that the group has forgotten is held back from sending,
        and would wait here for a membership that it can't get before this returns.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        self._filling.clear()
        await self._sending.cancel(SETTLE_SECONDS)

    def _send(self, frames: dict[int, _OutcomeFrame]) -> None:
        at = self._clock()
        messages = [
            OutMessage(
                self._topic, encode_events([group.event(at) for group in frame.groups.values()]), partition=partition
            )
            for partition, frame in frames.items()
        ]
        stored = [outcomes for frame in frames.values() for outcomes in frame.stored]
        self._sending.start(self._confirm(messages, stored))

    async def _confirm(self, messages: list[OutMessage], stored: list[tuple[Callable[[int], None], int]]) -> None:
        await self._sender.send(messages)
        for callback, outcomes in stored:
            callback(outcomes)
