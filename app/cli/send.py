"""The command `faust -A app send`: source messages from a file, one a line, each confirmed by the broker."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from faust.cli.base import argument

from app.cli.base import (
    FAILED,
    CommandError,
    ParsedOption,
    PlainCommand,
    command,
    complain,
    exit_code_of,
    not_read,
    option,
    say,
)
from app.cli.lines import Line, one_a_line, read_lines
from app.inputs.grouping import CONTEXT_ID_KEYS, STATION_ID_KEYS, BadMessage
from app.inputs.source_message import parse_context, parse_message
from app.kafka.client import administering
from app.kafka.permissions import AUTHORIZATION_ERRORS, hidden_hint
from app.kafka.producer import producing
from app.kafka.topics import CREATE_SECONDS, create_and_wait, message_bytes, partition_counts, source_spec
from app.observability.log_lines import printable
from app.settings import Settings
from app.settings.enums import Language
from app.settings.types import topic_name
from app.words import Words, told, words

if TYPE_CHECKING:
    from app.worker.app import AggregatorApp

CHUNK_LINES = 100
BAD_IN_A_ROW = 10  # lines that are no message, after which the file is not what it was taken for
CHUNK_BYTES = 8 * 1024 * 1024
ERROR_SHOWN = 500


def register_send(app: AggregatorApp) -> None:
    """Make `send` a command of `faust -A app`, in place of Faust's own."""
    settings = app.settings

    @command(
        app,
        *_options(settings),
        zh="""发送源消息，FILE 每行一条。

        FILE 为 - 时读标准输入。一行是一条 JSON 源消息：含记录列表的对象、这样的列表，或一条记录。空行跳过。
        不符合的行不发送但会指出，其余继续；连续十行不符合，或一个 JSON 文档跨多行时停止。

        源消息可带的消息头：batch-timeout（秒）和 batch-id。

        退出码：每条消息都得到 Kafka 确认为 0，否则为 1。
        """,
    )
    def send(
        self: PlainCommand,  # noqa: ARG001
        *,
        file: BinaryIO,
        topic: str,
        key: str | None,
        headers: tuple[tuple[str, bytes], ...],
        create: bool,
        unchecked: bool,
    ) -> int:
        """Send source messages, one a line of FILE.

        FILE - is standard input. A line is a source message in JSON: an object with a list of records, such a list,
        or one record. Blank lines are skipped. A line that is none of these is not sent, but named, and the rest goes
        on; after ten of them in a row, or where one JSON document goes over several lines, sending stops.

        Headers that a source message may have: batch-timeout (seconds) and batch-id.

        The exit code is 0 when the broker has confirmed every message, else 1.
        """
        sender = LineSender(settings, topic, None if key is None else key.encode(), headers, unchecked)

        def work() -> int:
            lines = read_lines(file, message_bytes(settings))
            sender.send(lines, at_once=file is sys.stdin.buffer, create=create)
            return FAILED if sender.failed else 0

        # In a frame of its own: the counts are said whatever has ended it.
        code = exit_code_of(settings, work)
        say(words("{n:message} sent to {topic}", "已向 {topic} 发送 {n} 条消息", n=sender.confirmed, topic=topic))
        if topic not in {*settings.pipeline_topics, *app.users_topics()}:
            complain(not_read(topic))
        if sender.failed:
            complain(words("{n:line} not sent", "{n} 行未发送", n=sender.failed))
        return code


def _options(settings: Settings) -> tuple[Any, ...]:
    """Make the arguments and options of the command."""
    return (
        argument("file", type=click.File("rb")),
        option(
            settings,
            "--topic",
            type=ParsedOption(topic_name),
            default=settings.source_topics[0],
            help=words("Where to.", "目标主题。"),
        ),
        option(settings, "--key", help=words("Key of each message.", "每条消息的键。"), default=None),
        option(
            settings,
            "--header",
            "headers",
            multiple=True,
            metavar="NAME=VALUE",
            type=ParsedOption(_parse_header),
            help=words("Header; may be repeated.", "消息头；可重复。"),
        ),
        option(
            settings,
            "--create",
            is_flag=True,
            help=words(
                "Create the topic if it is missing, with AGG_PARTITIONS partitions.",
                "主题不存在时创建，分区数为 AGG_PARTITIONS。",
            ),
        ),
        option(
            settings,
            "--unchecked",
            is_flag=True,
            help=words("Send also lines that are no source message.", "不是源消息的行也发送。"),
        ),
    )


def _parse_header(text: str) -> tuple[str, bytes]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        message = words("{text!r} is not of the form NAME=VALUE", "{text!r} 不是 NAME=VALUE 的形式", text=text)
        raise ValueError(message)
    return name, value.encode()


@dataclass(slots=True)
class LineSender:
    """Sends lines to a topic; says on standard error which were not sent.

    Attributes:
        topic: where to.
        key: of each message.
        headers: of each message.
        unchecked: send lines that are no source message, too.
        confirmed: messages that the broker has confirmed.
        failed: lines that could not be sent.
    """

    settings: Settings
    topic: str
    key: bytes | None
    headers: Sequence[tuple[str, bytes]]
    unchecked: bool
    confirmed: int = 0
    failed: int = 0

    def send(self, lines: Iterator[Line], *, at_once: bool, create: bool) -> None:
        """Send each line, and count it.

        Lines are read outside the event loop: Ctrl-C ends also a wait for the next one.

        Args:
            lines: as `read_lines` yields them.
            at_once: send each line when it is read, rather than many together.
            create: create the topic if it is missing.

        Raises:
            CommandError: the topic is missing, or the lines are no messages; those before have been sent.
            TopicError: it can't be created.
            KafkaError: there is no broker, or it refuses us.
        """
        with asyncio.Runner() as runner:
            runner.run(self._ensure_topic(create=create))
            stack = AsyncExitStack()
            producer = runner.run(stack.enter_async_context(producing(self.settings)))
            try:
                for chunk in self._chunks(lines, limit=1 if at_once else CHUNK_LINES):
                    runner.run(self._send(producer, chunk))
            finally:
                runner.run(stack.aclose())

    def _chunks(self, lines: Iterator[Line], *, limit: int) -> Iterator[list[Line]]:
        """Yield the lines that are messages; raises CommandError when there is no use in going on."""
        chunk: list[Line] = []
        size = 0
        try:
            for number, value in self._good(lines):
                chunk.append((number, value))
                size += len(value)
                if len(chunk) >= limit or size >= CHUNK_BYTES:
                    yield chunk
                    chunk, size = [], 0
        except CommandError:
            if chunk:
                yield chunk
            raise
        if chunk:
            yield chunk

    def _good(self, lines: Iterator[Line]) -> Iterator[Line]:
        if self.unchecked:
            yield from lines
            return
        bad = 0
        for number, value in one_a_line(lines):
            if self._is_good(number, value):
                bad = 0
                yield number, value
                continue
            bad += 1
            if bad == BAD_IN_A_ROW:
                message = words(
                    "stopped at line {number}: {bad} lines in a row are no message; a file for `send` has one message"
                    " in JSON a line (--unchecked sends any line)",
                    "在第 {number} 行停止：连续 {bad} 行都不是消息；`send` 的文件每行是一条 JSON 消息"
                    "（--unchecked 可发送任意行）",
                    number=number,
                    bad=bad,
                )
                raise CommandError(message)

    def _is_good(self, number: int, value: bytes) -> bool:
        settings, topic = self.settings, self.topic
        keys, timezone = settings.envelope_keys, settings.timezone
        id_keys = CONTEXT_ID_KEYS if topic in settings.passthrough_topics else STATION_ID_KEYS
        try:
            if topic in settings.context_names:
                parse_context(value, topic=topic, envelope_keys=keys, timezone=timezone)
            else:
                parse_message(value, topic=topic, envelope_keys=keys, timezone=timezone, id_keys=id_keys)
        except BadMessage as error:
            self._fail(number, error)
            return False
        return True

    async def _send(self, producer: AIOKafkaProducer, chunk: list[Line]) -> None:
        appended = []
        for number, value in chunk:
            try:
                confirmation = await producer.send(self.topic, value, key=self.key, headers=list(self.headers))
                appended.append((number, confirmation))
            except AUTHORIZATION_ERRORS:
                raise  # as the next line would be
            except KafkaError as error:
                self._fail(number, error)
        results = await asyncio.gather(*(confirmation for _, confirmation in appended), return_exceptions=True)
        self.confirmed += sum(not isinstance(result, BaseException) for result in results)
        for (number, _), result in zip(appended, results, strict=True):
            if isinstance(result, KafkaError) and not isinstance(result, AUTHORIZATION_ERRORS):
                self._fail(number, result)
            elif isinstance(result, BaseException):
                raise result

    def _fail(self, number: int, error: Exception) -> None:
        self.failed += 1
        shown = [printable(told(error, language), ERROR_SHOWN) for language in (Language.EN, Language.ZH)]
        complain(
            words(
                "line {number}: not sent: {error}",
                "第 {number} 行：未发送：{error}",
                number=number,
                error=Words(*shown),
            )
        )

    async def _ensure_topic(self, *, create: bool) -> None:
        async with administering(self.settings) as admin:
            if self.topic not in await admin.list_topics():
                if not create:
                    message = words(
                        "there is no topic {topic}; --create creates it, --topic names another{hint}",
                        "没有主题 {topic}；可用 --create 创建，或用 --topic 指定其他主题{hint}",
                        topic=self.topic,
                        hint=hidden_hint(self.settings),
                    )
                    raise CommandError(message)
                count = await create_source_topic(admin, self.settings, self.topic)
                say(
                    words(
                        "topic {topic} created with {n:partition}",
                        "已创建主题 {topic}，{n} 个分区",
                        topic=self.topic,
                        n=count,
                    )
                )
            elif create:
                self._note_partitions((await partition_counts(admin)).get(self.topic))

    def _note_partitions(self, count: int | None) -> None:
        """Say where a topic that was to be created is there with fewer partitions: workers share out partitions."""
        wanted = self.settings.partitions
        if count is not None and count < wanted:
            complain(
                words(
                    "topic {topic} is there already, with {n:partition} and not AGG_PARTITIONS={wanted}: no more than "
                    "{n:worker} can read it side by side",
                    "主题 {topic} 已存在，有 {n} 个分区，而不是 AGG_PARTITIONS={wanted}：最多 {n} 个 worker 可同时读取",
                    topic=self.topic,
                    n=count,
                    wanted=wanted,
                )
            )


async def create_source_topic(admin: AIOKafkaAdminClient, settings: Settings, name: str) -> int:
    """Create a source topic, with as many partitions as ours have; return how many it has got.

    Raises:
        TopicError: it can't be created.
    """
    return (await create_and_wait(admin, [source_spec(settings, name)], patience=CREATE_SECONDS))[name]
