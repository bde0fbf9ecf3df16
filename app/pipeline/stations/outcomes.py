"""Gathers outcomes that finish within a few milliseconds of each other into frames for the batches' partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from app.callbacks.outcome import Outcome
from app.callbacks.tasks import TaskSet
from app.messages.frames import FRAME_BYTES, FRAME_EVENTS, encode_events
from app.messages.message import Clock, OutMessage, Sender
from app.pipeline.ports import SETTLE_SECONDS
from tables.model.events import Arrived, FailureLetter, Source

GATHER_SECONDS = 0.004
BUSY_GATHER_SECONDS = 0.05  # while callbacks wait for their turn: what they give to the same batches can still come


class _OutcomeGroup:
    """The outcomes of one source message's stations that go into one frame."""

    __slots__ = ("batch_id", "codes", "letters", "source", "stations", "trace", "values")

    def __init__(self, batch_id: str, source: Source, trace: str | None) -> None:
        self.batch_id = batch_id
        self.source = source
        self.trace = trace
        self.stations: list[str] = []
        self.codes: list[str] = []
        self.values: list[str | None] = []
        self.letters: dict[int, FailureLetter] = {}

    def event(self, at: float) -> Arrived:
        codes = "".join(self.codes)
        return Arrived(self.batch_id, self.source, at, self.stations, codes, self.values, self.letters, self.trace)


class _OutcomeFrame:
    """A frame for one partition that is being filled, with its groups by batch and source message."""

    __slots__ = ("groups", "size", "stored")

    def __init__(self) -> None:
        self.groups: dict[tuple[str, Source], _OutcomeGroup] = {}
        self.stored: list[Callable[[], None]] = []
        self.size = 0


class OutcomeGatherer:
    """Sends outcomes to the `batch-events` topic, and calls an outcome's `stored` when the broker has confirmed it.

    A slow station never delays a fast one: what is there is sent after `GATHER_SECONDS`, or when a frame is full. While
    `busy` returns True it may stay up to `BUSY_GATHER_SECONDS`: callbacks wait for their turn then, the outcomes of a
    batch come from all partitions of the station events, and each event of the batch's log costs CPU.
    `on_error` gets whatever goes wrong with a frame; its outcomes then stay unacknowledged, and the worker must end.
    """

    def __init__(
        self,
        topic: str,
        *,
        sender: Sender,
        clock: Clock,
        busy: Callable[[], bool],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._topic = topic
        self._sender = sender
        self._clock = clock
        self._busy = busy
        self._on_error = on_error
        self._filling: dict[int, _OutcomeFrame] = {}
        self._timer: asyncio.TimerHandle | None = None
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
        stored: Callable[[], None],
    ) -> None:
        """Take one outcome; `stored` is called when the broker has confirmed it. `trace` is the source message's.

        If this raises, nothing of the outcome has been taken.
        """
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(GATHER_SECONDS, self._look, loop.time() + BUSY_GATHER_SECONDS)
        frame = self._filling.get(partition)
        if frame is None:
            frame = self._filling[partition] = _OutcomeFrame()
        key = (batch_id, source)
        group = frame.groups.get(key)
        if group is None:
            group = frame.groups[key] = _OutcomeGroup(batch_id, source, trace)
        # From here on nothing is called that could raise: lists that do not run in parallel could not be read.
        if letter is not None:
            group.letters[len(group.stations)] = letter
            frame.size += len(letter.value)
        group.stations.append(station)
        group.codes.append(outcome.code)
        group.values.append(outcome.value)
        frame.stored.append(stored)
        frame.size += len(station) + len(outcome.value or "")
        if len(frame.stored) >= FRAME_EVENTS or frame.size >= FRAME_BYTES:
            try:
                self._send({partition: self._filling.pop(partition)})
            except Exception as error:  # noqa: BLE001 - it is no single outcome's fault, and this one has been taken
                self._on_error(error)

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
        stored = [callback for frame in frames.values() for callback in frame.stored]
        self._sending.start(self._confirm(messages, stored))

    async def _confirm(self, messages: list[OutMessage], stored: list[Callable[[], None]]) -> None:
        await self._sender.send(messages)
        for callback in stored:
            callback()
