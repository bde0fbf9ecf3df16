"""The user's functions, and how they are run."""

from __future__ import annotations

from pydantic import ValidationInfo, field_validator

from app.settings.enums import Executor
from app.settings.inputs import InputSettings
from app.settings.model import setting
from app.settings.types import Count, FunctionPath, OptionalCount, Seconds, WholeNumber

__all__ = ["FunctionSettings"]


class FunctionSettings(InputSettings):
    """Callback and result handlers."""

    callback: FunctionPath | None = setting(
        None,
        "The model, `package.module:function`, called as `callback(station_id, module_input)`; a worker needs it",
        "模型函数 `package.module:function`，以 `callback(station_id, module_input)` 调用；worker 必须设置",
    )
    batch_callback: FunctionPath | None = setting(
        None,
        "Instead of `AGG_CALLBACK`: a model for many stations at once, called as "
        "`callback({station_id: module_input})`",
        "代替 `AGG_CALLBACK`：一次处理多个场站的模型，以 `callback({station_id: module_input})` 调用",
    )
    batch_callback_size: Count = setting(
        32, "Stations in one call of `AGG_BATCH_CALLBACK`, at most", "`AGG_BATCH_CALLBACK` 单次调用的最多场站数"
    )
    executor: Executor = setting(
        Executor.AUTO,
        "Where callbacks run; `auto`: `async def` on the event loop, `def` in threads",
        "回调在哪里运行；`auto`：`async def` 在事件循环中，`def` 在线程中",
    )
    executor_workers: OptionalCount = setting(
        None,
        "Threads or processes for callbacks; default: `AGG_CONCURRENCY` threads, or as many processes as cores",
        "运行回调的线程或进程数；默认为 `AGG_CONCURRENCY` 个线程，或与 CPU 核数相同的进程",
    )
    retries: WholeNumber = setting(
        0,
        "Further calls of a callback that raised, within `AGG_STATION_TIMEOUT`",
        "回调抛出异常后的重试次数，受 `AGG_STATION_TIMEOUT` 限制",
    )
    concurrency: Count = setting(64, "Callbacks that run at once in a worker", "一个 worker 同时运行的回调数")
    station_timeout: Seconds = setting(
        30.0,
        "Longest run of a station's callback; then the station is failed",
        "单个场站回调的最长运行时间；超过则该场站失败",
    )
    overtime_max: WholeNumber = setting(
        64,
        "Callbacks that may run on after their batch's deadline, besides `AGG_CONCURRENCY`; more cancel the oldest",
        "在 `AGG_CONCURRENCY` 之外，超过批次截止时间后仍可继续运行的回调数；再多则取消最早的",
    )
    result_handler: FunctionPath | None = setting(
        None,
        "`package.module:function`, called as `result_handler(batch_id, batch_results_list)`: what it returns is "
        "published; not set: the default payload",
        "`package.module:function`，以 `result_handler(batch_id, batch_results_list)` 调用，发布其返回值；"
        "不设置则用默认格式",
    )
    station_result_handler: FunctionPath | None = setting(
        None,
        "`package.module:function` for pass-through stations, called as "
        "`station_result_handler(station_id, module_input, result)`; not set: the result is published",
        "直通场站的处理函数 `package.module:function`，以 `station_result_handler(station_id, module_input, result)` "
        "调用；不设置则直接发布结果",
    )
    handler_timeout: Seconds = setting(
        30.0, "Longest run of one call of a result handler", "结果处理函数单次调用的最长时间"
    )
    handler_retries: WholeNumber = setting(
        3, "Further calls of a result handler that failed", "结果处理函数失败后的重试次数"
    )

    @field_validator("batch_callback")
    @classmethod
    def _one_callback(cls, path: str | None, info: ValidationInfo) -> str | None:
        if path is not None and info.data.get("callback") is not None:
            message = "must not be given with AGG_CALLBACK: it takes its place"
            raise ValueError(message)
        return path
