"""`python -m app.demo`, which is `make run`: Kafka, a worker, the replay, and what comes out of it.

It replays until Ctrl-C. With ONCE=1 in the environment it sends each push once and ends by itself: exit code 0 if each
batch has come out once, else 1.
"""

from __future__ import annotations

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while the rest is imported, for seconds, shows no traceback

import asyncio
import http.client
import logging
import os
import re
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Self

from aiokafka.errors import KafkaError

try:
    from rich.console import Console
    from rich.markup import escape
except ModuleNotFoundError:
    from app.devbroker.install import WITH_DEMO

    raise SystemExit(f"The demo needs rich, which is not installed; {WITH_DEMO}") from None  # noqa: EM102

from app.demo.outputs import Tally, summary
from app.demo.replay import OUTPUT_PATIENCE, create_source_topics, live_pace, open_playback
from app.demo.sample import BROKEN_STATION, PUSHES, SHARES, SLOW_STATION, WINDOW
from app.devbroker import DevBroker, DevBrokerError
from app.devbroker.config import HOST, free_port, port_is_free
from app.devbroker.install import cache_folder
from app.devbroker.supervise import STOP, Supervised
from app.kafka.topics import BrokerError, TopicError
from app.settings import Settings, SettingsError, load_settings
from app.settings.loading import find_keys, found_language
from app.web.access import http_url
from app.words import Words, told, words

CALLBACK: Final = "app.demo.model:callback"
USUAL_PORT: Final = 6066
INTERRUPTED: Final = 130
WORKER: Final = [sys.executable, "-m", "faust", "-A", "app", "worker", "-l", "info"]
STOP_WITHIN: Final = 10.0  # seconds from SIGTERM to SIGKILL
READY_WITHIN: Final = 120.0  # recovers what an earlier run left, on a broker of the user's
POLL: Final = 0.1
TOKEN_BYTES: Final = 9  # 72 random bits: for a page on this machine, and short enough to be typed
SHOWN: Final = 12  # lines of the worker's log
_NOISE: Final = re.compile(r"^[|+]|\[INFO\]|\"level\": \"INFO\"")  # the banner, too


def main() -> int:
    """Run the demo; returns the exit code."""
    begin = int(time.time()) + 1
    console = Console(highlight=False, soft_wrap=True)
    once = os.environ.get("ONCE", "").lower() not in {"", "0", "false", "no"}
    # What goes wrong with Kafka is said by those who notice; its client would say it again and again.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tally = Tally()
    with ExitStack() as stack:
        code = _guarded(stack, console, tally, begin=begin, once=once)
        # From here on it ends, within seconds: another Ctrl-C must not leave half of it running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return code


def _guarded(stack: ExitStack, console: Console, tally: Tally, *, begin: int, once: bool) -> int:
    """Run the demo, and say what went wrong; what is to be stopped at the end is on the stack."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        given = _environment(stack, console, once=once)
        settings = load_settings(given.environ)
        asyncio.run(Demo(settings, given, console, tally).run(stack, begin=begin, once=once))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (BrokerError, TopicError, DevBrokerError, WorkerDied, PortTaken, KafkaError) as error:
        sys.stderr.write(f"{told(error, found_language(os.environ))}\n")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        if once or not tally.number:
            return INTERRUPTED
        return _end(settings, console, tally)
    return 1 if tally.awaited or tally.repeated or tally.discarded or len(tally.sent) < PUSHES else 0


def _end(settings: Settings, console: Console, tally: Tally) -> int:
    """Say how a replay that Ctrl-C has ended went; what is under way is no fault. Returns the exit code."""
    overdue = tally.overdue(time.time() - settings.max_batch_age - OUTPUT_PATIENCE)
    console.print()
    _say_summary(settings, console, tally, overdue)
    return 1 if overdue or tally.repeated else 0


def _say_summary(settings: Settings, console: Console, tally: Tally, overdue: Sequence[str]) -> None:
    topics = {"late_topic": settings.late_topic, "dead_letter_topic": settings.dead_letter_topic}
    for line in summary(tally, overdue, **topics, language=settings.log_language):
        console.print(line)


@dataclass(frozen=True, slots=True)
class Environment:
    """The worker's environment.

    Attributes:
        environ: its variables.
        broker: the embedded Kafka, if it is used.
        token: of its web, if that was made up here.
    """

    environ: Mapping[str, str]
    broker: DevBroker | None
    token: str | None


@dataclass(frozen=True, slots=True)
class Demo:
    """One run of the demo."""

    settings: Settings
    given: Environment
    console: Console
    tally: Tally

    async def run(self, stack: ExitStack, *, begin: int, once: bool) -> None:
        """Start a worker, on the stack, and replay; without `once` until this is cancelled."""
        settings, console, tally, broker = self.settings, self.console, self.tally, self.given.broker
        task = asyncio.current_task()
        if task is not None:
            # Like Ctrl-C, which asyncio handles so: an exception from a signal handler could hit any of its tasks.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await create_source_topics(settings)
        worker = stack.enter_context(
            WorkerProcess(self.given.environ, _log_file(settings), http_url(settings.web_host, settings.web_port))
        )
        stack.callback(self.say, words("Stopping ...", "正在停止……"))  # the first that is called when it ends
        self.say(
            words(
                "Starting a worker; its log is [bold]{log}[/bold]",
                "正在启动 worker，其日志在 [bold]{log}[/bold]",
                log=escape(str(worker.log)),
            )
        )
        await worker.wait_until_ready()

        def check() -> None:
            worker.check()
            if broker and not broker.running:
                message = words("Kafka has ended.\n{tail}", "Kafka 已结束。\n{tail}", tail=broker.log_tail(5))
                raise DevBrokerError(message)

        async with open_playback(settings, tally, console, check) as playback:
            self._introduce(worker, once=once)
            if not once:
                await playback.go_on(begin)
            await playback.replay(begin)
            console.print()
            _say_summary(settings, console, tally, tally.awaited)

    def say(self, text: Words) -> None:
        """Print a line in the user's language."""
        self.console.print(told(text, self.settings.log_language))

    def _introduce(self, worker: WorkerProcess, *, once: bool) -> None:
        """Say where everything is; the worker is ready by now, so its page answers."""
        settings, given, say = self.settings, self.given, self.say
        say(words("The dashboard: [bold]{url}/[/bold]", "仪表盘：[bold]{url}/[/bold]", url=worker.url))
        if given.token is not None:
            say(
                words(
                    "It asks for a token, with which its buttons act: [bold]{token}[/bold]",
                    "它会要求输入令牌，有了令牌按钮才能操作：[bold]{token}[/bold]",
                    token=given.token,
                )
            )
        say(_what_is_replayed(settings, once=once))
        if settings.callback == CALLBACK:
            say(_what_its_model_does(settings, once=once))
        found = {} if given.broker is None else {"AGG_BROKER": given.broker.url}
        if given.token is not None:
            found["AGG_WEB_TOKEN"] = given.token
        if found:
            say(
                words(
                    "Commands in another terminal find all this after\n    export {found}",
                    "在另一个终端中，先运行以下命令，其他命令便能找到这一切：\n    export {found}",
                    found=" ".join(f"{key}={value}" for key, value in found.items()),
                )
            )


def _what_is_replayed(settings: Settings, *, once: bool) -> Words:
    topic = settings.source_topics[0]
    if once:
        replay = words("Replaying {n} batches on {topic}", "正在向 {topic} 重放 {n} 个批次", n=PUSHES, topic=topic)
    else:
        replay = words(
            "Replaying a batch every {pace} s on {topic} until Ctrl-C",
            "每 {pace} 秒向 {topic} 重放一个批次，直到 Ctrl-C",
            pace=live_pace(settings),
            topic=topic,
        )
    return words(
        "{replay}: charging stations of Dundee, Perth and\nKinross, each with its last {hours} hours. What comes out "
        "on {output}:",
        "{replay}：Dundee、Perth 和 Kinross 的充电场站，\n各带最近 {hours} 小时的数据。{output} 的输出：",
        replay=replay,
        hours=WINDOW,
        output=settings.output_topic,
    )


def _what_its_model_does(settings: Settings, *, once: bool) -> Words:
    in_flight = words(
        "\nSix stations of each batch take up to {most:g} s on purpose, so that some are in flight.",
        "\n每个批次有六个场站故意用时至多 {most:g} 秒，使一些场站总在处理中。",
        most=settings.batch_timeout * max(SHARES),
    )
    return words(
        "(Three stations had closed before: empty. {broken} has a broken meter now and then: failed.\n"
        "{slow} takes over {timeout:g} s (AGG_BATCH_TIMEOUT) at times: missing, late.{in_flight})",
        "（三个场站此前已关闭：空。{broken} 的电表偶尔出错：失败。\n"
        "{slow} 有时用时超过 {timeout:g} 秒（AGG_BATCH_TIMEOUT）：缺失、迟到。{in_flight}）",
        broken=BROKEN_STATION,
        slow=SLOW_STATION,
        timeout=settings.batch_timeout,
        in_flight="" if once else in_flight,
    )


class PortTaken(RuntimeError):  # noqa: N818 - says what happened
    """Something else listens where the worker's web is to be."""


class WorkerDied(RuntimeError):  # noqa: N818 - says what happened
    """The worker ended, or was not ready in time; the text has what its log says."""


class WorkerProcess:
    """`faust -A app worker`, below a supervisor that ends it when this process is gone."""

    def __init__(self, environ: Mapping[str, str], log: Path, url: str) -> None:
        """Start it.

        Args:
            environ: its environment.
            log: file for what it logs, overwritten.
            url: of its web server.
        """
        self.log = log
        self.url = url
        with log.open("wb") as stream:
            self._process = Supervised(WORKER, stream, grace=STOP_WITHIN, env=dict(environ))

    def check(self) -> None:
        """Raise WorkerDied if it is not running."""
        code = self._process.poll()
        if code is not None:
            message = words(
                "the worker ended with exit code {code}; from its log, {log}:\n{trouble}",
                "worker 已结束，退出码 {code}；摘自其日志 {log}：\n{trouble}",
                code=code,
                log=self.log,
                trouble=self._trouble(),
            )
            raise WorkerDied(message)

    async def wait_until_ready(self) -> None:
        """Return when the worker says that it is ready.

        Raises:
            WorkerDied: it ended before, or takes too long.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + READY_WITHIN
        while not await asyncio.to_thread(self._ready):
            self.check()
            if loop.time() > give_up_at:
                message = words(
                    "the worker was not ready within {seconds:g} s; from its log, {log}:\n{trouble}",
                    "worker 在 {seconds:g} 秒内未就绪；摘自其日志 {log}：\n{trouble}",
                    seconds=READY_WITHIN,
                    log=self.log,
                    trouble=self._trouble(),
                )
                raise WorkerDied(message)
            await asyncio.sleep(POLL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.end(STOP)

    def _ready(self) -> bool:
        # By hand, since urllib would go through the user's proxy.
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=2.0)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _trouble(self) -> str:
        """The last lines of the log that are no mere information: a worker that stops says much after its error."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if not _NOISE.search(line)][-SHOWN:])


def _environment(stack: ExitStack, console: Console, *, once: bool) -> Environment:
    """Return the worker's environment: ours, and what the user has not set. It has a Kafka, an embedded one at worst.

    Raises:
        SettingsError: a setting is bad.
        PortTaken: something listens on the port that the user has set.
        DevBrokerError: the embedded Kafka does not start.
    """
    settings = load_settings()  # a mistake is said before Kafka is started
    given = {key.upper() for key in find_keys(os.environ, Path(".env"))[0]}
    environ = dict(os.environ)
    has_port = "AGG_WEB_PORT" in given and settings.web_port != 0
    if has_port and settings.web_host == HOST and not port_is_free(settings.web_port):
        message = words(
            "AGG_WEB_PORT={port} is taken: set another, or none for one that is free",
            "AGG_WEB_PORT={port} 已被占用：请另设一个，或不设置，以使用空闲端口",
            port=settings.web_port,
        )
        raise PortTaken(message)
    token = None
    if not once and "AGG_WEB_TOKEN" not in given:
        token = environ["AGG_WEB_TOKEN"] = secrets.token_urlsafe(TOKEN_BYTES)
    broker = None
    if "AGG_BROKER" not in given:
        broker = stack.enter_context(DevBroker(report=partial(console.print, markup=False)))
        environ["AGG_BROKER"] = broker.url
    if not has_port:  # only now: to fetch and start Kafka takes long enough for another demo to take the usual one
        environ["AGG_WEB_PORT"] = str(USUAL_PORT if port_is_free(USUAL_PORT) else free_port())
    if not given & {"AGG_CALLBACK", "AGG_BATCH_CALLBACK"}:
        environ["AGG_CALLBACK"] = CALLBACK
    return Environment(environ, broker, token)


def _log_file(settings: Settings) -> Path:
    """One for each port: two demos at once have one each."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"demo-worker-{settings.web_port}.log"


if __name__ == "__main__":
    sys.exit(main())
