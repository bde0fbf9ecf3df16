"""The executor that the settings ask for."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from app.callbacks.executors.base import CallbackExecutor, LoopExecutor
from app.callbacks.executors.child_calls import ChildJob
from app.callbacks.executors.processes import ProcessExecutor, available_cores
from app.callbacks.executors.threads import ThreadExecutor
from app.callbacks.loading import FunctionError, UserFunctions, is_async
from app.observability.log_lines import Line
from app.settings import Settings
from app.settings.enums import Executor, LogFormat


def make_executor(
    settings: Settings, functions: UserFunctions, *, max_result_bytes: int, on_death: Callable[[str], None]
) -> CallbackExecutor:
    """Make the executor that `AGG_EXECUTOR` asks for; for `on_death` see `ProcessExecutor`.

    Raises:
        FunctionError: the callback has no name under which a process can import it.
    """
    callback, kind, workers = functions.callback, settings.executor, settings.executor_workers
    if kind is Executor.AUTO and is_async(callback):
        return LoopExecutor(callback)
    if kind is not Executor.PROCESS:
        own_loops = kind is Executor.THREAD
        return ThreadExecutor(callback, workers=workers or settings.concurrency, own_loops=own_loops)
    path = functions.importable_path
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
        settings.log_format is LogFormat.JSON,
        Line.PRINTED.texts[settings.log_language],
    )
    return ProcessExecutor(job, keep=min(settings.concurrency, workers or available_cores()), on_death=on_death)
