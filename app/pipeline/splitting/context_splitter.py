"""The splitter of context messages: their records go to the station agents, which keep the newest of each station.

It reads on its own, beside the splitter of source messages: context never waits for batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from app.inputs.grouping import BadMessage
from app.inputs.source_message import parse_context
from app.messages.frames import StationPacker, encode_context, encode_context_head, encode_tombstone, encode_update
from app.messages.message import Delivery, InMessage, OutMessage, Sender
from app.messages.partitioner import Partitioner
from app.observability.batch_log import BatchLog
from app.observability.counters import Metrics
from app.pipeline.dead_letters import DeadLetters
from app.pipeline.stations.context import CONTEXT_BYTES, too_large
from tables.context import EVERYONE, ContextUpdate, Place
from tables.model.events import Source

__all__ = ["ContextSplitter", "ContextSplitterConfig"]

NO_KEY = ", and no key that says what it deletes"


@dataclass(frozen=True, slots=True)
class ContextSplitterConfig:
    """What the splitter goes by."""

    station_events_topic: str
    envelope_keys: tuple[str, ...]
    timezone: ZoneInfo


class ContextSplitter:
    """Splits context messages."""

    def __init__(
        self,
        config: ContextSplitterConfig,
        *,
        sender: Sender,
        dead_letters: DeadLetters,
        partitioner: Partitioner,
        log: BatchLog,
        metrics: Metrics,
    ) -> None:
        self._config = config
        self._sender = sender
        self._dead_letters = dead_letters
        self._partition_of = partitioner
        self._log = log
        self._metrics = metrics

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Split messages in their order, and acknowledge them when all that was made of them is stored."""
        letters: list[OutMessage] = []
        packer = StationPacker(self._config.station_events_topic, encode_context)
        for delivery in deliveries:
            message = delivery.message
            if message.value is None and message.key is not None:
                self._delete(message, message.key, packer)
            else:
                self._split(message, packer, letters)
        await self._sender.send([*letters, *packer.take()])
        self._metrics.context_messages += len(deliveries)
        for delivery in deliveries:
            delivery.ack()

    def _delete(self, message: InMessage, key: bytes, packer: StationPacker) -> None:
        """Tell every partition: what is everyone's may have come with this key."""
        head = encode_context_head(message.topic, _place(message), key)
        try:
            station_id = key.decode()
        except UnicodeDecodeError:  # no station's id, though it may be the key of what is everyone's
            station_id = ""
        own = self._partition_of(station_id) if station_id else None
        for partition in range(self._partition_of.partitions):
            packer.add(partition, head, encode_tombstone(station_id if partition == own else None))

    def _split(self, message: InMessage, packer: StationPacker, letters: list[OutMessage]) -> None:
        config = self._config
        try:
            read = parse_context(
                message.value, topic=message.topic, envelope_keys=config.envelope_keys, timezone=config.timezone
            )
        except BadMessage as error:
            hint = NO_KEY if message.value is None else ""
            letters.append(self._dead_letters.of_message(message, f"{error}{hint}"))
            return
        letters.extend(self._dead_letters.of_record(message, reject) for reject in read.rejects)
        if not read.stations and not read.rejects:
            self._metrics.empty_messages += 1
            self._log.empty_message(Source(message.topic, message.partition, message.offset))
        place = _place(message)
        head = encode_context_head(message.topic, place, message.key)
        for station_id, newest in read.stations.items():
            update = ContextUpdate(message.topic, place, message.key, station_id, newest.time, newest.records)
            encoded = encode_update(update)
            if len(encoded) > CONTEXT_BYTES:
                letters.append(too_large(self._dead_letters, update, encoded))
                continue
            for partition in self._partitions(station_id):
                packer.add(partition, head, encoded)

    def _partitions(self, station_id: str) -> Sequence[int]:
        if station_id == EVERYONE:
            return range(self._partition_of.partitions)
        return (self._partition_of(station_id),)


def _place(message: InMessage) -> Place:
    return Place(message.partition, message.offset, message.timestamp)
