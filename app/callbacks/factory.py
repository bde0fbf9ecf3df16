"""The callback runner that the settings ask for."""

from __future__ import annotations

import logging
import sys
from typing import Any

from app.callbacks.batch_runner import BatchCallbackRunner
from app.callbacks.executors.base import CallbackExecutor, make_executor
from app.callbacks.executors.child_calls import ChildJob
from app.callbacks.executors.processes import ProcessExecutor, available_cores
from app.callbacks.loading import FunctionError
from app.callbacks.runner import CallbackRunner
from app.callbacks.user_functions import UserFunctions, importable_path
from app.observability.batch_log import CallbackLog
from app.settings import Settings
from app.settings.enums import Executor

__all__ = ["make_runner"]


def make_runner(
    settings: Settings, functions: UserFunctions, *, log: CallbackLog, max_result_bytes: int, **options: Any
) -> CallbackRunner:
    """A runner that is not started.

    Args:
        settings: how callbacks are run.
        functions: the callback, and whether it takes many stations.
        log: told of what is wrong with the callback, other than that it fails.
        max_result_bytes: as `CallbackRunner` takes it.
        options: what else a `CallbackRunner` takes.

    Raises:
        FunctionError: the callback has no name under which a process can import it.
    """
    executor = _executor(settings, functions, log, max_result_bytes)
    options |= {
        "max_result_bytes": max_result_bytes,
        "concurrency": settings.concurrency,
        "station_timeout": settings.station_timeout,
        "overtime_max": settings.overtime_max,
        "retries": settings.retries,
    }
    if functions.many:
        size = settings.batch_callback_size
        return BatchCallbackRunner(executor, size=size, on_strangers=log.not_asked, **options)
    return CallbackRunner(executor, **options)


def _executor(
    settings: Settings, functions: UserFunctions, log: CallbackLog, max_result_bytes: int
) -> CallbackExecutor:
    workers = settings.executor_workers
    if settings.executor is not Executor.PROCESS:
        return make_executor(functions.callback, settings.executor, concurrency=settings.concurrency, workers=workers)
    path = functions.path or importable_path(functions.callback)
    if path is None:
        message = (
            f"{functions.setting}: {functions.name} can't be imported by another process, as AGG_EXECUTOR=process "
            "needs it; define it with `def` or `async def` at the top of a module"
        )
        raise FunctionError(message)
    job = ChildJob(
        list(sys.path),
        path,
        functions.setting,
        functions.many,
        max_result_bytes,
        logging.getLogger().level,
        settings.log_format,
    )
    processes = min(settings.concurrency, workers or available_cores())
    return ProcessExecutor(job, keep=processes, on_death=log.process_died)
