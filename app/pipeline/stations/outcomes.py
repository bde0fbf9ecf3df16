"""Gathers outcomes that finish within a few milliseconds of each other into frames for the batches' partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from app.callbacks.outcome import Outcome
from app.messages.frames import FRAME_BYTES, FRAME_EVENTS, encode_events
from app.messages.message import Clock, OutMessage, Sender
from tables.model.events import Arrived, FailureLetter, Source

__all__ = ["OutcomeGatherer"]

GATHER_SECONDS = 0.004
BUSY_GATHER_SECONDS = 0.05  # while callbacks wait for their turn: what they give to the same batches can still come
SETTLE_SECONDS = 3.0  # what outcomes on their way get to be confirmed when partitions are taken away


@dataclass(slots=True)
class _Filling:
    """Outcomes for one partition that have not been sent yet, by batch and source message."""

    groups: dict[tuple[str, Source], Arrived] = field(default_factory=dict)
    codes: dict[tuple[str, Source], list[str]] = field(default_factory=dict)
    stored: list[Callable[[], None]] = field(default_factory=list)
    size: int = 0


class OutcomeGatherer:
    """Sends outcomes to the `batch-events` topic and tells each outcome's owner when it is stored.

    A slow station never delays a fast one: what is there is sent after `GATHER_SECONDS`, or when a frame is full. While
    `busy` says that callbacks wait for their turn it may stay up to `BUSY_GATHER_SECONDS`: the outcomes of a batch come
    from all partitions of the station events, and each event of its log has its price.
    `on_error` gets what a send raised; the outcomes of that frame then stay unacknowledged.
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
        self._filling: dict[int, _Filling] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._sending: set[asyncio.Task[None]] = set()

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
        """Take one outcome; `stored` is called when the broker has confirmed it. `trace` is the source message's."""
        filling = self._filling.get(partition)
        if filling is None:
            filling = self._filling[partition] = _Filling()
            if self._timer is None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(GATHER_SECONDS, self._look, loop.time() + BUSY_GATHER_SECONDS)
        key = (batch_id, source)
        group = filling.groups.get(key)
        if group is None:
            group = filling.groups[key] = Arrived(batch_id, source, 0.0, [], "", [], {}, trace)
            filling.codes[key] = []
        if letter is not None:
            group.letters[len(group.stations)] = letter
            filling.size += len(letter.value)
        group.stations.append(station)
        group.values.append(outcome.value)
        filling.codes[key].append(outcome.code)
        filling.stored.append(stored)
        filling.size += len(station) + len(outcome.value or "")
        if len(filling.stored) >= FRAME_EVENTS or filling.size >= FRAME_BYTES:
            self._send([self._frame(partition, self._filling.pop(partition))], filling.stored)

    def _look(self, flush_at: float) -> None:
        """Send what there is, unless more of the same is about to come."""
        loop = asyncio.get_running_loop()
        if self._busy() and loop.time() < flush_at:
            self._timer = loop.call_later(GATHER_SECONDS, self._look, flush_at)
        else:
            self.flush()

    def flush(self) -> None:
        """Send what there is."""
        self._timer = None
        filling, self._filling = self._filling, {}
        stored = [callback for one in filling.values() for callback in one.stored]
        if stored:
            self._send([self._frame(partition, one) for partition, one in filling.items()], stored)

    async def cancel(self) -> None:
        """Drop what has not been sent, and give what is on its way SETTLE_SECONDS to be confirmed.

        What is then still not confirmed is given up: a worker that the group has forgotten is held back from sending,
        and would wait here for a membership that it can't get before this returns.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._filling.clear()
        if self._sending:
            await asyncio.wait(self._sending, timeout=SETTLE_SECONDS)
        for task in self._sending:
            task.cancel()
        while self._sending:
            await asyncio.wait(self._sending)

    def _frame(self, partition: int, filling: _Filling) -> OutMessage:
        at = self._clock()
        events = [
            Arrived(
                group.batch_id,
                group.source,
                at,
                group.stations,
                "".join(filling.codes[key]),
                group.values,
                group.letters,
                group.trace,
            )
            for key, group in filling.groups.items()
        ]
        return OutMessage(self._topic, encode_events(events), partition=partition)

    def _send(self, frames: list[OutMessage], stored: list[Callable[[], None]]) -> None:
        task = asyncio.get_running_loop().create_task(self._send_and_tell(frames, stored))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send_and_tell(self, frames: list[OutMessage], stored: list[Callable[[], None]]) -> None:
        try:
            await self._sender.send(frames)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing may be acknowledged, and the owner decides
            self._on_error(error)
            return
        for callback in stored:
            callback()
