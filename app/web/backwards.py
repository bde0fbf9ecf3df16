"""Pages of a topic: its messages from the newest to the oldest, within bounds of bytes, messages and time.

Kafka reads forwards. So windows of offsets are read, the last one of each partition first, and merged by the times at
which their messages were appended. A page ends when it is full or when a bound is reached, and then may have fewer rows
than were asked for, even none; its `next` goes on from there. A cursor is an offset for each partition: what comes
after the first page was made has higher ones, so nothing is shown twice or left out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter

from app.messages.message import InMessage
from app.web.errors import Refusal
from app.web.paging import decode_place, encode_place
from app.web.topics import NotReadable, OpenTopic, Window

T = TypeVar("T")

# The bounds of one page.
MESSAGES: Final = 20_000
BYTES: Final = 64 * 1024 * 1024
SECONDS: Final = 1.2  # then it is answered with what there is
ANSWER_SECONDS: Final = 1.8  # then there is no answer

AT_ONCE: Final = 3  # readings of a worker
_FIRST_WINDOW: Final = 64  # messages
_LARGEST_WINDOW: Final = 2_000
_WINDOW_BYTES: Final = 4 * 1024 * 1024  # of one partition
_SLICE: Final = 200  # messages between two turns of the event loop

_Place = tuple[Annotated[int, Field(ge=0, lt=2**31)], Annotated[int, Field(ge=0, lt=2**63)]]  # partition and offset
_CURSORS: Final = TypeAdapter(list[_Place], config=ConfigDict(strict=True))


class Readings:
    """The readings of topics for who asks this worker: a few at once, each answered in time or refused."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(AT_ONCE)
        self._running: set[asyncio.Task[Any]] = set()

    async def within(self, seconds: float, work: Coroutine[Any, Any, T], *, goes_on: bool = False) -> T:
        """Return what comes of reading; what takes longer `goes_on` when it also writes.

        Raises:
            Refusal: It took too long, or the topic can't be read.
        """
        task = asyncio.create_task(self._in_turn(work))
        self._running.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait({task}, timeout=seconds)
        if not task.done() and goes_on:
            message = (
                f"Kafka has not confirmed everything within {seconds:g} s: it may be done all the same; look again"
            )
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "not-confirmed", message)
        if not task.done():
            task.cancel()  # closing a client of a broker that is away takes its time: nobody waits for that
            message = f"Kafka has not answered within {seconds:g} s, or too many read from it just now; try again"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "broker-away", message)
        try:
            return task.result()
        except NotReadable as error:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "broker-away", str(error)) from error

    async def _in_turn(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            async with self._room:
                return await work
        finally:
            work.close()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waits is told; else nobody wants to know


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows, newest first, and the cursor of the next page; None on the last one."""

    rows: list[T]
    next: str | None


def read_cursor(text: str | None) -> dict[int, int] | None:
    """Read the cursor of a request: the offset before which to go on, by partition; None where there is none.

    Raises:
        Refusal: The text is no cursor of ours.
    """
    if text is None:
        return None
    places = decode_place(text, _CURSORS)
    return dict(places)


async def newest_first(
    topic: OpenTopic, after: Mapping[int, int] | None, limit: int, row_of: Callable[[InMessage], T | None]
) -> Page[T]:
    """Return a page of what `row_of` makes of messages; None is passed over.

    Raises:
        NotReadable: The broker does not answer any more.
    """
    backwards = _Backwards(topic, after)
    rows: list[T] = []
    async for message in backwards.messages():
        row = row_of(message)
        if row is not None:
            rows.append(row)
            if len(rows) == limit:
                break
    left = backwards.left
    return Page(rows, encode_place(sorted(left.items())) if left else None)


class _Backwards:
    def __init__(self, topic: OpenTopic, after: Mapping[int, int] | None) -> None:
        self._topic = topic
        # By partition, the offset before which to go on; what was exhausted is not in a cursor.
        self._next = {
            partition: held.end if after is None else min(after.get(partition, 0), held.end)
            for partition, held in topic.held.items()
        }
        self._read = dict(self._next)  # how far down it has been read: further than what has been given out
        self._waiting: dict[int, deque[InMessage]] = {partition: deque() for partition in self._next}
        self._window = _FIRST_WINDOW
        self._bytes = 0

    @property
    def left(self) -> dict[int, int]:
        """By partition, the offset before which there may be more."""
        return {
            partition: offset for partition, offset in self._next.items() if offset > self._topic.held[partition].start
        }

    async def messages(self) -> AsyncIterator[InMessage]:
        """Yield messages until a bound is reached."""
        loop = asyncio.get_running_loop()
        stop_at = loop.time() + SECONDS
        count = 0
        while count < MESSAGES and self._bytes < BYTES:
            while self._is_short():
                if count and loop.time() >= stop_at:
                    return
                await self._read_on()
            waiting = [queue for queue in self._waiting.values() if queue]
            if not waiting:
                return
            newest = max(waiting, key=lambda queue: (queue[-1].timestamp, queue[-1].partition))
            message = newest.pop()
            # Below the oldest that has been read there are but holes, down to where reading has come.
            self._next[message.partition] = message.offset if newest else self._read[message.partition]
            count += 1
            if count % _SLICE == 0:
                await asyncio.sleep(0)
            yield message

    def _is_short(self) -> bool:
        """Say whether there is a partition of which nothing is known that may be the newest."""
        return any(not queue and self._has_more(partition) for partition, queue in self._waiting.items())

    def _has_more(self, partition: int) -> bool:
        return self._read[partition] > self._topic.held[partition].start

    async def _read_on(self) -> None:
        windows = {
            partition: Window(max(self._topic.held[partition].start, end - self._window), end)
            for partition, end in self._read.items()
            if not self._waiting[partition] and self._has_more(partition)
        }
        found = await self._topic.read(windows, _WINDOW_BYTES)
        size = 0
        for partition, messages in found.items():
            window = windows[partition]
            self._read[partition] = window.start
            self._waiting[partition].extend(messages)
            if not messages:
                self._next[partition] = window.start  # nothing but holes
            size = max(size, sum(message.size for message in messages))
        self._bytes += sum(message.size for messages in found.values() for message in messages)
        if len(found) < len(windows):
            self._bytes += _WINDOW_BYTES  # what was read for nothing
            self._window = max(1, self._window // 8)
        elif size < _WINDOW_BYTES // 4:
            self._window = min(_LARGEST_WINDOW, self._window * 2)
