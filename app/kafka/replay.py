"""Sending letters again: CONTRACT 8. Each is confirmed by the broker before it is remembered as replayed.

A `bad-*` or `station-failed` letter goes back to its source topic, as a message that never opens a batch. The payload
of a batch that was discarded goes to the output topic, as the operator's.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from app.kafka.client import administering
from app.kafka.letters import LetterStore, open_letters
from app.kafka.producer import producing
from app.kafka.topics import CREATE_SECONDS, create_and_wait, topic_specs
from app.messages.dead_letters import Letter, Reason, place_of
from app.messages.message import Clock, OutMessage
from app.messages.output import RECORD_OVERHEAD, cut_results, number_in, output_headers
from app.messages.replays import Fate, Replay, ReplayLog
from app.observability.log_lines import printable
from app.settings import Settings
from app.words import both_of, words
from tables.model.enums import CompletedBy, Status

_TO_SOURCE = frozenset({Reason.BAD_MESSAGE, Reason.BAD_RECORD, Reason.STATION_FAILED})
_REPLAYED = words("it has been replayed", "已重发过")
_UNKNOWN = words("there is no such letter", "没有这封死信")


class CannotReplay(ValueError):  # noqa: N818 - says what is wrong
    """A letter that there is no way of sending again; the text says why."""


def unread_topics(settings: Settings, letters: Iterable[Letter]) -> list[str]:
    """Return the topics that letters would go back to and that nobody of this application reads, in order."""
    topics = {one.source.topic for one in letters if one.source is not None and one.reason in _TO_SOURCE}
    return sorted(topics.difference(settings.pipeline_topics))


@dataclass(frozen=True, slots=True)
class ReplayRules:
    """Make messages of letters. Pure.

    Attributes:
        settings: the topics, and whether outputs carry `meta`.
        max_bytes: a larger payload goes out in parts (`AGG_MAX_MESSAGE_BYTES`, or what the output topic takes).
        handler_failed: publish the default payload of batches whose result handler failed, too.
        operator: who sends the letters again, and when (Unix seconds), where that is to be told with them.
    """

    settings: Settings
    max_bytes: int
    handler_failed: bool
    operator: tuple[str, float] | None = None

    def messages(self, letter: Letter) -> list[OutMessage]:
        """Make what is to be sent for a letter: one message, or the parts of an output.

        Raises:
            CannotReplay: nothing can be sent for it.
        """
        match letter.reason:
            case reason if reason in _TO_SOURCE:
                return self._to_source(letter)
            case Reason.DISCARDED:
                return self._to_output(letter)
            case Reason.HANDLER_FAILED:
                return self._handled(letter)
            case Reason.TOO_LARGE:
                message = words("only its first {n} bytes have been kept", "只保留了其前 {n} 字节", n=letter.size)
            case _:
                message = words(
                    "nothing is known of letters with the reason {reason!r}",
                    "未知的死信原因 {reason!r}",
                    reason=letter.reason,
                )
        raise CannotReplay(message)

    def _to_source(self, letter: Letter) -> list[OutMessage]:
        """The letter as a source message: of its old batch, where that is known."""
        if letter.key is None and letter.value is None:
            message = words(
                "it has neither a key nor a value: there is nothing to send", "它没有键也没有值：没有可发送的内容"
            )
            raise CannotReplay(message)
        source = letter.source
        if source is None:
            message = words("it does not say which source message it is about", "其中没有说明对应哪条源消息")
            raise CannotReplay(message)
        headers = [("replayed", letter.place.encode()), *letter.trace]
        if letter.batch_id is not None:
            headers.insert(0, ("batch-id", letter.batch_id.encode()))
        if self.operator is not None:
            headers.append(("replayed-by", self.operator[0].encode()))
        # A message of an internal topic belongs to the partition that it was in.
        internal = source.topic in self.settings.event_topics
        partition = source.partition if internal else None
        return [OutMessage(source.topic, letter.value, key=letter.key, partition=partition, headers=headers)]

    def _to_output(self, letter: Letter) -> list[OutMessage]:
        """The payload of a batch that was not published."""
        try:
            outputs = self._outputs(json.loads(letter.value or b""))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError) as error:
            message = words(
                "its value is not the payload of a batch: {error!r}", "其值不是批次的输出：{error!r}", error=error
            )
            raise CannotReplay(message) from error
        return [replace(output, headers=[*output.headers, *letter.trace]) for output in outputs]

    def _handled(self, letter: Letter) -> list[OutMessage]:
        """The default payload, when that is asked for: consumers may expect what the handler makes."""
        if not self.handler_failed:
            message = words(
                "its payload is the default one, which --reason handler-failed publishes",
                "其内容是默认输出，可用 --reason handler-failed 发布",
            )
            raise CannotReplay(message)
        if letter.batch_id is None and letter.station_id is not None:  # a station that passed through
            return [OutMessage(self.settings.output_topic, letter.value, key=letter.key, headers=letter.trace)]
        return self._to_output(letter)

    def _outputs(self, payload: dict[str, Any]) -> list[OutMessage]:
        meta = payload["meta"]
        meta["status"] = Status.PARTIAL if meta["missing"] else Status.COMPLETE
        meta["completed_by"] = CompletedBy.OPERATOR
        if self.operator is not None:
            meta["operator"] = {"action": "replay", "by": self.operator[0], "at": self.operator[1]}
        whole = self._bytes(payload, meta)
        # A part of a larger payload was cut to the limit when it became a letter.
        if len(whole) <= self.max_bytes or meta["parts"] > 1:
            return [self._output(payload["batch_id"], meta, whole)]
        frame = len(self._bytes(payload | {"stations": []}, meta)) + 64  # the numbers of a part may be longer
        texts = cut_results([_json(result) for result in payload["stations"]], self.max_bytes - frame)
        outputs = []
        for number, part in enumerate(texts, 1):
            results = [json.loads(text) for text in part]
            numbered = meta | {"part": number, "parts": len(texts)}
            value = self._bytes(payload | {"stations": results, "station_count": len(results)}, numbered)
            outputs.append(self._output(payload["batch_id"], numbered, value))
        return outputs

    def _bytes(self, payload: Mapping[str, Any], meta: Mapping[str, Any]) -> bytes:
        without = {name: value for name, value in payload.items() if name != "meta"}
        return _json(without | ({"meta": meta} if self.settings.output_meta else {})).encode()

    def _output(self, batch_id: str, meta: Mapping[str, Any], value: bytes) -> OutMessage:
        revision, part, parts = (_number(meta[name]) for name in ("revision", "part", "parts"))
        headers = output_headers(CompletedBy.OPERATOR, revision, part, parts)
        return OutMessage(self.settings.output_topic, value, key=batch_id.encode(), headers=headers)


def _number(value: object) -> int:
    number = number_in(str(value).encode())
    if number is None:
        raise ValueError(value)
    return number


def _json(value: object) -> str:
    # Not orjson: a result may hold integers of any size.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass(slots=True)
class Replayer:
    """Sends letters again, and remembers it.

    Attributes:
        rules: make what is sent for a letter.
        counts: the partitions of every topic of the cluster.
        log: makes the record of what has been replayed.
        producer: None only says what would be sent.
        clock: Unix seconds.
        tell: gets what has come of each letter.
        sent: letters that were sent. The counts are right also when this is interrupted.
        skipped: letters that can't be sent, whatever is done.
        failed: letters that could not be sent now.
    """

    rules: ReplayRules
    counts: Mapping[str, int]
    log: ReplayLog
    producer: AIOKafkaProducer | None
    clock: Clock
    tell: Callable[[Replay], None]
    sent: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)

    async def replay(self, found: Sequence[Letter], letters: Sequence[Letter]) -> None:
        """Send letters in their order, and remember those that the broker has confirmed.

        Args:
            found: the letters as they were found; those that are not among `letters` are gone by now.
            letters: the same in full.

        Raises:
            KafkaError: what has been sent could not be remembered.
        """
        places = {letter.place for letter in letters}
        for letter in found:
            if letter.place not in places:
                self._fail(letter, words("it is gone", "它已不存在"))
        sendings = [(letter, await self._send(letter)) for letter in letters]
        confirmed = [letter for letter, sending in sendings if sending and await self._is_confirmed(letter, sending)]
        now = self.clock()
        await self.remember([self.log.record(letter, now) for letter in confirmed])

    async def remember(self, records: Sequence[OutMessage]) -> None:
        """Write records and tombstones to the topic of what has been replayed.

        Raises:
            KafkaError: one could not be written.
        """
        if self.producer is not None:
            appended = [_confirmed(record.topic, await _append(self.producer, record)) for record in records]
            await asyncio.gather(*appended)

    async def _send(self, letter: Letter) -> list[Awaitable[Any]]:
        """Append what is sent for a letter; empty when nothing is."""
        try:
            messages = self.rules.messages(letter)
        except CannotReplay as error:
            self.skipped += 1
            self._tell(letter, Fate.IMPOSSIBLE, why=both_of(error))
            return []
        topic, partition = messages[0].topic, messages[0].partition
        if topic not in self.counts:
            self._fail(letter, words("there is no topic {topic}", "没有主题 {topic}", topic=topic))
            return []
        if partition is not None and partition >= self.counts[topic]:
            gone = words(
                "there is no partition {partition} of {topic}: it has {count} now",
                "{topic} 没有分区 {partition}：现有 {count} 个",
                partition=partition,
                topic=topic,
                count=self.counts[topic],
            )
            self._fail(letter, gone)
            return []
        if self.producer is None:
            self.sent += 1
            self._tell(letter, Fate.WOULD_SEND, topic)
            return []
        appended: list[Awaitable[Any]] = []
        try:
            for message in messages:
                appended.append(await _append(self.producer, message))  # noqa: PERF401 - keeps what was, if one fails
        except KafkaError as error:
            await asyncio.gather(*appended, return_exceptions=True)
            self._fail(letter, _naming(topic, error))
            return []
        return [_confirmed(topic, sending) for sending in appended]

    async def _is_confirmed(self, letter: Letter, sending: Sequence[Awaitable[Any]]) -> bool:
        places = []
        for result in await asyncio.gather(*sending, return_exceptions=True):
            if isinstance(result, BaseException):
                self._fail(letter, result)
                return False
            places.append(f"{result.topic}[{result.partition}]@{result.offset}")
        self.sent += 1
        self._tell(letter, Fate.SENT, ", ".join(places))
        return True

    def _fail(self, letter: Letter, error: object) -> None:
        self.failed += 1
        self._tell(letter, Fate.FAILED, why=both_of(error) or repr(error))

    def _tell(self, letter: Letter, fate: Fate, to: str | None = None, why: str = "") -> None:
        self.tell(Replay(letter.place, fate, to, why, name_of(letter)))


def replayer_of(
    rules: ReplayRules, store: LetterStore, producer: AIOKafkaProducer | None, tell: Callable[[Replay], None]
) -> Replayer:
    """Return what sends letters of a store again; without a producer it only tells what it would do."""
    limit = rules.max_bytes if store.largest is None else min(rules.max_bytes, store.largest - RECORD_OVERHEAD)
    return Replayer(replace(rules, max_bytes=limit), store.counts, store.log, producer, time.time, tell)


async def replay_letters(
    settings: Settings, places: Sequence[tuple[int, int]], *, operator: str, dry_run: bool, again: bool
) -> list[Replay]:
    """Send letters again, and return what has come of each, in the order of their places (partition and offset).

    A letter is sent as soon as it has been read, so that few are held at once. One whose result handler failed is
    published with the default payload: who names it has seen its reason.

    Args:
        settings: whose letters.
        places: of the letters; each once.
        operator: who wants it.
        dry_run: only return what would be done.
        again: send also what has been replayed.

    Raises:
        KafkaError: there is no broker, or it refuses us, or what was sent could not be remembered.
        TopicError: there is no dead-letter topic.
    """
    told: dict[str, Replay] = {}
    async with open_letters(settings) as store, AsyncExitStack() as stack:
        producer = None
        if not dry_run:
            producer = await stack.enter_async_context(open_replay_producer(settings, store.counts))
        rules = ReplayRules(settings, settings.max_message_bytes, handler_failed=True, operator=(operator, time.time()))
        replayer = replayer_of(rules, store, producer, lambda one: told.update({one.place: one}))
        async for letter in store.stream(places):
            if again or store.log.replayed_at(letter) is None:
                await replayer.replay([letter], [letter])
            else:
                told[letter.place] = Replay(letter.place, Fate.SENT_BEFORE, why=_REPLAYED)
        await replayer.remember(store.log.tombstones(store.first_offsets))
    unknown = (Replay(place_of(*place), Fate.UNKNOWN, why=_UNKNOWN) for place in places)
    return [told.get(one.place, one) for one in unknown]


@asynccontextmanager
async def open_replay_producer(settings: Settings, counts: Mapping[str, int]) -> AsyncIterator[AIOKafkaProducer]:
    """A producer for letters and for the replay log, whose topic is created if a worker has not done so.

    Raises:
        KafkaError: there is no broker, or it refuses us.
        TopicError: the log's topic can't be created.
    """
    if settings.replayed_topic not in counts:
        (spec,) = (spec for spec in topic_specs(settings) if spec.name == settings.replayed_topic)
        async with administering(settings) as admin:
            await create_and_wait(admin, [spec], patience=CREATE_SECONDS)
    async with producing(settings) as producer:
        yield producer


def name_of(letter: Letter) -> str:
    """The letter in a line that tells of it."""
    known = {"station": letter.station_id, "batch": letter.batch_id}
    about = "".join(f", {what} {printable(name, len(name))}" for what, name in known.items() if name)
    return f"{letter.place} {letter.reason or 'without a reason'}{about}"


async def _append(producer: AIOKafkaProducer, message: OutMessage) -> Awaitable[Any]:
    future: Awaitable[Any] = await producer.send(
        message.topic,
        message.value,
        key=message.key,
        partition=message.partition,
        headers=list(message.headers),
    )
    return future


async def _confirmed(topic: str, sending: Awaitable[Any]) -> Any:
    try:
        return await sending
    except KafkaError as error:
        raise _naming(topic, error) from error


def _naming(topic: str, error: KafkaError) -> KafkaError:
    """Return the error with the topic in it where it says nothing but its name."""
    return error if error.args else type(error)(f"topic {topic}")
