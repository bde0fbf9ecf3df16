"""Sending source messages from a file, one a line, each confirmed by the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from app.inputs.grouping import CONTEXT_ID_KEYS, STATION_ID_KEYS, BadMessage
from app.inputs.source_message import parse_context, parse_message
from app.kafka.client import administering, client_options
from app.kafka.topics import INTERNAL_MESSAGE_BYTES, message_bytes
from app.settings import Settings

__all__ = ["LineSender", "NoTopic", "Sent", "create_topics"]

CHUNK_LINES = 100
CHUNK_BYTES = 8 * 1024 * 1024


class NoTopic(RuntimeError):  # noqa: N818 - says what is wrong
    """The topic does not exist."""


@dataclass(slots=True)
class Sent:
    """How many messages the broker has confirmed, and how many lines could not be sent."""

    confirmed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class LineSender:
    """Sends lines to a topic.

    Attributes:
        topic: where to.
        key: of each message.
        headers: of each message.
        unchecked: send lines that are no source message, too.
        report: gets a line of text for each line that was not sent.
    """

    settings: Settings
    topic: str
    key: bytes | None
    headers: Sequence[tuple[str, bytes]]
    unchecked: bool
    report: Callable[[str], None]

    def send(self, lines: Iterable[bytes], sent: Sent, *, at_once: bool, create: bool) -> None:
        """Send each line that is not blank, and count in `sent` what the broker has confirmed.

        Lines are read outside the event loop: Ctrl-C ends also a wait for the next one.

        Args:
            lines: may end with a line break, which is not sent.
            sent: is counted up, so that it is right also if this is interrupted.
            at_once: send each line when it is read, rather than many together.
            create: create the topic if it is missing.

        Raises:
            NoTopic: it is missing.
            KafkaError: there is no broker, or it refuses us.
        """
        with asyncio.Runner() as runner:
            runner.run(self._ensure_topic(create=create))
            producer = runner.run(self._start())
            try:
                for chunk in self._chunks(lines, sent, limit=1 if at_once else CHUNK_LINES):
                    runner.run(self._send(producer, chunk, sent))
            finally:
                runner.run(producer.stop())

    def _chunks(self, lines: Iterable[bytes], sent: Sent, *, limit: int) -> Iterator[list[tuple[int, bytes]]]:
        chunk: list[tuple[int, bytes]] = []
        size = 0
        for number, line in enumerate(lines, 1):
            value = line.rstrip(b"\r\n")
            if not value.strip() or not self._is_good(number, value, sent):
                continue
            chunk.append((number, value))
            size += len(value)
            if len(chunk) >= limit or size >= CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    def _is_good(self, number: int, value: bytes, sent: Sent) -> bool:
        if self.unchecked:
            return True
        settings, topic = self.settings, self.topic
        keys, timezone = settings.envelope_keys, settings.timezone
        id_keys = CONTEXT_ID_KEYS if topic in settings.passthrough_topics else STATION_ID_KEYS
        try:
            if topic in settings.context_topics:
                parse_context(value, topic=topic, envelope_keys=keys, timezone=timezone)
            else:
                parse_message(value, topic=topic, envelope_keys=keys, timezone=timezone, id_keys=id_keys)
        except BadMessage as error:
            self._fail(number, error, sent)
            return False
        return True

    async def _start(self) -> AIOKafkaProducer:
        largest = message_bytes(self.settings)
        producer = AIOKafkaProducer(**client_options(self.settings), acks="all", max_request_size=largest)
        await producer.start()
        return producer

    async def _send(self, producer: AIOKafkaProducer, chunk: list[tuple[int, bytes]], sent: Sent) -> None:
        results = []
        for number, value in chunk:
            try:
                results.append(
                    (number, await producer.send(self.topic, value, key=self.key, headers=list(self.headers)))
                )
            except KafkaError as error:
                self._fail(number, error, sent)
        for number, result in results:
            try:
                await result
            except KafkaError as error:
                self._fail(number, error, sent)
            else:
                sent.confirmed += 1

    def _fail(self, number: int, error: Exception, sent: Sent) -> None:
        sent.failed += 1
        self.report(f"line {number}: not sent: {error}")

    async def _ensure_topic(self, *, create: bool) -> None:
        async with administering(self.settings) as admin:
            if self.topic in await admin.list_topics():
                return
            if not create:
                message = f"there is no topic {self.topic}; --create creates it, --topic names another"
                raise NoTopic(message)
            await create_topics(admin, self.settings, [self.topic])


async def create_topics(admin: AIOKafkaAdminClient, settings: Settings, names: Sequence[str]) -> None:
    """Create source topics, with as many partitions as ours have.

    Raises:
        KafkaError: one can't be created, for another reason than being there by now.
    """
    largest = {"max.message.bytes": str(INTERNAL_MESSAGE_BYTES)}
    response = await admin.create_topics(
        [NewTopic(name, settings.partitions, settings.replication_factor, topic_configs=largest) for name in names]
    )
    for name, code, *message in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise error(name, *filter(None, message))
