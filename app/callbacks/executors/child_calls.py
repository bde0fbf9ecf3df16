"""The side of the user's code in a process for callbacks: it imports the callback by its name, and calls it.

Outcomes are made on the spot. So neither a result nor an exception of the user's has to be pickled, and JSON is written
by many cores. What is imported here costs each process its time at the start: neither pydantic nor aiokafka is.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.callbacks.executors import part_forks
from app.callbacks.loading import FunctionError, load_function
from app.callbacks.outcome import encode_result, encode_results, failed
from app.callbacks.tasks import awaited, user_context, user_loop
from app.observability.json_formatter import JsonFormatter
from app.observability.printed_lines import PrintedLines, in_one_line

LOG_LINES = "[%(asctime)s] [%(process)s] [%(levelname)s] %(message)s"

Answer = tuple[bool, Any]  # whether it went well, and what came of it
# The callback's arguments, and the stations whose outcomes are to be bare.
Task = tuple[tuple[Any, ...], frozenset[str]]


@dataclass(frozen=True, slots=True)
class ChildJob:
    """The first message to a process, as a dict of its fields: it knows none of our modules yet.

    Attributes:
        path: the worker's `sys.path`.
        callback: the name of the function, `package.module:function`.
        setting: the key that has it, for error texts.
        many: whether it takes many stations at once.
        max_result_bytes: see `encode_result`.
        log_level: of the worker's root logger.
        log_json: log lines are JSON (`AGG_LOG_FORMAT`).
        printed: the log line of what is printed, in the language of the log.
    """

    path: list[str]
    callback: str
    setting: str
    many: bool = False
    max_result_bytes: int = 16 * 1024 * 1024
    log_level: int = logging.WARNING
    log_json: bool = False
    printed: str = "{name} ({about}) prints: {text}"


def prepare(message: dict[str, Any]) -> tuple[Answer, Callable[[Task], Answer] | None]:
    """Import the callback.

    Returns:
        The answer that tells the worker how that went, and what makes an answer of a task; None where there can be no
        call.
    """
    job = ChildJob(**message)
    _set_up_logging(job)
    part_forks()
    try:
        callback = load_function(job.callback, job.setting)
    except FunctionError as error:
        return (False, str(error)), None
    except BaseException as error:  # noqa: BLE001 - an import may raise anything, and the worker tells of it
        return (False, f"{job.setting}={job.callback}: {failed(error).value}"), None
    return (True, None), _Caller(callback, job)


class _Caller:
    """Calls the callback; an `async def` on an event loop that lasts as long as the process."""

    def __init__(self, callback: Callable[..., Any], job: ChildJob) -> None:
        self._callback = callback
        self._job = job
        self._runner = asyncio.Runner(loop_factory=user_loop)
        self._stations: list[str] = []  # of the call that runs
        sys.stdout = sys.stderr = PrintedLines(self._tell)

    def __call__(self, task: Task) -> Answer:
        """The answer is the list of outcomes, with the ids of strangers if the callback takes many stations."""
        job = self._job
        arguments, bare = task
        stations = self._stations = list(arguments[0]) if job.many else [arguments[0]]
        try:
            value = self._callback(*arguments)
            if inspect.isawaitable(value):
                value = self._runner.run(awaited(value), context=user_context())
        except BaseException as error:  # noqa: BLE001 - a user's sys.exit() is the failure of one call
            return False, failed(error)
        if job.many:
            return True, encode_results(stations, value, max_bytes=job.max_result_bytes, bare=bare)
        return True, [encode_result(None if bare else stations[0], value, max_bytes=job.max_result_bytes)]

    def _tell(self, text: str) -> None:
        """Log what is printed."""
        stations = self._stations
        about = f"station {stations[0]}" if len(stations) == 1 else f"{len(stations)} stations: {', '.join(stations)}"
        fields = {"name": self._job.callback, "about": in_one_line(about), "text": in_one_line(text)}
        logging.getLogger(__name__).warning("%s", self._job.printed.format_map(fields), extra={"event": "printed"})


def _set_up_logging(job: ChildJob) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if job.log_json else logging.Formatter(LOG_LINES))
    logging.basicConfig(level=job.log_level, handlers=[handler])
