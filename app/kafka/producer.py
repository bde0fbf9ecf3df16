"""Confirmed sends, a record batch at a time.

The producer's own way, a message at a time with a future for each, costs several times as much. Here every partition
has a lane: what waits in it goes out as one record batch, and while that is under way the next one gathers. There is
one batch under way in a partition, so order is kept.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from app.messages.message import OutMessage
from app.messages.partitioner import partition_of

BATCH_BYTES = 1024 * 1024  # of records that travel together

# Batches for one broker travel in one request, and brokers refuse requests of 100 MiB and more.
MAX_BYTES_IN_FLIGHT = 48 * 1024 * 1024


class SendError(RuntimeError):
    """The broker did not confirm a message within AGG_BROKER_PATIENCE, or refused it for good."""


@dataclass(slots=True, eq=False)
class _Ticket:
    """Messages that one `send` has for one partition, the offsets of those that are out, and the promise of all."""

    messages: list[OutMessage]
    confirmed: asyncio.Future[list[int]]
    offsets: list[int] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Lane:
    """Messages that wait to be sent to one partition, and the task that sends them."""

    tickets: deque[_Ticket] = field(default_factory=deque)
    pump: asyncio.Task[None] | None = None


class KafkaSender:
    """Sends through the worker's producer."""

    def __init__(
        self,
        producer: Callable[[], AIOKafkaProducer],
        fence: Callable[[], Awaitable[None]],
        patience: float,
        *,
        on_sent: Callable[[str, int, int], None],
        one_by_one: Collection[str],
    ) -> None:
        """A sender with nothing to send.

        Args:
            producer: gives the worker's producer.
            fence: is awaited before messages are taken: it holds back a worker that may be a zombie.
            patience: seconds that the broker may take to confirm.
            on_sent: gets the topic of each batch of messages that is out, how many they are, and its bytes.
            one_by_one: topics of which no two messages travel together: their limit is too low for a batch.
        """
        self._producer = producer
        self._fence = fence
        self._patience = patience
        self._on_sent = on_sent
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._one_by_one = one_by_one
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()

    async def send(self, messages: Sequence[OutMessage]) -> list[int]:
        """Append in order (for each partition), wait until every message is confirmed; returns their offsets.

        Raises:
            SendError: names topic, partition and key of a message that was not taken.
        """
        if not messages:
            return []
        await self._fence()
        groups: dict[tuple[str, int], list[int]] = {}
        for index, message in enumerate(messages):
            partition = message.partition
            if partition is None:
                partition = await self._partition_of(message)
            groups.setdefault((message.topic, partition), []).append(index)
        tickets = [self._enqueue(tp, [messages[index] for index in indices]) for tp, indices in groups.items()]
        # Whatever happens, nothing of ours may still be on its way when the caller goes on: so all are waited for.
        if len(tickets) > 1:
            await asyncio.wait([ticket.confirmed for ticket in tickets])
        offsets = [0] * len(messages)
        for indices, ticket in zip(groups.values(), tickets, strict=True):
            for index, offset in zip(indices, await ticket.confirmed, strict=True):
                offsets[index] = offset
        return offsets

    async def _partition_of(self, message: OutMessage) -> int:
        try:
            partitions: set[int] = await self._producer().partitions_for(message.topic)
        except KafkaError as error:
            raise self._failure(message, error) from error
        if message.key is None:
            return random.choice(sorted(partitions))  # noqa: S311 - spreads messages, guards nothing
        return partition_of(message.key, len(partitions))

    def _enqueue(self, tp: tuple[str, int], messages: list[OutMessage]) -> _Ticket:
        loop = asyncio.get_running_loop()
        lane = self._lanes.setdefault(tp, _Lane())
        ticket = _Ticket(messages, loop.create_future())
        lane.tickets.append(ticket)
        if lane.pump is None:
            lane.pump = loop.create_task(self._pump(tp, lane))
        return ticket

    async def _pump(self, tp: tuple[str, int], lane: _Lane) -> None:
        """Send what waits in a lane until nothing does."""
        try:
            while lane.tickets:
                if lane.tickets[0].confirmed.cancelled():
                    lane.tickets.popleft()
                    continue
                await self._send_batch(tp, lane)
        finally:
            lane.pump = None

    async def _send_batch(self, tp: tuple[str, int], lane: _Lane) -> None:
        await self._room.wait()
        batch = self._producer().create_batch()
        taken = _fill(batch, lane, most=1 if tp[0] in self._one_by_one else None)
        size = batch.size()
        self._count(size)
        try:
            base = await self._submit(batch, tp)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            self._refuse(lane, taken, error)
        else:
            self._on_sent(tp[0], sum(count for _, count in taken), size)
            self._settle(lane, taken, base)
        finally:
            self._count(-size)

    def _refuse(self, lane: _Lane, taken: list[tuple[_Ticket, int]], error: Exception) -> None:
        for ticket, _ in taken:
            lane.tickets.remove(ticket)
            if not ticket.confirmed.done():
                ticket.confirmed.set_exception(self._failure(ticket.messages[len(ticket.offsets)], error))

    async def _submit(self, batch: BatchBuilder, tp: tuple[str, int]) -> int:
        topic, partition = tp
        batch.close()
        async with asyncio.timeout(self._patience or None):
            # An idempotent producer tries for ever, so it is here that patience ends.
            confirmed = await self._producer().send_batch(batch, topic, partition=partition)
            base: int = (await confirmed).offset
        return base

    def _settle(self, lane: _Lane, taken: list[tuple[_Ticket, int]], base: int) -> None:
        for ticket, count in taken:
            ticket.offsets.extend(range(base, base + count))
            base += count
            if len(ticket.offsets) == len(ticket.messages):
                lane.tickets.remove(ticket)
                if not ticket.confirmed.done():
                    ticket.confirmed.set_result(ticket.offsets)

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes < MAX_BYTES_IN_FLIGHT:
            self._room.set()
        else:
            self._room.clear()

    def _failure(self, message: OutMessage, error: BaseException) -> SendError:
        partition = "" if message.partition is None else f"[{message.partition}]"
        return SendError(
            f"{message.topic}{partition}: a message of {len(message.value or b'')} bytes with key {message.key!r} was "
            f"not taken by the broker ({error!r}; AGG_BROKER_PATIENCE is {self._patience:g} s)"
        )


def _fill(batch: BatchBuilder, lane: _Lane, *, most: int | None) -> list[tuple[_Ticket, int]]:
    """Put what waits into a batch, `most` messages at most; returns how many of each ticket's are in it."""
    taken: list[tuple[_Ticket, int]] = []
    for ticket in lane.tickets:
        if ticket.confirmed.cancelled():
            continue
        count = 0
        for message in ticket.messages[len(ticket.offsets) :]:
            if batch.record_count() == most:
                break
            timestamp = None if message.timestamp is None else int(message.timestamp * 1000)
            headers = list(message.headers)
            if batch.append(timestamp=timestamp, key=message.key, value=message.value, headers=headers) is None:
                break  # it is full
            count += 1
        if not count:
            break
        taken.append((ticket, count))
    return taken
