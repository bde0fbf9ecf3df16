"""Station events that may have ended their worker: run in groups that are noted, then alone, then not any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Generic

from app.callbacks.outcome import Outcome
from app.callbacks.scheduler import Call, Context
from app.messages.message import Clock, InMessage
from app.messages.start_note import GROUP, Mark, StartNote
from app.pipeline.ports import StartNotes
from tables.model.enums import Code

PAUSE = 0.002  # seconds between two looks whether a group is done
LONGEST = 0.2  # seconds that others wait for a group: one that ends its worker later than that is not found

CONDEMNED = Outcome(
    Code.FAILED,
    "the worker ended twice while this callback ran alone (os._exit, a crash in C code, memory?): it is not run again; "
    "AGG_EXECUTOR=process keeps such an end from the worker",
)


class Suspects(Generic[Context]):
    """Runs what stood there when this worker took over a partition whose last owners had ended where they began.

    An event is noted before it begins, so what a worker dies of is among what is noted. A group that was noted at a
    death is run one by one at the next start, and an event that then ends the worker twice is failed. What runs for
    longer than that is under no suspicion any more: slow stations shall not make others miss their deadlines.
    """

    def __init__(
        self,
        notes: StartNotes,
        *,
        submit: Callable[[Call[Context]], None],
        fail: Callable[[Call[Context], Outcome], None],
        pending: Callable[[], int],
        clock: Clock,
    ) -> None:
        """Nothing is suspected yet.

        Args:
            notes: kept beside the committed offsets.
            submit: has a callback run.
            fail: takes the outcome of one that is not run.
            pending: returns how many calls have no outcome yet.
            clock: Unix seconds.
        """
        self._notes = notes
        self._submit = submit
        self._fail = fail
        self._pending = pending
        self._clock = clock

    def among(self, message: InMessage) -> bool:
        """Say whether the events of a frame have to be run here."""
        return self._notes.suspicion(message.partition, message.offset) is not None

    async def run(self, message: InMessage, calls: Sequence[tuple[Mark, Call[Context]]]) -> None:
        """Run the events of a frame; returns when each has its outcome, or has had its time."""
        note = self._notes.suspicion(message.partition, message.offset) or StartNote()
        condemned = frozenset(note.condemned)
        for group in _groups(calls, condemned.union(note.running)):
            if group[0][0] in condemned:
                self._fail(group[0][1], CONDEMNED)
                continue
            running = [mark for mark, call in group if not self._is_late(call)]  # one that is too late is not run
            if running:
                await self._notes.write(message.partition, note.begun(tuple(running)))
            before = self._pending()
            for _, call in group:
                self._submit(call)
            await self._ended(before)
        # Whatever ends the worker from now on, it is none of these.
        await self._notes.write(message.partition, note.begun(()))

    async def _ended(self, before: int) -> None:
        """Wait until no more calls are pending than there were before, within bounds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + LONGEST
        while self._pending() > before and loop.time() < until:  # noqa: ASYNC110 - the runner tells nobody
            await asyncio.sleep(PAUSE)

    def _is_late(self, call: Call[Context]) -> bool:
        return call.deadline is not None and self._clock() > call.deadline


def _groups(
    calls: Sequence[tuple[Mark, Call[Context]]], alone: frozenset[Mark]
) -> Iterator[list[tuple[Mark, Call[Context]]]]:
    """Cut events into groups; those of `alone` are one each."""
    group: list[tuple[Mark, Call[Context]]] = []
    for mark, call in calls:
        if group and (mark in alone or len(group) == GROUP):
            yield group
            group = []
        group.append((mark, call))
        if mark in alone:
            yield group
            group = []
    if group:
        yield group
