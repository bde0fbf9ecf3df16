"""The context of stations: the newest records that context topics have told of them, kept in the table `context`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from app.inputs.alignment import Alignment, AlignmentError, Columns, align
from app.inputs.grouping import CONTEXT_ID_KEYS
from app.messages.dead_letters import Reason
from app.messages.message import OutMessage, Sender
from app.messages.partitioner import Partitioner
from app.pipeline.aggregation.aggregator import StateStore
from app.pipeline.dead_letters import DeadLetters
from app.pipeline.sending import ConfirmingSender
from tables.context import EVERYONE, ContextEvent, ContextUpdate, apply, context_key, decode_entry
from tables.model.events import Source
from tables.storage.records import Table

__all__ = ["CONTEXT_BYTES", "StationContext", "too_large"]

CONTEXT_BYTES = 8 * 1024 * 1024  # of what is kept of one station on one topic


class StationContext:
    """Keeps the context of the stations of the partitions that this worker owns, and makes columns of it.

    `on_error` gets what must stop the worker: a change that could not be stored.
    """

    def __init__(
        self,
        topics: Sequence[str],
        *,
        store: StateStore,
        alignment: Alignment,
        partitioner: Partitioner,
        sender: Sender,
        dead_letters: DeadLetters,
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._topics = topics
        self._store = store
        # An entry is one point in time: a window would only put nothing before it.
        self._alignment = replace(alignment, window_step=None, window_size=None)
        self._partition_of = partitioner
        self._sender = sender
        self._dead_letters = dead_letters
        self._changes = ConfirmingSender(store.save, on_error)

    async def apply(self, partition: int, events: Sequence[ContextEvent], stored: Callable[[], None]) -> None:
        """Take in what a frame tells: at once in memory; `stored` is called when that is durable."""
        changes: list[OutMessage] = []
        letters: list[OutMessage] = []
        records = self._store.records(partition)
        for event in events:
            writes = apply(event, lambda key: records.get(Table.CONTEXT, key))
            too_much = next((write.value for write in writes if len(write.value or b"") > CONTEXT_BYTES), None)
            if too_much is not None and isinstance(event, ContextUpdate):
                letters.append(too_large(self._dead_letters, event, too_much))
            else:
                changes += self._store.apply(partition, writes)
        if letters:
            await self._sender.send(letters)
        self._changes.add(changes, stored)

    def columns(self, station_id: str) -> dict[str, Columns]:
        """The entries of `module_input`: one for each context topic, empty where nothing is known.

        What is known of the station itself is taken; only where there is nothing, what everyone has.

        Raises:
            AlignmentError: a record can't be aligned; the text names its topic.
        """
        if not self._topics:
            return {}
        records = self._store.records(self._partition_of(station_id))
        found: dict[str, Columns] = {}
        for topic in self._topics:
            found[topic] = {}
            for of in (station_id, EVERYONE):
                key = context_key(topic, of)
                value = records.get(Table.CONTEXT, key)
                if value is not None:
                    found[topic] = self._align(topic, key, value)
                    break
        return found

    def _align(self, topic: str, key: bytes, value: bytes) -> Columns:
        try:
            return align(decode_entry(key, value).records, self._alignment, id_keys=CONTEXT_ID_KEYS)
        except AlignmentError as error:
            message = f"context topic {topic}: {error}"
            raise AlignmentError(message) from error

    async def cancel(self) -> None:
        """Drop what has not been stored: the partitions are being taken away."""
        await self._changes.cancel()


def too_large(dead_letters: DeadLetters, update: ContextUpdate, value: bytes) -> OutMessage:
    """The letter for what is not kept; `value` is what it would be."""
    place = update.place
    of = f"station {update.station_id}" if update.station_id else "everyone"
    error = (
        f"ValueError: the context of {of} on {update.topic} would have {len(value)} bytes of JSON, more than the "
        f"{CONTEXT_BYTES} that are kept"
    )
    return dead_letters.letter(
        Reason.TOO_LARGE,
        error,
        value=value,
        key=update.key,
        failed_at=place.timestamp,
        source=Source(update.topic, place.partition, place.offset),
        station_id=update.station_id or None,
    )
