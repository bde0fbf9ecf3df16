"""Log lines in both languages: their names and texts, how a line is written, and how often.

Ids and error texts come from outside. Text that is not printable is escaped, so that nobody can forge a line, and long
text is cut.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Mapping
from enum import StrEnum
from itertools import islice
from types import MappingProxyType
from typing import Final, Self

from app.settings.enums import Language
from app.words import countable

NAMES_SHOWN: Final = 13
NAME_SHOWN: Final = 200  # characters of an id
_TEXT_SHOWN: Final = 500


class Line(StrEnum):
    """The catalogue of log lines: for each its name, which is the field `event` of JSON logs, and its texts.

    Attributes:
        texts: The text in each language, with the names of its fields in braces; `{n:station}` is `1 station`.
    """

    texts: Mapping[Language, str]

    def __new__(cls, event: str, en: str, zh: str) -> Self:
        """Make a member of its name and its texts in English and Chinese."""
        line = str.__new__(cls, event)
        line._value_ = event
        line.texts = MappingProxyType({Language.EN: en, Language.ZH: zh})
        return line

    OPENED = (
        "batch-opened",
        "Batch {batch_id} opened, expected stations: {stations}",
        "初始化批次 {batch_id}，预期场站: {stations}",
    )
    PROGRESS = (
        "batch-progress",
        "Batch {batch_id} progress: {arrived}/{expected}, pending: {stations}",
        "批次 {batch_id} 进度: {arrived}/{expected}，待完成: {stations}",
    )
    COMPLETED = (
        "batch-completed",
        "Batch {batch_id} complete, stations: {stations}",
        "批次 {batch_id} 完成，场站: {stations}",
    )
    PUBLISHED = (
        "batch-published",
        "Batch {batch_id} published with {count:station}",
        "批次 {batch_id} 结果已上传，包含 {count} 个场站",
    )
    TIMED_OUT = (
        "batch-timed-out",
        "Batch {batch_id} timed out with {arrived}/{expected}, missing stations: {stations}",
        "批次 {batch_id} 超时，已完成 {arrived}/{expected}，缺失场站: {stations}",
    )
    RELEASED_EARLY = (
        "batch-released-early",
        "Batch {batch_id} released early ({rule}) with {arrived}/{expected}, missing stations: {stations}",
        "批次 {batch_id} 提前发布 ({rule})，已完成 {arrived}/{expected}，缺失场站: {stations}",
    )
    DISCARDED = (
        "batch-discarded",
        "Batch {batch_id} discarded ({rule}) with {arrived}/{expected}: not published, see the dead letters",
        "批次 {batch_id} 已丢弃 ({rule})，已完成 {arrived}/{expected}，未发布，详见死信",
    )
    ALL_FAILED = (
        "batch-all-failed",
        "Batch {batch_id}: all stations have failed, {times} of {count} with {error}",
        "批次 {batch_id} 的 {count} 个场站全部失败，其中 {times} 个的错误为 {error}",
    )
    COMMAND = (
        "operator-command",
        "Batch {batch_id}: {action} by operator {by} at {at}, deadline {deadline}",
        "批次 {batch_id} 由操作员 {by} 于 {at} 执行 {action}，截止时间 {deadline}",
    )
    VOID_COMMAND = (
        "operator-command-void",
        "Batch {batch_id}: {action} by operator {by} at {at} changes nothing: the batch is not open, or can't "
        "be extended any further",
        "批次 {batch_id} 操作员 {by} 于 {at} 的 {action} 无效: 批次未打开，或无法继续延长",
    )
    ACTION = (
        "operator-action",
        "Operator {by} at {address} with the {role} token: {asked} was answered with {status}",
        "操作员 {by}（{address}，{role} 令牌）请求 {asked}，应答 {status}",
    )
    REPLAYED = (
        "dead-letters-replayed",
        "Dead letters of {topic} sent again by operator {by}: {letters}",
        "操作员 {by} 重发了 {topic} 中的死信: {letters}",
    )
    REVISED = (
        "batch-revised",
        "Batch {batch_id} revised, revision {revision} with {arrived}/{expected}, missing stations: {stations}",
        "批次 {batch_id} 已修订，修订号 {revision}，已完成 {arrived}/{expected}，缺失场站: {stations}",
    )
    TIMEOUT = (
        "adaptive-timeout",
        "Timeout of batches of about {stations:station} is {timeout:.2f} s now, as recent ones have needed",
        "约 {stations} 个场站的批次超时现为 {timeout:.2f} 秒，依据近期批次耗时",
    )
    LATE = (
        "late-result",
        "Batch {batch_id} late result of station {station_id}, status: {status}, reason: {reason}",
        "批次 {batch_id} 收到迟到结果，场站: {station_id}，状态: {status}，原因: {reason}",
    )
    LATE_KEPT = (
        "late-results-kept",
        "Batch {batch_id} late results for the next revision, stations: {stations}",
        "批次 {batch_id} 收到迟到结果，将计入下一修订，场站: {stations}",
    )
    LATE_SKIPPED = (
        "late-and-skipped",
        "Batch {batch_id} late, and not run any more: they stay missing, stations: {stations}",
        "批次 {batch_id} 已迟到且不再运行，仍记为缺失，场站: {stations}",
    )
    LATE_DROPPED = (
        "late-results-dropped",
        "Batch {batch_id} late results dropped (AGG_LATE_POLICY=drop), stations: {stations}",
        "批次 {batch_id} 迟到结果已丢弃 (AGG_LATE_POLICY=drop)，场站: {stations}",
    )
    BAD_HEADER = (
        "bad-header",
        "{place}: {problem}; the default is used",
        "{place}: {problem}，使用默认值",
    )
    EMPTY_MESSAGE = (
        "empty-message",
        "{place} is an empty list of records: nothing to do",
        "{place} 的记录列表为空，无需处理",
    )
    PASSED_THROUGH = (
        "passed-through",
        "{place} passes through (AGG_PASSTHROUGH_TOPICS): a result by itself for each of its stations: {stations}",
        "{place} 直通 (AGG_PASSTHROUGH_TOPICS)，各场站结果单独输出，场站: {stations}",
    )
    NO_BATCH = (
        "no-batch",
        "{place} has no usable sendTime and no batch-id, so it makes no batch and passes through: a result by itself "
        "for each of its stations: {stations}",
        "{place} 没有可用的 sendTime，也没有 batch-id，因此不组成批次而直通，各场站结果单独输出，场站: {stations}",
    )
    UNREADABLE_TIME = (
        "unreadable-time",
        "{place}: a time can't be read: {time}; a message without one that can makes no batch (forms: docs/inputs.md)",
        "{place}: 无法识别的时间: {time}；没有可识别时间的消息不组成批次（支持的格式见 docs/inputs.zh-CN.md）",
    )
    TIMES_AHEAD = (
        "times-ahead",
        "{place}: times later than the message by more than {limit:g} s are not usable (AGG_MAX_AHEAD): {times}",
        "{place}: 晚于消息超过 {limit:g} 秒的时间不可用 (AGG_MAX_AHEAD): {times}",
    )
    CONTEXT_SILENT = (
        "context-silent",
        "Context topic {topic}: nothing has come to this worker for {seconds:.0f} s, more than {limit:g} "
        "(AGG_CONTEXT_STALE); callbacks go on with what is known",
        "上下文主题 {topic}: 本 worker 已 {seconds:.0f} 秒没有收到任何内容，超过 {limit:g} 秒 (AGG_CONTEXT_STALE)；"
        "回调继续使用已知内容",
    )
    HANDLER_AGAIN = (
        "handler-again",
        "{name} failed for {about}, attempt {attempt} of {attempts}; called again in {seconds:g} s: {error}",
        "{name} 处理 {about} 失败，第 {attempt}/{attempts} 次；{seconds:g} 秒后重试: {error}",
    )
    DEAD_LETTER = (
        "dead-letter",
        "Dead letter ({reason}): {error} [{place}]",
        "死信 ({reason}): {error} [{place}]",
    )
    WORKER_READY = (
        "worker-ready",
        "Worker ready, partitions: {partitions}",
        "worker 已就绪，分区: {partitions}",
    )
    WEB = (
        "web",
        "This worker's pages: {url}",
        "本 worker 的页面: {url}",
    )
    TOPICS_CREATED = (
        "topics-created",
        "Topics created: {topics}",
        "已创建主题: {topics}",
    )
    SOURCES_MISSING = (
        "sources-missing",
        "Not there yet, and not created by a worker: {topics}; read within half a minute once created "
        "(`{command} send --create --topic TOPIC FILE` does it; FILE may be /dev/null)",
        "主题尚不存在，worker 不会创建: {topics}；可用 `{command} send --create --topic TOPIC FILE` 创建"
        "（FILE 可为 /dev/null），半分钟内开始读取",
    )
    BROKER_AWAY = (
        "broker-away",
        "Kafka at {broker} is away, waiting for it up to {patience:g} s: {error}",
        "Kafka {broker} 不可用，最多等待 {patience:g} 秒: {error}",
    )
    BROKER_BACK = (
        "broker-back",
        "Kafka at {broker} is back after {away:.1f} s",
        "Kafka {broker} 已恢复，中断 {away:.1f} 秒",
    )
    BROKER_UNABLE = (
        "broker-unable",
        "Kafka at {broker} can't do what a start needs, waiting for it up to {patience:g} s: {error}",
        "Kafka {broker} 无法完成启动所需的操作，最多等待 {patience:g} 秒: {error}",
    )
    BROKER_UNUSABLE = (
        "broker-unusable",
        "{broker} of AGG_BROKER can't be used, another one answers: {error}",
        "AGG_BROKER 中的 {broker} 不可用，其他地址有应答: {error}",
    )
    TOPIC_AWAY = (
        "topic-away",
        "{place} is not there: what is to be sent to it waits up to {patience:g} s (AGG_BROKER_PATIENCE); create the "
        "topic, or start the worker again, which creates it",
        "{place} 不存在，待发消息最多等待 {patience:g} 秒 (AGG_BROKER_PATIENCE)；请创建主题，或重启 worker 由其创建",
    )
    TOPIC_BACK = (
        "topic-back",
        "{place}: the topic is there after {away:.1f} s",
        "{place}: 主题已恢复，历时 {away:.1f} 秒",
    )
    PLACE_MOVED = (
        "output-moved",
        "Batch {batch_id}: its stored place {old} is gone, its output goes to {new}",
        "批次 {batch_id} 已存储的位置 {old} 不复存在，输出改发到 {new}",
    )
    READING_WAITS = (
        "reading-waits",
        "Reading waits until batches close: {count:batch} open (AGG_MAX_OPEN_BATCHES)",
        "暂停读取，等待批次关闭: 已有 {count} 个未关闭批次 (AGG_MAX_OPEN_BATCHES)",
    )
    LOOP_BLOCKED = (
        "loop-blocked",
        "{name} blocks the event loop, for {seconds:.1f} s so far ({about}): everything else waits; {place}",
        "{name} 阻塞了事件循环，已持续 {seconds:.1f} 秒 ({about})，其他一切都在等待；{place}",
    )
    LOOP_BUSY = (
        "loop-busy",
        "The event loop has not got on for {seconds:.1f} s; {place}",
        "事件循环已有 {seconds:.1f} 秒没有进展；{place}",
    )
    LOOP_RUNS = (
        "loop-runs",
        "The event loop runs again, after {seconds:.1f} s",
        "事件循环恢复运行，中断 {seconds:.1f} 秒",
    )
    NOT_ASKED = (
        "results-not-asked-for",
        "{name} has returned results of stations that it was not called for, ignored: {stations}",
        "{name} 返回了未请求场站的结果，已忽略: {stations}",
    )
    PRINTED = (
        "printed",
        "{name} ({about}) prints: {text}",
        "{name} ({about}) 输出: {text}",
    )
    PROCESS_DIED = (
        "process-died",
        "{name} has lost a process: {what}",
        "{name} 的一个进程已退出: {what}",
    )
    OUTPUT_LIMIT = (
        "output-limit",
        "{topic} takes messages of {limit} bytes, too few for AGG_MAX_MESSAGE_BYTES ({wanted}) and what Kafka adds: "
        "larger outputs go out in parts of that",
        "{topic} 只接受 {limit} 字节的消息，不足以容纳 AGG_MAX_MESSAGE_BYTES ({wanted}) 及 Kafka 的附加部分，"
        "更大的输出按此分段发送",
    )
    RETENTION_DIFFERS = (
        "retention-differs",
        "{topic} has retention.ms={found}, not the {wanted} of AGG_EVENTS_RETENTION, which only a new topic is given: "
        "alter the topic (kafka-configs.sh --add-config retention.ms={wanted}), or the setting",
        "{topic} 的 retention.ms 为 {found}，不是 AGG_EVENTS_RETENTION 的 {wanted}（仅在新建主题时设置）：请修改主题"
        "（kafka-configs.sh --add-config retention.ms={wanted}）或该设置",
    )
    OFFSETS_GONE = (
        "offsets-gone",
        "{place}: offsets {first} to {last} are gone from the broker before they were read (retention, deleted "
        "records, or a restored log); reading goes on at {at}",
        "{place}: 位移 {first} 至 {last} 尚未读取就已不在 Kafka 上 (保留期、删除记录或日志恢复)，从 {at} 继续读取",
    )
    LOG_SHORTER = (
        "log-shorter",
        "{place}: offset {position} was to be read next, but the log ends at {end}: it was truncated, restored or made "
        "again. Reading starts over at {at}, so that nothing is left out; batches that are not remembered any more "
        "(AGG_CLOSED_TTL) come out again",
        "{place}: 下一个待读位移为 {position}，但日志止于 {end}: 日志被截断、恢复或重建。从 {at} 重新读取，不会遗漏；"
        "已不再记忆 (AGG_CLOSED_TTL) 的批次会再次输出",
    )
    TOPIC_MADE_AGAIN = (
        "topic-made-again",
        "{place}: the topic was deleted and made again, its messages are others than those up to offset {position} "
        "that were read; reading starts at {at}",
        "{place}: 主题已被删除并重建，其消息与此前读到位移 {position} 的不同；从 {at} 开始读取",
    )
    TOPIC_GONE = (
        "topic-gone",
        "{topic} is not there any more; it is read from its beginning once it has been made again",
        "主题 {topic} 已不存在；重建后将从头读取",
    )
    OWN_TOPIC_GONE = (
        "own-topic-gone",
        "Data loss in {topic}: it is not there any more (deleted, or the broker has come back without its data). What "
        "stood there and was not done is lost; create the topic, or start the worker again, which creates it",
        "{topic} 丢失数据: 主题已不存在 (被删除，或 Kafka 恢复后没有了数据)。其中未完成的内容已丢失；"
        "请创建主题，或重启 worker 由其创建",
    )
    TOPICS_UNSEEN = (
        "topics-unseen",
        "A broker answers what can't be used when it is asked about topics; one that is deleted or made again is not "
        "noticed meanwhile: {error}",
        "broker 对主题查询的应答无法使用，期间无法发现被删除或重建的主题: {error}",
    )
    OWN_TOPIC_LOST = (
        "own-topic-lost",
        "Data loss in a topic of the application: {what}. What stood there and was not done yet is lost: stations that "
        "are missing from their batches for it have to be sent again",
        "应用自身的主题丢失数据: {what}。其中未完成的内容已丢失，因此缺失的场站需重新发送",
    )
    STATE_LOST = (
        "state-lost",
        "Data loss in {place}: the changelog ends at {end}, before what has been written to it. Batches that were open "
        "are not known any more (what comes for them goes to the late topic), closed ones are not remembered: send "
        "the source messages of missing batches again",
        "{place} 丢失数据: 变更日志止于 {end}，早于已写入的内容。原先打开的批次已不可知 (其后续结果进入迟到主题)，"
        "已关闭的批次不再被记忆；请重新发送缺失批次的源消息",
    )
    CHANGELOG_MADE_AGAIN = (
        "changelog-made-again",
        "Data loss in {topic}: the changelog was deleted and made again while workers run. What stood in it is in "
        "their memory only, and is lost with them: let open batches close before a worker ends or joins",
        "{topic} 丢失数据: 变更日志在 worker 运行期间被删除并重建。原有内容仅存于 worker 内存，随其退出而丢失: "
        "在 worker 退出或加入之前，请先等打开的批次关闭",
    )
    FENCED = (
        "name-taken",
        "another worker has joined the group under the name {name}, so this one ends: give each worker an "
        "AGG_INSTANCE_ID of its own ({{hostname}} may be part of it)",
        "另一个 worker 已用名称 {name} 加入消费组，本 worker 结束: 请为每个 worker 设置不同的 AGG_INSTANCE_ID"
        "（可包含 {{hostname}}）",
    )
    SUSPECTED = (
        "starts-without-progress",
        "{place}: the last workers have ended where they began, at offset {first}: up to {last} station events are run "
        "in small groups, noted before they begin, and one that ends its worker twice while it runs alone is failed",
        "{place}: 最近的 worker 都在位移 {first} 处结束，没有进展: 至位移 {last} 的场站事件将分小组运行并先行记录，"
        "单独运行时两次使 worker 结束的场站记为失败",
    )
    CHANGELOG_SHORTER = (
        "changelog-shorter",
        "Data loss in {place}: the changelog ends at {end}, before what this worker has of it: it was truncated or "
        "made again. What is missing is in this worker's memory only: let open batches close before it ends",
        "{place} 丢失数据: 变更日志止于 {end}，早于本 worker 已有的内容: 被截断或重建。缺失部分仅存于本 worker 内存: "
        "在其退出之前，请先等打开的批次关闭",
    )
    NOT_DELIVERED = (
        "offsets-not-delivered",
        "{place}: offsets {first} to {last} were not delivered; they stay uncommitted and are read again",
        "{place}: 位移 {first} 至 {last} 未送达，保持未提交，将重新读取",
    )
    SAME_URL = (
        "same-web-url",
        "Two workers say that their web is at {url}: only one of them will be shown; give each its own "
        "AGG_WEB_ADVERTISED_URL",
        "两个 worker 的网页地址都是 {url}，只会显示其中一个；请分别设置 AGG_WEB_ADVERTISED_URL",
    )
    TOKEN_REFUSED = (
        "web-token-refused",
        "The worker at {url} refuses our token: AGG_WEB_TOKEN and AGG_WEB_READ_TOKEN must be the same for all workers",
        "{url} 的 worker 拒绝了我们的令牌: 所有 worker 的 AGG_WEB_TOKEN 和 AGG_WEB_READ_TOKEN 必须相同",
    )
    SETTINGS_DIFFER = (
        "settings-differ",
        "Workers of app id {app_id} have other settings than this one, and their results mix: {which}; give all "
        "workers the same values",
        "app id {app_id} 的其他 worker 与本 worker 的设置不同，结果会混在一起: {which}；请为所有 worker 设置相同的值",
    )
    SETTINGS_AGREE = (
        "settings-agree",
        "All workers of app id {app_id} have the same settings again",
        "app id {app_id} 的所有 worker 的设置已恢复一致",
    )
    CLOCKS_DIFFER = (
        "clocks-differ",
        "Clocks of other workers differ from this one's by more than a second (+: ahead): {which}; deadlines come too "
        "early or too late, synchronise the machines (NTP)",
        "其他 worker 的时钟与本 worker 相差超过 1 秒 (+ 表示超前): {which}；截止时间会提前或推迟，请校准时钟 (NTP)",
    )
    CLOCKS_AGREE = (
        "clocks-agree",
        "The workers' clocks agree again",
        "各 worker 的时钟已恢复一致",
    )
    STOP_HANGS = (
        "stop-hangs",
        "The worker has not stopped within {seconds:g} s; it ends now, nothing unfinished was acknowledged",
        "worker 未能在 {seconds:g} 秒内停止，现在结束；未完成的均未确认",
    )


# -- writing a line ----------------------------------------------------------------------------------------------------


class Shown(str):
    """Text that is fit for a log line already: printable and cut."""

    __slots__ = ()


def say(language: Language, line: Line, **fields: object) -> str:
    """Return the line in that language. Texts among the fields are made printable and cut at 500 characters.

    Raises:
        KeyError: A field that the line needs is not given.
    """
    shown = {
        name: printable(value) if isinstance(value, str) and not isinstance(value, Shown) else countable(value)
        for name, value in fields.items()
    }
    return line.texts[language].format_map(shown)


def tell(logger: logging.Logger, level: int, language: Language, line: Line, **fields: object) -> None:
    """Log the line."""
    logger.log(level, "%s", say(language, line, **fields), extra={"event": str(line)})


def printable(text: str, limit: int = _TEXT_SHOWN) -> Shown:
    r"""Cut the text at `limit` characters; if any of them is not printable, escape it as a Python literal (`a\nb`)."""
    cut = _cut(text, limit)
    return Shown(cut if cut.isprintable() else repr(cut)[1:-1])


def names(ids: Iterable[str], total: int) -> Shown:
    """Print ids in their order like a Python set; after 13 of them only how many more `total` says there are.

    Takes at most 14 ids out of the iterable, however many there are.
    """
    taken = list(islice(ids, NAMES_SHOWN + 1))
    if not taken:
        return Shown("set()")
    quoted = [repr(_cut(name, NAME_SHOWN)) for name in taken[:NAMES_SHOWN]]
    more = max(total, len(taken)) - NAMES_SHOWN
    return Shown("{" + ", ".join(quoted + ([f"… +{more}"] if more > 0 else [])) + "}")


def _cut(text: str, limit: int) -> str:
    return str(text) if len(text) <= limit else text[:limit] + "…"


# -- how often ---------------------------------------------------------------------------------------------------------


class Throttle:
    """Lets one of a kind pass, and no other of that kind for some seconds. Pure.

    A kind is kept for ever once it has passed: kinds are lines, functions and places of code, not ids from outside. Any
    thread may ask; when two ask at the same moment, both may pass.
    """

    def __init__(self, seconds: float) -> None:
        """Create a throttle that nothing has passed.

        Args:
            seconds: from one that has passed to the next one of its kind.
        """
        self._seconds = seconds
        self._passed: dict[Hashable, float] = {}

    def passes(self, now: float, kind: Hashable = None) -> bool:
        """Say whether one of this kind may pass now; if so, it counts as passed.

        Args:
            now: seconds, from any beginning, of one clock for all calls. A clock that was put back lets pass, too:
                otherwise nothing would be logged until it has caught up.
            kind: kinds are throttled apart.
        """
        passed = self._passed.get(kind)
        if passed is not None and 0.0 <= now - passed < self._seconds:
            return False
        self._passed[kind] = now
        return True
