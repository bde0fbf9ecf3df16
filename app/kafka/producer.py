"""Confirmed sends, a record batch at a time.

The producer's own way, a message at a time with a future for each, costs several times as much. Here every partition
has a lane: what waits in it goes out as one record batch, and while that is under way the next one gathers. There is
one batch under way in a partition, so order is kept.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import cast

from aiokafka import AIOKafkaProducer
from aiokafka.errors import BrokerResponseError, OutOfOrderSequenceNumber, UnknownError
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.exceptions import NotReady

from app.kafka.client import client_options
from app.kafka.producer_topics import ProducerTopics
from app.kafka.topics import message_bytes
from app.messages.message import OutMessage, PlaceGoneError, SendError
from app.messages.partitioner import partition_of
from app.settings import Settings

BATCH_BYTES = 1024 * 1024  # of records that travel together

# Batches for one broker travel in one request, and brokers refuse requests of 100 MiB and more.
MAX_BYTES_IN_FLIGHT = 48 * 1024 * 1024

STOP_SECONDS = 2.0  # for a producer of one task; it may have nobody left to talk to

LOOK_SECONDS = 1.0  # between two looks whether the partitions are still there that messages are on their way to


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


class _GivenUpError(Exception):
    """Of what is in a batch something is not to be sent any more, and nothing has been."""


class KafkaSender:
    """Sends through the worker's producer."""

    def __init__(
        self,
        settings: Settings,
        producer: Callable[[], AIOKafkaProducer],
        fence: Callable[[], Awaitable[None]],
        *,
        on_sent: Callable[[str, int, int], None],
        one_by_one: Collection[str],
    ) -> None:
        """A sender with nothing to send.

        Args:
            settings: the topics of the application, and how long the broker may take to confirm.
            producer: gives the worker's producer.
            fence: is awaited before messages are taken: it holds back a worker that may be a zombie.
            on_sent: gets the topic of each batch of messages that is out, how many they are, and its bytes.
            one_by_one: topics of which no two messages travel together: their limit is too low for a batch.
        """
        self._producer = producer
        self._fence = fence
        self._patience = settings.broker_patience
        self._topics = ProducerTopics(settings, producer)
        self._on_sent = on_sent
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._one_by_one = one_by_one
        self._refused: dict[tuple[str, int], int] = {}  # the number of what was refused, with nothing taken after it
        self._look_at: asyncio.TimerHandle | None = None
        self._looked_after: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()

    async def send(self, messages: Sequence[OutMessage]) -> list[int]:
        """Append in order (for each partition), wait until every message is confirmed; returns their offsets.

        Raises:
            PlaceGoneError: a message's partition is not there, while its topic is, or a topic that is not ours is not.
            SendError: names topic, partition and key of a message that was not taken.
        """
        if not messages:
            return []
        await self._fence()
        groups = await self._by_partition(messages)
        tickets = [
            self._enqueue((topic, partition), [messages[index] for index in indices])
            for (topic, partition, _), indices in groups.items()
        ]
        # Whatever happens, nothing of ours may still be on its way when the caller goes on: so all are waited for.
        results = await _results_of(tickets)
        refused = [one for one in results if isinstance(one, SendError) and not isinstance(one, PlaceGoneError)]
        if refused:
            raise refused[0]
        offsets = [0] * len(messages)
        gone: list[PlaceGoneError] = []
        again: list[int] = []
        for ((_, _, is_bound), indices), result in zip(groups.items(), results, strict=True):
            if isinstance(result, list):
                _put(offsets, indices, result)
            elif isinstance(result, PlaceGoneError) and is_bound:
                gone.append(result)
            else:
                again += indices  # that partition was our choice
        if again:
            _put(offsets, again, await self.send([messages[index] for index in again]))
        if gone:
            raise _all_of(gone)
        return offsets

    async def _by_partition(self, messages: Sequence[OutMessage]) -> dict[tuple[str, int, bool], list[int]]:
        """Return the indices of messages, in order, by topic, partition, and whether the message is bound to that."""
        groups: dict[tuple[str, int, bool], list[int]] = {}
        for index, message in enumerate(messages):
            partition = message.partition
            is_bound = partition is not None
            if partition is None:
                partition = await self._partition_of(message)
            groups.setdefault((message.topic, partition, is_bound), []).append(index)
        return groups

    async def _partition_of(self, message: OutMessage) -> int:
        try:
            async with asyncio.timeout(self._patience or None):
                partitions = await self._topics.choose_from(message.topic)
        except TimeoutError as error:
            raise self._failure(message, error) from error
        if message.key is None:
            return random.choice(partitions)  # noqa: S311 - spreads messages, guards nothing
        return partition_of(message.key, len(partitions))

    def _enqueue(self, tp: tuple[str, int], messages: list[OutMessage]) -> _Ticket:
        loop = asyncio.get_running_loop()
        lane = self._lanes.setdefault(tp, _Lane())
        ticket = _Ticket(messages, loop.create_future())
        lane.tickets.append(ticket)
        if lane.pump is None:
            lane.pump = loop.create_task(self._pump(tp, lane))
            if self._look_at is None:
                self._look_at = loop.call_later(LOOK_SECONDS, self._look)
        return ticket

    def _look(self) -> None:
        """Look after messages that are on their way to a partition that is not there any more."""
        self._look_at = None
        busy = [tp for tp, lane in self._lanes.items() if lane.pump is not None]
        with suppress(NotReady):  # the worker stops, and its producer has
            for tp in busy:
                if not self._topics.has(*tp) and tp not in self._looked_after:
                    self._looked_after[tp] = asyncio.get_running_loop().create_task(self._look_after(tp))
        if busy:
            self._look_at = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    async def _look_after(self, tp: tuple[str, int]) -> None:
        """Have messages wait until the partition is back, or fail when that is not to be expected."""
        try:
            # They go out by themselves then. Sent again, they might be there twice.
            await self._topics.ensure(*tp)
        except SendError as error:
            await self._topics.withdraw(*tp, error)
        except NotReady:  # the worker stops, and its producer has
            return
        finally:
            del self._looked_after[tp]

    async def _pump(self, tp: tuple[str, int], lane: _Lane) -> None:
        """Send what waits in a lane until nothing does."""
        try:
            while lane.tickets:
                if lane.tickets[0].confirmed.cancelled():
                    lane.tickets.popleft()
                    continue
                await self._send_batch(tp, lane)
        except NotReady:  # the worker stops, and its producer has: who waits goes with it
            return
        finally:
            lane.pump = None

    async def _send_batch(self, tp: tuple[str, int], lane: _Lane) -> None:
        await self._room.wait()
        batch = self._producer().create_batch()
        try:
            taken = _fill(batch, lane, most=1 if tp[0] in self._one_by_one else None)
        except (TypeError, ValueError) as error:
            self._refuse(tp, lane, [(_first(lane), 0)], error)
            return
        size = batch.size()
        self._count(size)
        number = self._numbers[tp]
        try:
            base = await self._submit(batch, tp, taken)
        except _GivenUpError:
            return
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            if self._numbers_again(tp, number, error):
                return
            if not self._topics.has(*tp):
                await self._topics.withdraw(*tp, error)
            self._refuse(tp, lane, taken, error)
        else:
            self._refused.pop(tp, None)
            self._on_sent(tp[0], sum(count for _, count in taken), size)
            self._settle(lane, taken, base)
        finally:
            self._count(-size)

    @property
    def _numbers(self) -> dict[tuple[str, int], int]:
        """The idempotent producer's number for each partition's next message, by which the broker knows repeats."""
        return cast("dict[tuple[str, int], int]", self._producer()._txn_manager._sequence_numbers)

    def _numbers_again(self, tp: tuple[str, int], number: int, error: Exception) -> bool:
        """Say whether the messages of a batch that was not taken are to be sent once more, under other numbers.

        What the broker refuses (too large, without a key for a compacted topic) has got numbers all the same, and
        aiokafka goes on behind them: a hole, for which the broker refuses all that comes. Whether it is one is certain
        only when the broker says so; had the first been appended, their numbers given to others would lose those.

        Args:
            tp: the partition.
            number: that of the first message.
            error: why it was not taken.
        """
        if not isinstance(error, OutOfOrderSequenceNumber):
            if isinstance(error, BrokerResponseError):
                self._refused.setdefault(tp, number)
            return False
        first = self._refused.pop(tp, None)
        if first is None:
            return False
        self._numbers[tp] = first
        return True

    def _refuse(self, tp: tuple[str, int], lane: _Lane, taken: list[tuple[_Ticket, int]], error: Exception) -> None:
        for ticket, _ in taken:
            lane.tickets.remove(ticket)
            if not ticket.confirmed.done():
                ticket.confirmed.set_exception(self._failure(ticket.messages[len(ticket.offsets)], error, tp[1]))

    async def _submit(self, batch: BatchBuilder, tp: tuple[str, int], taken: Sequence[tuple[_Ticket, int]]) -> int:
        topic, partition = tp
        batch.close()
        async with asyncio.timeout(self._patience or None):
            # An idempotent producer tries for ever, so it is here that patience ends.
            await self._topics.ensure(topic, partition)
            if any(ticket.confirmed.cancelled() for ticket, _ in taken):
                raise _GivenUpError
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

    def _failure(self, message: OutMessage, error: BaseException, partition: int | None = None) -> SendError:
        if isinstance(error, PlaceGoneError):
            return type(error)(str(error), error.topic, error.partitions)
        if isinstance(error, SendError):
            return SendError(str(error))
        place = message.topic if partition is None else f"{message.topic}[{partition}]"
        reason = self._topics.problem(message.topic, partition) or repr(error)
        if message.key is None and isinstance(error, UnknownError):
            reason += ": a compacted topic takes no message without a key"
        return SendError(
            f"{place}: a message of {len(message.value or b'')} bytes with key {message.key!r} was "
            f"not taken by the broker ({reason}; AGG_BROKER_PATIENCE is {self._patience:g} s)"
        )


def _put(offsets: list[int], indices: Sequence[int], confirmed: Sequence[int]) -> None:
    for index, offset in zip(indices, confirmed, strict=True):
        offsets[index] = offset


def _all_of(gone: Sequence[PlaceGoneError]) -> PlaceGoneError:
    """Return the first error, which then knows of all places."""
    for error in gone[1:]:
        gone[0].counts.update(error.counts)
    return gone[0]


async def _results_of(tickets: Sequence[_Ticket]) -> list[list[int] | SendError]:
    """Wait for all; who is cancelled takes back what has not been handed over: another may own it from now on."""
    try:
        if len(tickets) > 1:
            await asyncio.wait([ticket.confirmed for ticket in tickets])
        return [await _result_of(ticket) for ticket in tickets]
    except asyncio.CancelledError:
        for ticket in tickets:
            ticket.confirmed.cancel()
        raise


async def _result_of(ticket: _Ticket) -> list[int] | SendError:
    try:
        return await ticket.confirmed
    except SendError as error:
        return error


def _first(lane: _Lane) -> _Ticket:
    return next(ticket for ticket in lane.tickets if not ticket.confirmed.cancelled())


def _fill(batch: BatchBuilder, lane: _Lane, *, most: int | None) -> list[tuple[_Ticket, int]]:
    """Put what waits into a batch, `most` messages at most; returns how many of each ticket's are in it.

    Raises:
        TypeError: the first message is none that Kafka can take.
        ValueError: the same.
    """
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
            try:
                if batch.append(timestamp=timestamp, key=message.key, value=message.value, headers=headers) is None:
                    break  # it is full
            except (TypeError, ValueError):
                if not batch.record_count():
                    raise
                break  # it is the first of the next batch
            count += 1
        if not count:
            break
        taken.append((ticket, count))
    return taken


@asynccontextmanager
async def producing(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """A producer for one task, whose messages count as sent when all replicas have them; stopped whatever happens.

    Raises:
        KafkaError: there is no broker, or it refuses us.
    """
    producer = AIOKafkaProducer(**client_options(settings), acks="all", max_request_size=message_bytes(settings))
    try:
        await producer.start()
        yield producer
    finally:
        # It would wait for a broker that has gone away; that must not hide what has happened.
        await asyncio.wait([asyncio.create_task(producer.stop())], timeout=STOP_SECONDS)
