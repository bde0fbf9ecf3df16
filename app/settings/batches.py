"""The rules of batches."""

from __future__ import annotations

from pydantic import ValidationInfo, field_validator

from app.settings.enums import LatePolicy, TimeoutMode
from app.settings.model import setting
from app.settings.outputs import OutputSettings
from app.settings.types import Count, Names, OptionalShare, Seconds, SecondsOrZero, Share

__all__ = ["BatchSettings"]


class BatchSettings(OutputSettings):
    """Deadlines, release, late outcomes, and how long what is remembered."""

    batch_timeout: Seconds = setting(5.0, "From the opening of a batch to its deadline", "批次从建立到截止的时间")
    max_batch_age: Seconds = setting(
        60.0, "A batch's deadline never moves beyond this age", "批次截止时间最多推迟到这个时长"
    )
    timeout_mode: TimeoutMode = setting(
        TimeoutMode.FIXED,
        "`adaptive`: the timeout follows the durations of recent batches",
        "`adaptive`：超时随近期批次的耗时调整",
    )
    timeout_min: Seconds = setting(
        lambda earlier: min(1.0, earlier["max_batch_age"]),
        "Shortest timeout with `AGG_TIMEOUT_MODE=adaptive`",
        "`AGG_TIMEOUT_MODE=adaptive` 时的最短超时",
    )
    timeout_max: Seconds = setting(
        lambda earlier: max(earlier["timeout_min"], min(30.0, earlier["max_batch_age"])),
        "Longest timeout with `AGG_TIMEOUT_MODE=adaptive`",
        "`AGG_TIMEOUT_MODE=adaptive` 时的最长超时",
    )
    partial_min_ratio: Share = setting(
        0.0,
        "Share of its stations that must have arrived at the deadline; a batch with less is discarded",
        "截止时必须到达的场站比例；不足则丢弃该批次",
    )
    required_stations: Names = setting(
        (),
        "Stations without which no batch that expects them is published, comma-separated",
        "预期包含这些场站的批次缺少它们时不发布，逗号分隔",
    )
    release_ratio: OptionalShare = setting(
        None,
        "Share of its stations whose arrival publishes a batch before its deadline; not set: all",
        "到达该比例的场站后，批次不等截止时间即发布；不设置则等全部到达",
    )
    late_policy: LatePolicy = setting(
        LatePolicy.TOPIC,
        "What becomes of outcomes after their batch has closed: to the late topic, a revised output, or dropped",
        "批次关闭后到达的结果如何处理：发往迟到主题、发布修订输出，或丢弃",
    )
    revise_delay: SecondsOrZero = setting(
        1.0,
        "With `AGG_LATE_POLICY=revise`, late outcomes of this long make one revision",
        "`AGG_LATE_POLICY=revise` 时，这段时间内的迟到结果合并为一次修订",
    )
    max_open_batches: Count = setting(
        10_000,
        "Batches that a worker has opened and that are not known to be closed, at most: with as many, reading waits",
        "一个 worker 已建立且尚未确知关闭的批次数上限；达到后暂停读取，直到有批次关闭",
    )
    closed_ttl: Seconds = setting(
        3600.0, "How long a closed batch is remembered, to tell late results", "已关闭批次的保留时间，用于识别迟到结果"
    )
    closed_max: Count = setting(
        100_000, "Closed batches that a worker remembers at most", "一个 worker 最多保留的已关闭批次数"
    )

    @field_validator("max_batch_age")
    @classmethod
    def _age_covers_the_timeout(cls, age: float, info: ValidationInfo) -> float:
        timeout = info.data.get("batch_timeout", 0.0)
        if timeout > age:
            message = f"must be at least AGG_BATCH_TIMEOUT, which is {timeout:g}"
            raise ValueError(message)
        return age

    @field_validator("timeout_min", "timeout_max")
    @classmethod
    def _timeout_is_within_the_age(cls, timeout: float, info: ValidationInfo) -> float:
        age, shortest = info.data.get("max_batch_age"), info.data.get("timeout_min")
        if age is not None and timeout > age:
            message = f"must be at most AGG_MAX_BATCH_AGE, which is {age:g}"
            raise ValueError(message)
        if info.field_name == "timeout_max" and shortest is not None and timeout < shortest:
            message = f"must be at least AGG_TIMEOUT_MIN, which is {shortest:g}"
            raise ValueError(message)
        return timeout

    @field_validator("release_ratio")
    @classmethod
    def _release_is_publishable(cls, share: float | None, info: ValidationInfo) -> float | None:
        least = info.data.get("partial_min_ratio", 0.0)
        if share is not None and share < least:
            message = f"must be at least AGG_PARTIAL_MIN_RATIO, which is {least:g}"
            raise ValueError(message)
        return share
