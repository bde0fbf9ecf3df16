"""The callback runner that the settings ask for."""

from __future__ import annotations

from typing import Any

from app.batch_callbacks import BatchCallbackRunner
from app.callback_log import CallbackLog
from app.callbacks import CallbackRunner
from app.executors import make_executor
from app.settings import Settings
from app.user_functions import UserFunctions

__all__ = ["make_runner"]


def make_runner(settings: Settings, functions: UserFunctions, *, log: CallbackLog, **options: Any) -> CallbackRunner:
    """A runner that is not started.

    Args:
        settings: how callbacks are run.
        functions: the callback, and whether it takes many stations.
        log: told of what is wrong with the callback, other than that it fails.
        options: what else a `CallbackRunner` takes.
    """
    executor = make_executor(
        functions.callback, settings.executor, concurrency=settings.concurrency, workers=settings.executor_workers
    )
    options |= {
        "concurrency": settings.concurrency,
        "station_timeout": settings.station_timeout,
        "overtime_max": settings.overtime_max,
        "retries": settings.retries,
    }
    if functions.many:
        size = settings.batch_callback_size
        return BatchCallbackRunner(executor, size=size, on_strangers=log.not_asked, **options)
    return CallbackRunner(executor, **options)
