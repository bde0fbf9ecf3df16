"""What log lines say, in both languages: their texts."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from app.settings.enums import Language

__all__ = ["CATALOGUE", "Line"]


class Line(StrEnum):
    """What a log line tells; in JSON the field `event`."""

    OPENED = "batch-opened"
    PROGRESS = "batch-progress"
    COMPLETED = "batch-completed"
    PUBLISHED = "batch-published"
    TIMED_OUT = "batch-timed-out"
    RELEASED_EARLY = "batch-released-early"
    DISCARDED = "batch-discarded"
    COMMAND = "operator-command"
    VOID_COMMAND = "operator-command-void"
    REVISED = "batch-revised"
    TIMEOUT = "adaptive-timeout"
    LATE = "late-result"
    LATE_KEPT = "late-results-kept"
    LATE_SKIPPED = "late-and-skipped"
    LATE_DROPPED = "late-results-dropped"
    BAD_HEADER = "bad-header"
    EMPTY_MESSAGE = "empty-message"
    DEAD_LETTER = "dead-letter"
    WORKER_READY = "worker-ready"
    WEB = "web"
    TOPICS_CREATED = "topics-created"
    SOURCES_MISSING = "sources-missing"
    BROKER_AWAY = "broker-away"
    BROKER_BACK = "broker-back"
    READING_WAITS = "reading-waits"
    LOOP_BLOCKED = "loop-blocked"
    LOOP_BUSY = "loop-busy"
    LOOP_RUNS = "loop-runs"
    NOT_ASKED = "results-not-asked-for"
    PROCESS_DIED = "process-died"
    OUTPUT_LIMIT = "output-limit"
    OFFSETS_GONE = "offsets-gone"
    NOT_DELIVERED = "offsets-not-delivered"
    SAME_URL = "same-web-url"
    TOKEN_REFUSED = "web-token-refused"  # noqa: S105 - the name of a line
    STOP_HANGS = "stop-hangs"


CATALOGUE: Final[Mapping[Line, Mapping[Language, str]]] = MappingProxyType(
    {
        line: MappingProxyType({Language.EN: en, Language.ZH: zh})
        for line, en, zh in (
            (
                Line.OPENED,
                "Batch {batch_id} opened, expected stations: {stations}",
                "初始化批次 {batch_id}，预期场站: {stations}",
            ),
            (
                Line.PROGRESS,
                "Batch {batch_id} progress: {arrived}/{expected}, pending: {stations}",
                "批次 {batch_id} 进度: {arrived}/{expected}，待完成: {stations}",
            ),
            (
                Line.COMPLETED,
                "Batch {batch_id} complete, stations: {stations}",
                "批次 {batch_id} 完成，场站: {stations}",
            ),
            (
                Line.PUBLISHED,
                "Batch {batch_id} published with {count} stations",
                "批次 {batch_id} 结果已上传，包含 {count} 个场站",
            ),
            (
                Line.TIMED_OUT,
                "Batch {batch_id} timed out with {arrived}/{expected}, missing stations: {stations}",
                "批次 {batch_id} 超时，已完成 {arrived}/{expected}，缺失场站: {stations}",
            ),
            (
                Line.RELEASED_EARLY,
                "Batch {batch_id} released early ({rule}) with {arrived}/{expected}, missing stations: {stations}",
                "批次 {batch_id} 提前发布 ({rule})，已完成 {arrived}/{expected}，缺失场站: {stations}",
            ),
            (
                Line.DISCARDED,
                "Batch {batch_id} discarded ({rule}) with {arrived}/{expected}: not published, see the dead letters",
                "批次 {batch_id} 已丢弃 ({rule})，已完成 {arrived}/{expected}，未发布，详见死信",
            ),
            (
                Line.COMMAND,
                "Batch {batch_id}: {action} by operator {by} at {at}, deadline {deadline}",
                "批次 {batch_id} 由操作员 {by} 于 {at} 执行 {action}，截止时间 {deadline}",
            ),
            (
                Line.VOID_COMMAND,
                "Batch {batch_id}: {action} by operator {by} at {at} changes nothing: the batch is not open, or can't "
                "be extended any further",
                "批次 {batch_id} 操作员 {by} 于 {at} 的 {action} 无效: 批次未打开，或无法继续延长",
            ),
            (
                Line.LATE,
                "Batch {batch_id} late result of station {station_id}, status: {status}, reason: {reason}",
                "批次 {batch_id} 收到迟到结果，场站: {station_id}，状态: {status}，原因: {reason}",
            ),
            (
                Line.TIMEOUT,
                "Timeout of batches of about {stations} stations is {timeout:.2f} s now, as recent ones have needed",
                "约 {stations} 个场站的批次超时现为 {timeout:.2f} 秒，依据近期批次耗时",
            ),
            (
                Line.LATE_KEPT,
                "Batch {batch_id} late results for the next revision, stations: {stations}",
                "批次 {batch_id} 收到迟到结果，将计入下一修订，场站: {stations}",
            ),
            (
                Line.LATE_SKIPPED,
                "Batch {batch_id} late, and not run any more: they stay missing, stations: {stations}",
                "批次 {batch_id} 已迟到且不再运行，仍记为缺失，场站: {stations}",
            ),
            (
                Line.LATE_DROPPED,
                "Batch {batch_id} late results dropped (AGG_LATE_POLICY=drop), stations: {stations}",
                "批次 {batch_id} 迟到结果已丢弃 (AGG_LATE_POLICY=drop)，场站: {stations}",
            ),
            (
                Line.REVISED,
                "Batch {batch_id} revised, revision {revision} with {arrived}/{expected}, missing stations: {stations}",
                "批次 {batch_id} 已修订，修订号 {revision}，已完成 {arrived}/{expected}，缺失场站: {stations}",
            ),
            (
                Line.BAD_HEADER,
                "{place}: {problem}; the default is used",
                "{place}: {problem}，使用默认值",
            ),
            (
                Line.EMPTY_MESSAGE,
                "{place} is an empty list of records: nothing to do",
                "{place} 的记录列表为空，无需处理",
            ),
            (
                Line.DEAD_LETTER,
                "Dead letter ({reason}): {error} [{place}]",
                "死信 ({reason}): {error} [{place}]",
            ),
            (
                Line.WORKER_READY,
                "Worker ready, partitions: {partitions}",
                "worker 已就绪，分区: {partitions}",
            ),
            (
                Line.WEB,
                "This worker's pages: {url}",
                "本 worker 的页面: {url}",
            ),
            (
                Line.TOPICS_CREATED,
                "Topics created: {topics}",
                "已创建主题: {topics}",
            ),
            (
                Line.SOURCES_MISSING,
                "Not there yet, and not created by a worker: {topics}; read within half a minute once created "
                "(`faust -A app send --create` does it)",
                "主题尚不存在，worker 不会创建: {topics}；可用 `faust -A app send --create` 创建，半分钟内开始读取",
            ),
            (
                Line.BROKER_AWAY,
                "Kafka at {broker} is away, waiting for it up to {patience:g} s: {error}",
                "Kafka {broker} 不可用，最多等待 {patience:g} 秒: {error}",
            ),
            (
                Line.BROKER_BACK,
                "Kafka at {broker} is back after {away:.1f} s",
                "Kafka {broker} 已恢复，中断 {away:.1f} 秒",
            ),
            (
                Line.READING_WAITS,
                "Reading waits until batches close: {count} are open (AGG_MAX_OPEN_BATCHES)",
                "暂停读取，等待批次关闭: 已有 {count} 个未关闭批次 (AGG_MAX_OPEN_BATCHES)",
            ),
            (
                Line.LOOP_BLOCKED,
                "{name} blocks the event loop, for {seconds:.1f} s so far ({about}): everything else waits; {place}",
                "{name} 阻塞了事件循环，已持续 {seconds:.1f} 秒 ({about})，其他一切都在等待；{place}",
            ),
            (
                Line.LOOP_BUSY,
                "The event loop has not got on for {seconds:.1f} s; {place}",
                "事件循环已有 {seconds:.1f} 秒没有进展；{place}",
            ),
            (
                Line.LOOP_RUNS,
                "The event loop runs again, after {seconds:.1f} s",
                "事件循环恢复运行，中断 {seconds:.1f} 秒",
            ),
            (
                Line.NOT_ASKED,
                "{name} has returned results of stations that it was not called for, ignored: {stations}",
                "{name} 返回了未请求场站的结果，已忽略: {stations}",
            ),
            (
                Line.PROCESS_DIED,
                "{name} has lost a process: {what}",
                "{name} 的一个进程已退出: {what}",
            ),
            (
                Line.OUTPUT_LIMIT,
                "{topic} takes messages of {limit} bytes, too few for AGG_MAX_MESSAGE_BYTES ({wanted}): larger outputs "
                "go out in parts of that",
                "{topic} 只接受 {limit} 字节的消息，小于 AGG_MAX_MESSAGE_BYTES ({wanted})，更大的输出按此分段发送",
            ),
            (
                Line.OFFSETS_GONE,
                "{place}: offsets {first} to {last} are gone from the broker",
                "{place}: 位移 {first} 至 {last} 已不在 Kafka 上",
            ),
            (
                Line.NOT_DELIVERED,
                "{place}: offsets {first} to {last} were not delivered; they stay uncommitted and are read again",
                "{place}: 位移 {first} 至 {last} 未送达，保持未提交，将重新读取",
            ),
            (
                Line.SAME_URL,
                "Two workers say that their web is at {url}: only one of them will be shown; give each its own "
                "AGG_WEB_ADVERTISED_URL",
                "两个 worker 的网页地址都是 {url}，只会显示其中一个；请分别设置 AGG_WEB_ADVERTISED_URL",
            ),
            (
                Line.TOKEN_REFUSED,
                "The worker at {url} refuses our token: AGG_WEB_TOKEN must be the same for all workers",
                "{url} 的 worker 拒绝了我们的令牌: 所有 worker 的 AGG_WEB_TOKEN 必须相同",
            ),
            (
                Line.STOP_HANGS,
                "The worker has not stopped within {seconds:g} s; it ends now, nothing unfinished was acknowledged",
                "worker 未能在 {seconds:g} 秒内停止，现在结束；未完成的均未确认",
            ),
        )
    }
)
