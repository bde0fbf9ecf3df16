"""The command `faust -A app check`: settings, functions, broker and topics, held against what a worker needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import click
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from mode.utils.imports import cwd_in_path

from app.callbacks.given import FUNCTIONS, overruled_keywords
from app.callbacks.loading import NO_CALLBACK, NOTHING_GIVEN, FunctionError, Functions, UserFunctions, load_function
from app.callbacks.signatures import unusual_context
from app.cli.base import FAILED, broker_problem, command, language, say
from app.kafka.client import administering
from app.kafka.permissions import lacking, operations_text, principal
from app.kafka.topics import LARGEST, RETENTION, TopicSpec, largest_messages, topic_numbers, topic_specs
from app.messages.output import RECORD_OVERHEAD
from app.settings import Settings
from app.settings.enums import Executor, Language
from app.settings.loading import CALLBACKS
from app.settings.model import PREFIX
from app.words import Words, both_of, joined, told, words
from app.worker.command_line import called_as
from app.worker.shutdown import EXIT_SETTINGS

if TYPE_CHECKING:
    from app.worker.app import AggregatorApp


class Mark(StrEnum):
    """Weight of a finding."""

    OK = "ok"
    NOTE = "note"
    WRONG = "WRONG"


_PAGES = "pages"
_ENDS_WITH_SETTINGS = frozenset([_PAGES, *(PREFIX + name.upper() for name in FUNCTIONS)])
_STYLES = {Mark.OK: "green", Mark.NOTE: "yellow", Mark.WRONG: "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table."""

    mark: Mark
    what: str
    text: str


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is on the broker.

    Attributes:
        partitions: how many it has.
        largest: its largest message in bytes; None if the broker does not say.
        retention: its `retention.ms`; None if the broker does not say.
    """

    partitions: int
    largest: int | None
    retention: int | None = None


def register_check(app: AggregatorApp) -> None:
    """Make `check` a command of `faust -A app`."""
    settings = app.settings

    @command(
        app,
        zh="""检查设置、函数、Kafka 和主题。

        只查看，不创建任何东西。worker 可以工作时退出码为 0，否则与 worker 结束时的退出码相同：
        设置有误为 2，Kafka 或主题有误为 1。
        """,
    )
    def check() -> int:
        """Verify settings, functions, broker and topics.

        Looks, and creates nothing. The exit code is 0 when a worker could work with what there is, else the one that
        a worker would end with: 2 for a setting, 1 for the broker and its topics.
        """
        findings = [
            Finding(
                Mark.OK,
                "settings",
                words(
                    "app id {app_id}, module {module}",
                    "app id {app_id}，模块 {module}",
                    app_id=settings.app_id,
                    module=settings.module,
                ),
            ),
            *check_keywords(app.keywords),
            *check_functions(settings, app.given),
            *check_pages(app),
            *asyncio.run(_check_cluster(settings)),
        ]
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            mark = click.style(f"{finding.mark:5}", fg=_STYLES[finding.mark])
            click.echo(f"{mark}  {finding.what:{width}}  {told(finding.text, language())}")
        text, code = conclusion(settings, findings)
        say(text)
        return code


def conclusion(settings: Settings, findings: Sequence[Finding]) -> tuple[Words, int]:
    """Return the last line of the table, and the exit code that a worker would end with; 0 if it would work."""
    wrong = [finding.what for finding in findings if finding.mark is Mark.WRONG]
    has_callback = _has_callback(settings)
    code = EXIT_SETTINGS if not has_callback or _ENDS_WITH_SETTINGS.intersection(wrong) else FAILED if wrong else 0
    if wrong:
        return words("{n} wrong", "{n} 项有误", n=len(wrong)), code
    if has_callback:
        return words("All is well.", "一切正常。"), code
    return words(
        "Commands work; a worker would not start without AGG_CALLBACK.",
        "命令可用；没有 AGG_CALLBACK，worker 不会启动。",
    ), code


def check_keywords(keywords: Mapping[str, object]) -> list[Finding]:
    """Note each keyword argument of the program in whose place the environment has another value."""
    return [Finding(Mark.NOTE, key, text) for key, text in overruled_keywords(keywords)]


def check_functions(settings: Settings, given: Functions = NOTHING_GIVEN) -> list[Finding]:
    """Import the user's functions as a worker does, but for those that the program has given as objects."""
    findings = []
    if not _has_callback(settings):
        text = words(
            "no callback: commands only, a worker would not start; {why}",
            "没有回调：只能使用命令，worker 不会启动；{why}",
            why=NO_CALLBACK,
        )
        findings.append(Finding(Mark.NOTE, "AGG_CALLBACK", text))
    for name in FUNCTIONS:
        key, spec = PREFIX + name.upper(), getattr(settings, name)
        if spec is None:
            continue
        try:
            if name in given:
                function = given[name]
            else:
                with cwd_in_path():
                    function = load_function(spec, key)
            if name in given and name in CALLBACKS and settings.executor is Executor.PROCESS:
                UserFunctions(given[name], many=name == "batch_callback").path_for_processes()
        except FunctionError as error:
            findings.append(Finding(Mark.WRONG, key, _without(both_of(error), f"{key}={spec}: ", f"{key}={spec}：")))
        else:
            findings.append(_found(settings, name, key, function))
    return findings


def check_pages(app: AggregatorApp) -> list[Finding]:
    """Hold the pages of the user's against ours, as a worker does when it starts."""
    if not app.pages:
        return []
    # Imported where there are pages: what a worker's web needs is much.
    from app.web.app import create_web  # noqa: PLC0415
    from app.web.users_pages import PageError  # noqa: PLC0415

    try:
        create_web(app.status, pages=app.pages)
    except PageError as error:
        return [Finding(Mark.WRONG, _PAGES, both_of(error))]
    return [Finding(Mark.OK, _PAGES, words("{n} of yours", "{n} 个自己的页面", n=len(app.pages)))]


def _found(settings: Settings, name: str, key: str, function: Callable[..., Any]) -> Finding:
    """Return what to say of a function that is there, and can be called."""
    spec = getattr(settings, name)
    if name == "station_result_handler" and not settings.passthrough_topics:
        text = words(
            "{spec} is never called: AGG_PASSTHROUGH_TOPICS is empty",
            "{spec} 不会被调用：AGG_PASSTHROUGH_TOPICS 为空",
            spec=spec,
        )
        return Finding(Mark.NOTE, key, text)
    if name == "result_handler" and (parameter := unusual_context(function)) is not None:
        text = words(
            "{spec} gets the batch's context as its parameter {parameter}; a handler of single stations is "
            "AGG_STATION_RESULT_HANDLER",
            "{spec} 以参数 {parameter} 接收批次的 context；单场站的处理函数是 AGG_STATION_RESULT_HANDLER",
            spec=spec,
            parameter=parameter,
        )
        return Finding(Mark.NOTE, key, text)
    return Finding(Mark.OK, key, spec)


def _has_callback(settings: Settings) -> bool:
    return settings.callback is not None or settings.batch_callback is not None


def _without(text: str, en: str, zh: str) -> Words:
    """Leave out the beginning of a text, which stands beside it."""
    return Words(text.removeprefix(en), told(text, Language.ZH).removeprefix(zh))


async def _check_cluster(settings: Settings) -> list[Finding]:
    """Connect, and look at every topic; nothing is created."""
    try:
        async with administering(settings) as admin:
            brokers = len((await admin.describe_cluster())["brokers"])
            own = [spec.name for spec in topic_specs(settings)]
            topics = await _topics(admin, [*settings.foreign_topics, *own])
            lacks = await lacking(admin, settings, own)
    except (KafkaError, OSError) as error:
        return [Finding(Mark.WRONG, "broker", await broker_problem(settings, error))]
    servers = ", ".join(settings.bootstrap_servers)
    found = Finding(
        Mark.OK, "broker", words("{servers}: {n:broker}", "{servers}：{n} 个 broker", servers=servers, n=brokers)
    )
    denied = [
        Finding(
            Mark.WRONG,
            resource,
            words(
                "{who} lacks {what} (ACLs)",
                "{who} 缺少 {what} 权限（ACL）",
                who=principal(settings),
                what=operations_text(operations),
            ),
        )
        for resource, operations in lacks.items()
    ]
    hidden = {f"topic {name}" for name in settings.foreign_topics if name not in topics} & lacks.keys()
    findings = check_topics(settings, topics, brokers=brokers)
    return [found, *denied, *(one for one in findings if f"topic {one.what}" not in hidden)]


def check_topics(settings: Settings, topics: Mapping[str, Topic], *, brokers: int) -> list[Finding]:
    """Hold the topics that there are against those that a worker needs."""
    specs = topic_specs(settings)
    own = {spec.name for spec in specs}  # the output topic may be a context topic, too
    foreign = [name for name in settings.foreign_topics if name not in own]
    sources = [_foreign(settings, name, topics.get(name)) for name in foreign]
    findings = [*sources, *(_own(spec, topics.get(spec.name), settings) for spec in specs)]
    missing = any(spec.name not in topics for spec in specs)
    if missing and settings.replication_factor > brokers:
        text = words(
            "is {wanted}, more than there are brokers ({brokers}): no topic can be created",
            "为 {wanted}，多于 broker 数（{brokers}）：无法创建主题",
            wanted=settings.replication_factor,
            brokers=brokers,
        )
        findings.append(Finding(Mark.WRONG, "AGG_REPLICATION_FACTOR", text))
    return findings


def _foreign(settings: Settings, name: str, topic: Topic | None) -> Finding:
    kind = words("source topic", "源主题")
    if name in settings.passthrough_topics:
        kind = words("pass-through topic", "直通主题")
    elif name in settings.context_names:
        kind = words("context topic", "上下文主题")
    if topic is None:
        text = words(
            "{kind}: not there, and a worker does not create it: `{command} send --create --topic {name} FILE` does",
            "{kind}：不存在，worker 也不会创建它：可用 `{command} send --create --topic {name} FILE` 创建",
            kind=kind,
            command=called_as(),
            name=name,
        )
        return Finding(Mark.WRONG, name, text)
    return Finding(Mark.OK, name, words("{kind}: {n:partition}", "{kind}：{n} 个分区", kind=kind, n=topic.partitions))


def _own(spec: TopicSpec, topic: Topic | None, settings: Settings) -> Finding:
    is_output = spec.name == settings.output_topic
    kind = words("output topic: ", "输出主题：") if is_output else words("", "")
    if topic is None:
        text = words(
            "{kind}not there yet; a worker creates it with {n:partition} when it starts",
            "{kind}尚不存在；worker 启动时会创建它，{n} 个分区",
            kind=kind,
            n=spec.partitions,
        )
        return Finding(Mark.NOTE, spec.name, text)
    problems = []
    if spec.exact and topic.partitions != spec.partitions:
        problems.append(
            words(
                "{n:partition}, but AGG_PARTITIONS is {wanted}; set that to what the topics have, or take another "
                "AGG_APP_ID",
                "{n} 个分区，而 AGG_PARTITIONS 为 {wanted}；请设为主题的分区数，或改用其他 AGG_APP_ID",
                n=topic.partitions,
                wanted=spec.partitions,
            )
        )
    needed = settings.max_message_bytes + RECORD_OVERHEAD if is_output else int(spec.config[LARGEST])
    if topic.largest is not None and topic.largest < needed:
        problems.append(_too_low(topic.largest, needed, is_output=is_output))
    if problems:
        wrong = words("{kind}{problems}", "{kind}{problems}", kind=kind, problems=joined("; ", problems))
        return Finding(Mark.WRONG, spec.name, wrong)
    kept = spec.config.get(RETENTION)
    if kept is not None and topic.retention is not None and topic.retention != int(kept):
        text = words(
            "{key} is {found}, and AGG_EVENTS_RETENTION ({kept}) is given to a new topic only; alter the topic, or the "
            "setting",
            "{key} 为 {found}，而 AGG_EVENTS_RETENTION（{kept}）只用于新建的主题；请修改主题或该设置",
            key=RETENTION,
            found=topic.retention,
            kept=kept,
        )
        return Finding(Mark.NOTE, spec.name, text)
    return Finding(Mark.OK, spec.name, words("{kind}{n:partition}", "{kind}{n} 个分区", kind=kind, n=topic.partitions))


def _too_low(found: int, needed: int, *, is_output: bool) -> Words:
    if is_output:
        return words(
            "{key} is {found}, but AGG_MAX_MESSAGE_BYTES needs {needed}; raise the topic's, or lower the setting",
            "{key} 为 {found}，而 AGG_MAX_MESSAGE_BYTES 需要 {needed}；请调高主题的值，或调低该设置",
            key=LARGEST,
            found=found,
            needed=needed,
        )
    return words(
        "{key} is {found}, but a worker needs {needed}; raise the topic's",
        "{key} 为 {found}，而 worker 需要 {needed}；请调高主题的值",
        key=LARGEST,
        found=found,
        needed=needed,
    )


async def _topics(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, Topic]:
    partitions = {
        topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics() if not topic["error_code"]
    }
    there = [name for name in names if name in partitions]
    largest, retention = await largest_messages(admin, there), await topic_numbers(admin, there, RETENTION)
    return {name: Topic(partitions[name], largest.get(name), retention.get(name)) for name in there}
