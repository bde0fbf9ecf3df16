"""Station events that may have ended their worker: run in groups that are noted, then alone, then not any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Generic

from app.callbacks.outcome import Outcome
from app.callbacks.scheduler import Call, Context
from app.messages.message import Clock
from app.messages.start_note import GROUP, Mark, StartNote
from app.pipeline.ports import StartNotes
from tables.model.enums import Code

PAUSE = 0.002  # seconds between two looks whether events have ended
GROUP_WAIT = 0.2  # seconds that the next group waits for one
ALONE_WAIT = 30.0  # seconds that others wait for an event that runs alone, and half of what its deadline leaves

CONDEMNED = Outcome(
    Code.FAILED,
    "the worker ended twice while this callback ran alone (os._exit, a crash in C code, memory?): it is not run again; "
    "AGG_EXECUTOR=process keeps such an end from the worker",
)


class Suspects(Generic[Context]):
    """Runs what stood there when this worker took over a partition whose last owners had ended where they began.

    An event is noted before it begins and until it has ended, so what a worker dies of is among what is noted. What was
    noted at a death is run one by one at the next start, and an event that then ends the worker twice is failed. Nobody
    waits for a slow station for ever: others shall not miss their deadlines.

    Attributes:
        begun: by the id of its call, the mark of each event that has begun here and has not ended.
    """

    def __init__(
        self,
        notes: StartNotes,
        *,
        submit: Callable[[Call[Context]], None],
        fail: Callable[[Call[Context], Outcome], None],
        clock: Clock,
    ) -> None:
        """Nothing is suspected yet.

        Args:
            notes: kept beside the committed offsets.
            submit: has a callback run; its outcome has to be told to `ended`.
            fail: takes the outcome of one that is not run.
            clock: Unix seconds.
        """
        self.begun: dict[int, Mark] = {}
        self._notes = notes
        self._submit = submit
        self._fail = fail
        self._clock = clock

    async def run(self, partition: int, note: StartNote, calls: Sequence[tuple[Mark, Call[Context]]]) -> None:
        """Run the events of a frame; returns when each has its outcome, or has had its time.

        Args:
            partition: where the frame stands.
            note: what the notes had to say of that place.
            calls: of the events, with their marks.
        """
        condemned = frozenset(note.condemned)
        for group in _groups(calls, condemned.union(note.running)):
            mark, call = group[0]
            if mark in condemned:
                self._fail(call, CONDEMNED)
                continue
            running = [mark for mark, call in group if not self._is_late(call)]  # one that is too late is not run
            alone = mark in note.running
            if running:
                slow = () if alone else self.begun.values()  # they were noted alone, or will be
                await self._notes.write(partition, note.begun((*slow, *running)))
            for mark, call in group:
                self.begun[id(call)] = mark
                self._submit(call)
            await self._ended(group, self._alone_wait(call) if alone else GROUP_WAIT)
        await self._notes.write(partition, note.begun(tuple(self.begun.values())))

    def ended(self, call: Call[Context]) -> None:
        """Take note that a call has its outcome."""
        self.begun.pop(id(call), None)

    def clear(self) -> None:
        """Forget what has begun: it was cancelled."""
        self.begun.clear()

    async def _ended(self, group: Sequence[tuple[Mark, Call[Context]]], wait: float) -> None:
        """Wait for the ends of these calls, for so many seconds at most."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        left = [id(call) for _, call in group]
        while loop.time() < until:  # the runner tells nobody
            left = [call for call in left if call in self.begun]
            if not left:
                return
            await asyncio.sleep(PAUSE)

    def _alone_wait(self, call: Call[Context]) -> float:
        return ALONE_WAIT if call.deadline is None else min(ALONE_WAIT, (call.deadline - self._clock()) / 2)

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
