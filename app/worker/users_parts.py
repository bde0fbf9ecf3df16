"""What users add to the application beside the pipeline, as Faust's documentation shows it, and how far that may go.

Agents, streams, tables, timers, tasks and commands are Faust's. What would harm the pipeline, or would not be obeyed,
is refused where it is written down.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterable
from typing import Any, ClassVar, Final, NoReturn, cast

import click
import faust
from aiokafka.errors import KafkaConnectionError, KafkaError
from faust.cli.base import AppCommand
from faust.types import TP, ChannelT
from faust.types.topics import TopicT
from mode.supervisors import OneForOneSupervisor
from mode.types import ServiceT
from mode.utils.cron import secs_for_next

from app.kafka.transport import FetchedSchema
from app.messages.message import SendError
from app.settings import Settings, SettingsError
from app.web.users_pages import Page
from app.words import Words, told, words
from app.worker.shutdown import EXIT_BROKER, EXIT_SETTINGS

_SUFFIX: Final = re.compile(r"-(command|cmd|group|grp)$")  # of a function's name, which click leaves out
RESTARTS_A_SECOND: Final = 10.0  # of an agent that raises


class RefusedError(SettingsError, click.ClickException):
    """The application can't be built as a program wants it.

    It is an error of click's, too: while `faust -A mymodule` imports the program, it is told in a line, without a
    traceback, and ends that with the exit code of bad settings.
    """

    exit_code = EXIT_SETTINGS

    def show(self, file: Any = None) -> None:
        """Print the problems, a line each."""
        (file or sys.stderr).write(f"{self}\n")


class PatientSupervisor(OneForOneSupervisor):
    """Starts an agent again that has raised, as often as it does so.

    Faust ends the worker of an agent that raises more than a hundred times in a second, as with each of the messages
    that have piled up: the pipeline would go down with it, again and again.
    """

    def __init__(self, *services: Any, **options: Any) -> None:
        super().__init__(*services, **{**options, "max_restarts": RESTARTS_A_SECOND, "over": 1.0, "raises": None})

    async def restart_service(self, service: ServiceT) -> None:
        """Put another actor in the place of one that has raised, and start it: Faust would do so five seconds later."""
        index = self._index[service]
        await super().restart_service(service)
        await self._services[index].maybe_start()

    def wakeup(self) -> None:
        """Look at the agents. Where it is doing that just now it does so again: Faust would look after five seconds."""
        super().wakeup()
        if self._please_wakeup is None and not self.should_stop:
            self.loop.call_later(1 / RESTARTS_A_SECOND, self.wakeup)


class UsersCommand(AppCommand):
    """A command of the user's, as Faust runs it; what Kafka did not take is told in a line, not by a traceback."""

    abstract: ClassVar[bool] = True
    _problem: SendError | KafkaError | None = None

    async def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Run it, in the service that Faust makes of it."""
        try:
            return await super().execute(*args, **kwargs)
        except (SendError, KafkaError) as error:
            self._problem = error

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run it and exit with its code."""
        try:
            super().__call__(*args, **kwargs)
        except SystemExit:
            if self._problem is None:
                raise
        settings = cast(UsersParts, self.app).settings
        click.echo(told(_said(self._problem, settings), settings.log_language), err=True)
        raise SystemExit(EXIT_BROKER)


def _said(problem: SendError | KafkaError, settings: Settings) -> SendError | Words:
    """Return what to say of a problem of a user's command with Kafka."""
    if isinstance(problem, SendError):
        return problem
    servers = ", ".join(settings.bootstrap_servers)
    if isinstance(problem, KafkaConnectionError):
        return words(
            "no broker answers at {servers}: start it, or set AGG_BROKER",
            "{servers} 没有 Kafka 应答：请启动它，或设置 AGG_BROKER",
            servers=servers,
        )
    return words(
        "the broker at {servers} refuses: {problem}",
        "{servers} 的 Kafka 拒绝了请求：{problem}",
        servers=servers,
        problem=str(problem) or repr(problem),
    )


def _is_plain(function: object) -> bool:
    """Say whether a function is a `def` and nothing else: a lambda, or a decorator's, may make what can be awaited."""
    if not inspect.isfunction(function) or function.__name__ == "<lambda>" or hasattr(function, "__wrapped__"):
        return False
    return not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function))


class UsersParts(faust.App):
    """A Faust application to which users add what is not the pipeline's.

    Attributes:
        pages: of the user's, in the order in which they were made.
        taken_commands: the names of commands that no function of the user's can have.
    """

    settings: Settings
    taken_commands: Collection[str] = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.pages: list[Page] = []

    def agent(self, channel: Any = None, *, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Make a function an agent, as Faust does.

        Raises:
            RefusedError: another agent has the name, or the pipeline reads one of the topics.
        """
        if name is not None and name in self.agents:
            raise self._refused(
                words(
                    "@app.agent(name={name!r}): there is an agent of this name; take another",
                    "@app.agent(name={name!r})：已有同名的 agent，请换一个名称",
                    name=name,
                )
            )
        self._refuse_taken(channel)
        decorate = super().agent(channel, name=name, **options)
        return lambda function: decorate(self._coroutine("@app.agent", function))

    def command(self, *options: Any, base: type[AppCommand] | None = None, **more: Any) -> Callable[[Any], Any]:
        """Make a function a command, as Faust does.

        Raises:
            RefusedError: it has the name of a command of this application's, whose place it would take.
        """
        decorate = super().command(*options, base=base or UsersCommand, **more)

        def make(function: Any) -> Any:
            name = _SUFFIX.sub("", function.__name__.lower().replace("_", "-"))
            if name in self.taken_commands:
                raise self._refused(
                    words(
                        "@app.command: {name} is a command of this application; give the function another name",
                        "@app.command：{name} 是本应用的命令，请给函数换一个名称",
                        name=name,
                    )
                )
            return decorate(self._coroutine("@app.command", function))

        return make

    # These three hide class methods of mode's service, as Faust's own do.

    def task(self, fun: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """Make an `async def` a task, as Faust does."""
        if fun is None:
            return lambda function: self.task(function, **options)
        return super().task(self._awaitable("@app.task", fun), **options)

    def timer(self, interval: Any, *args: Any, **options: Any) -> Callable[[Any], Any]:  # type: ignore[override]
        """Make an `async def` a timer, as Faust does."""
        if callable(interval):
            raise self._refused(
                words(
                    "@app.timer: how often is not said; write @app.timer(5.0) for each five seconds",
                    "@app.timer：没有写明间隔；例如每五秒一次请写 @app.timer(5.0)",
                )
            )
        decorate = super().timer(interval, *args, **options)
        return lambda function: decorate(self._awaitable("@app.timer", function))

    def crontab(self, cron_format: str, **options: Any) -> Callable[[Any], Any]:  # type: ignore[override]
        """Make an `async def` a timer for fixed times, as Faust does."""
        try:
            secs_for_next(cron_format)
        except Exception as error:
            raise self._refused(
                words(
                    "@app.crontab({form!r}): this is no cron expression of five fields, such as '*/5 * * * *'",
                    "@app.crontab({form!r})：不是由五个字段组成的 cron 表达式，例如 '*/5 * * * *'",
                    form=cron_format,
                )
            ) from error
        decorate = super().crontab(cron_format, **options)
        return lambda function: decorate(self._awaitable("@app.crontab", function))

    def stream(self, channel: Any, *args: Any, **options: Any) -> Any:
        """Make a stream of a channel, as Faust does.

        Raises:
            RefusedError: the pipeline reads one of the topics.
        """
        self._refuse_taken(channel)
        return super().stream(channel, *args, **options)

    def worker_init_post_autodiscover(self) -> None:
        """Add the pages of the user's blueprints. Faust's own are left out: nobody guards them."""
        if "web" in vars(self):  # it is made when somebody asks for it
            blueprints = self.web.blueprints
            built_in = self.web._enabled_blueprints()
            blueprints._enabled = [added for added in blueprints._enabled if added not in built_in]
            self.web.init_server()
        self.on_worker_init.send()

    def page(self, path: str, **options: Any) -> Callable[[Any], Any]:
        """Make a function a page, as Faust does. The worker's own web serves it, see app/web/users_pages.py."""
        decorate = super().page(path, **options)

        def decorate_and_keep(function: Any) -> Any:
            self._coroutine(f"@app.page({path!r})", function)
            view = decorate(function)
            self.pages.append(cast(Page, self.web.views["/" + path.lstrip("/")]))
            return view

        return decorate_and_keep

    def table_route(self, *_: Any, **__: Any) -> Any:
        """Refuse what needs Faust's own web server.

        Raises:
            RefusedError: always.
        """
        raise self._refused(
            words(
                "@app.table_route needs Faust's own web server, which does not run here: serve the table by @app.page",
                "@app.table_route 需要 Faust 自带的 web 服务器，此处不运行：请用 @app.page 提供该表",
            )
        )

    def _refused(self, problem: Words) -> RefusedError:
        return RefusedError([problem], self.settings.log_language)

    def _coroutine(self, decorator: str, function: Any) -> Any:
        """Return a function that Faust will await.

        Raises:
            RefusedError: it is a plain `def`: the worker would end with a traceback when it is called first.
        """
        if _is_plain(function):
            raise self._refused(
                words(
                    "{decorator}: {name} must be an `async def`",
                    "{decorator}：{name} 必须是 `async def`",
                    decorator=decorator,
                    name=function.__qualname__,
                )
            )
        return function

    def _awaitable(self, decorator: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that Faust will await; its error names it where it makes nothing that can be awaited.

        Raises:
            RefusedError: that can be seen already.
        """
        function = self._coroutine(decorator, function)

        @functools.wraps(function)
        async def call(*args: Any) -> Any:
            made = function(*args)
            if not inspect.isawaitable(made):
                name = getattr(function, "__qualname__", repr(function))
                message = f"{decorator}: {name} must be an `async def`; it returned {type(made).__name__}"
                raise TypeError(message)
            return await made

        return call

    def _refuse_taken(self, channel: object) -> None:
        """Refuse to give a topic that the pipeline reads to anybody else: its messages come as pieces of partitions."""
        if isinstance(channel, str):
            topics: Iterable[str] = [channel]
        elif isinstance(channel, TopicT) and not isinstance(channel.schema, FetchedSchema):
            topics = channel.topics
        else:
            return
        for topic in topics:
            if topic in self.settings.pipeline_topics:
                raise self._refused(
                    words(
                        "topic {topic}: the pipeline of this application reads it, so no other agent or stream of it "
                        "can; take what you need in the callback or the result handler, or read it in an application "
                        "of its own",
                        "主题 {topic}：本应用的流水线正在读取，其他 agent 或流不能再读；请在回调或结果处理函数中取用，"
                        "或在单独的应用中读取",
                        topic=topic,
                    )
                )

    def users_topics(self) -> list[str]:
        """Return the topics that agents of the user's read and that others create."""
        channels: list[ChannelT[Any]] = [agent.channel for agent in self.agents.values()]
        topics = [channel for channel in channels if isinstance(channel, TopicT) and not channel.internal]
        names = [name for topic in topics for name in topic.topics]
        return [name for name in dict.fromkeys(names) if name not in self.settings.pipeline_topics]

    def is_leader(self) -> bool:
        """Say whether this worker runs what one of all should (`on_leader=True`): it has the batches' first partition.

        Faust would elect one by a topic of its own, which this application does not have.
        """
        return TP(self.settings.batch_events_topic, 0) in self.consumer.assignment()
