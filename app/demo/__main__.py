"""`python -m app.demo`, which is `make run`: Kafka, a worker, the replay, and what comes out of it.

With ONCE=1 in the environment it ends by itself: exit code 0 if each batch has come out once, else 1.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from aiokafka.errors import KafkaError
from rich.console import Console
from rich.markup import escape

from app.demo.printing import summary
from app.demo.replay import BROKEN_STATION, PUSHES, SLOW_STATION, WINDOW
from app.demo.run import create_source_topics, follow, open_outlet, replay
from app.demo.tally import Tally
from app.demo.worker import WorkerDied, WorkerProcess
from app.devbroker import DevBroker, DevBrokerError
from app.devbroker.config import free_port, port_is_free
from app.devbroker.install import cache_folder
from app.kafka.topics import BrokerError, TopicError
from app.settings import Settings, SettingsError, load_settings
from app.settings.loading import find_keys
from app.web.address import http_url

CALLBACK: Final = "app.demo.model:callback"
USUAL_PORT: Final = 6066
INTERRUPTED: Final = 130


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
    """Run it, and say what went wrong; what is to be stopped is on the stack."""
    try:
        environ, broker = _environment(stack, console)
        demo = Demo(load_settings(environ), environ, broker, console, tally)
        asyncio.run(demo.run(stack, begin=begin, once=once))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (BrokerError, TopicError, DevBrokerError, WorkerDied, KafkaError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        if len(tally.sent) < PUSHES or once:
            return INTERRUPTED
    return 1 if tally.awaited or tally.repeated or len(tally.sent) < PUSHES else 0


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo runs with; `broker` is the embedded Kafka, if it is used."""

    settings: Settings
    environ: Mapping[str, str]
    broker: DevBroker | None
    console: Console
    tally: Tally

    async def run(self, stack: ExitStack, *, begin: int, once: bool) -> None:
        """Start a worker, on the stack, and replay; without `once` go on showing what comes out."""
        settings, console, tally = self.settings, self.console, self.tally
        task = asyncio.current_task()
        if task is not None:
            # Like Ctrl-C, which asyncio handles so: an exception from a signal handler could hit any of its tasks.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await create_source_topics(settings)
        worker = stack.enter_context(
            WorkerProcess(self.environ, _log_file(settings), http_url(settings.web_host, settings.web_port))
        )
        stack.callback(console.print, "Stopping ...")  # the first that is called when it ends
        console.print(f"Starting a worker; its log is [bold]{escape(str(worker.log))}[/bold]")
        await worker.wait_until_ready()

        def check() -> None:
            worker.check()
            if self.broker and not self.broker.running:
                message = f"Kafka has ended.\n{self.broker.log_tail(5)}"
                raise DevBrokerError(message)

        async with open_outlet(settings) as outlet:
            _introduce(settings, console, worker, self.broker)
            await replay(settings, outlet, tally, console, begin=begin, check=check)
            console.print()
            for line in summary(tally, late_topic=settings.late_topic, dead_letter_topic=settings.dead_letter_topic):
                console.print(line)
            if not once:
                console.print(f"The dashboard: [bold]{worker.url}/[/bold]   Ctrl-C ends.")
                await follow(settings, outlet, tally, console, check=check)


def _environment(stack: ExitStack, console: Console) -> tuple[dict[str, str], DevBroker | None]:
    """The worker's environment, which is ours and what the user has not set; the embedded Kafka, unless there is one.

    Raises:
        SettingsError: a setting is bad.
        DevBrokerError: the embedded Kafka does not start.
    """
    load_settings()  # a mistake is better told before Kafka is started
    given = {key.upper() for key in find_keys(os.environ, Path(".env"))[0]}
    environ = dict(os.environ)
    broker = None
    if "AGG_BROKER" not in given:
        broker = stack.enter_context(DevBroker(report=partial(console.print, markup=False)))
        environ["AGG_BROKER"] = broker.url
    if "AGG_CALLBACK" not in given:
        environ["AGG_CALLBACK"] = CALLBACK
    if "AGG_WEB_PORT" not in given or load_settings().web_port == 0:
        environ["AGG_WEB_PORT"] = str(USUAL_PORT if port_is_free(USUAL_PORT) else free_port())
    return environ, broker


def _introduce(settings: Settings, console: Console, worker: WorkerProcess, embedded: DevBroker | None) -> None:
    for line in (
        f"The dashboard: [bold]{worker.url}/[/bold]",
        f"Replaying {PUSHES} batches on {settings.source_topics[0]}: charging stations of Dundee, Perth and",
        f"Kinross, each with its last {WINDOW} hours. What comes out on {settings.output_topic}:",
    ):
        console.print(line)
    if settings.callback == CALLBACK:
        for line in (
            f"(Three stations had closed before: empty. {BROKEN_STATION} has a broken meter now and then: failed.",
            f"{SLOW_STATION} once takes over {settings.batch_timeout:g} s (AGG_BATCH_TIMEOUT): missing, then late.)",
        ):
            console.print(line)
    if embedded is not None:
        console.print(f"Commands in another terminal find this Kafka with AGG_BROKER={embedded.url}")


def _log_file(settings: Settings) -> Path:
    """One for each port: two demos at once have one each."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"demo-worker-{settings.web_port}.log"


if __name__ == "__main__":
    sys.exit(main())
