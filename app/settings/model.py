"""The settings: one frozen class with a field for each `AGG_*` key, and the names that follow from them."""

from __future__ import annotations

from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from app.settings import checks, enums, types
from tables.model.enums import LatePolicy
from tables.storage.window import Span

PREFIX: Final = "AGG_"


def _setting(default: object, en: str, zh: str, *, shared: bool) -> Any:
    """Return a field with its default and its line in both tables of the docs.

    A callable default computes it from the fields before it.
    """
    extra: dict[str, Any] = {"zh": zh, "shared": shared}
    if callable(default):
        return Field(default_factory=default, description=en, json_schema_extra=extra)
    return Field(default=default, description=en, json_schema_extra=extra)


# Each setting is one of these: `fingerprint` (app/settings/fingerprint.py) compares the shared ones between workers.
_shared = partial(_setting, shared=True)  # decides what comes out: must be the same for all workers of an app id
_own = partial(_setting, shared=False)  # how one worker runs, or how it reaches Kafka; secrets are among these only


class Settings(BaseModel):
    """Every setting. A field `name` is the key `AGG_NAME`; times are seconds.

    A check across fields (`app.settings.checks`) stands on the last of them, and looks at those before it. Pydantic
    checks the model as a whole only when every field is good, but all problems are to be reported at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)

    _is_utf8 = field_validator("*", mode="before")(types.utf8_only)

    # -- source topics, and how their records become columns -----------------------------------------------------------

    source_topics: types.TopicNames = _shared(
        ("SCHEDULE-STATION-REALTIME-DATA",), "Source topics, comma-separated", "源主题，逗号分隔"
    )
    envelope_keys: types.Names = _shared(
        (),
        "More keys under which a source message may hold its records, comma-separated; tried after the topic's name "
        "and `realTimeData`",
        "源消息中存放记录的其他键，逗号分隔；在主题名和 `realTimeData` 之后尝试",
    )
    timezone: ZoneInfo = _shared(
        ZoneInfo("Asia/Shanghai"),
        "Time zone of times that come without one, and of `sendTime` in `module_input`",
        "未带时区的时间及 `module_input` 中 `sendTime` 的时区",
    )
    passthrough_topics: types.OptionalTopicNames = _shared(
        (),
        "Topics whose stations are answered one by one, without batches, comma-separated",
        "逐个场站直接处理、不组成批次的主题，逗号分隔",
    )
    context_topics: types.ContextTopics = _shared(
        (),
        "Topics that are further entries of `module_input`, comma-separated: `TOPIC` the newest record of each "
        "station, `TOPIC:2016` its last points in time, `TOPIC:2h` those of a duration before the batch's time",
        "上下文主题，作为 `module_input` 的附加项，逗号分隔：`TOPIC` 为每个场站的最新记录，`TOPIC:2016` 为最近的若干"
        "时间点，`TOPIC:2h` 为批次时间之前一段时长内的时间点",
    )
    context_step: types.ContextSteps = _shared(
        (),
        "Step of the windows of context topics, where missing time points are to be inserted: seconds for all, or "
        "`TOPIC:300`, comma-separated",
        "上下文窗口的步长，用于补上缺失的时间点：统一的秒数，或按主题 `TOPIC:300`，逗号分隔",
    )
    context_max_bytes: types.RecordBytes = _shared(
        8 * 2**20,
        "What is kept of one station on one context topic, at most; what would make it more goes to the dead-letter "
        "topic",
        "一个场站在一个上下文主题上最多保留的字节数；超出的内容进入死信主题",
    )
    context_stale: types.Seconds | None = _own(
        None,
        "A WARNING tells of a context topic that has had nothing for longer; not set: none does",
        "上下文主题超过该时长没有任何内容时给出 WARNING；不设置则不提示",
    )
    max_ahead: types.SecondsOrZero = _shared(
        86_400.0,
        "A time that is later than its message by more is not usable: a station whose clock is wrong; 0: no limit",
        "晚于所在消息超过该时长的时间视为不可用（场站时钟有误）；0 表示不限",
    )
    max_stations: types.Count = _shared(
        100_000,
        "Stations in one message, at most; one with more goes to the dead-letter topic whole",
        "单条消息的最多场站数；超出的消息整条进入死信主题",
    )
    max_id_length: types.Count = _shared(
        1_000,
        "Characters of a station id, at most; a record with a longer one goes to the dead-letter topic",
        "场站 id 的最大字符数；超出的记录进入死信主题",
    )
    max_record_bytes: types.RecordBytes = _shared(
        types.LARGEST_RECORD,
        "Largest record as JSON; a larger one makes its station failed",
        "单条记录（JSON）的最大字节数；超出则该场站失败",
    )
    fill: enums.Fill = _shared(
        enums.Fill.ZERO, "What stands where no record gave a value", "没有记录给出数值处的填充方式"
    )
    window_step: types.OptionalWholeSeconds = _shared(
        None,
        "Step of the time window: missing time points are inserted back from the latest one, by itself to the earliest",
        "时间窗口的步长：从最新的时间点往前补上缺失的时间点；单独设置时补到最早的一个",
    )
    window_size: types.Count | None = _shared(
        None,
        "How many time points the window has, exactly, from the latest back; needs `AGG_WINDOW_STEP`",
        "窗口的时间点数（正好这么多），从最新的往前数；需要 `AGG_WINDOW_STEP`",
    )

    input: enums.InputForm = _shared(
        enums.InputForm.LISTS,
        "Columns of `module_input`: `lists`, or `numpy` arrays, which needs the extra `numpy`",
        "`module_input` 中各列的形式：`lists` 为列表；`numpy` 为 numpy 数组，需要附加依赖 `numpy`",
    )

    _context_is_nothing_else = field_validator("context_topics")(checks.context_is_nothing_else)
    _steps_are_of_windows = field_validator("context_step")(checks.steps_are_of_windows)
    _window_has_a_step = field_validator("window_size")(checks.window_has_a_step)
    _arrays_have_numpy = field_validator("input")(checks.arrays_have_numpy)

    @property
    def context_names(self) -> list[str]:
        """Context topics, in the order in which they are set."""
        return [types.parse_context(spec)[0] for spec in self.context_topics]

    @property
    def context_windows(self) -> dict[str, Span]:
        """Of context topics with a window, what that has."""
        return {name: span for name, span in map(types.parse_context, self.context_topics) if span is not None}

    def context_step_of(self, topic: str) -> int | None:
        """Return the seconds between the points of a context topic's window; None: nothing is inserted."""
        steps = dict(map(types.parse_step, self.context_step))
        return steps.get(topic, steps.get(None))

    @property
    def batch_topics(self) -> list[str]:
        """Source topics whose messages become batches. A topic that is also a pass-through topic is not among them."""
        return [topic for topic in dict.fromkeys(self.source_topics) if topic not in self.passthrough_topics]

    @property
    def foreign_topics(self) -> list[str]:
        """All topics that are read and belong to others. A worker never creates them, and they may have gaps."""
        return list(dict.fromkeys((*self.batch_topics, *self.passthrough_topics, *self.context_names)))

    @property
    def started_topics(self) -> list[str]:
        """Topics whose reading begins at `AGG_START`; context topics are read from their beginning."""
        return [topic for topic in self.foreign_topics if topic not in self.context_names]

    # -- the user's functions, and how they are run --------------------------------------------------------------------

    callback: types.FunctionPath | None = _shared(
        None,
        "The model, `package.module:function`, called as `callback(station_id, module_input)`; a worker needs it",
        "模型函数 `package.module:function`，以 `callback(station_id, module_input)` 调用；worker 必须设置",
    )
    batch_callback: types.FunctionPath | None = _shared(
        None,
        "Instead of `AGG_CALLBACK`: a model for many stations at once, called as "
        "`callback({station_id: module_input})`",
        "代替 `AGG_CALLBACK`：一次处理多个场站的模型，以 `callback({station_id: module_input})` 调用",
    )
    batch_callback_size: types.Count = _own(
        32, "Stations in one call of `AGG_BATCH_CALLBACK`, at most", "`AGG_BATCH_CALLBACK` 单次调用的最多场站数"
    )
    executor: enums.Executor = _own(
        enums.Executor.AUTO,
        "Where callbacks run; `auto`: `async def` on the event loop, `def` in threads",
        "回调在哪里运行；`auto`：`async def` 在事件循环中，`def` 在线程中",
    )
    executor_workers: types.Count | None = _own(
        None,
        "Threads or processes for callbacks; default: `AGG_CONCURRENCY` threads, or as many processes as cores",
        "运行回调的线程或进程数；默认为 `AGG_CONCURRENCY` 个线程，或与 CPU 核数相同的进程",
    )
    retries: types.WholeNumber = _shared(
        0,
        "Further calls of a callback that raised, within `AGG_STATION_TIMEOUT`",
        "回调抛出异常后的重试次数，受 `AGG_STATION_TIMEOUT` 限制",
    )
    concurrency: types.Count = _own(64, "Callbacks that run at once in a worker", "一个 worker 同时运行的回调数")
    station_timeout: types.Seconds = _shared(
        30.0,
        "Longest run of a station's callback; then the station is failed",
        "单个场站回调的最长运行时间；超过则该场站失败",
    )
    overtime_max: types.WholeNumber = _own(
        64,
        "Callbacks that may run on after their batch's deadline, besides `AGG_CONCURRENCY`; more cancel the oldest",
        "在 `AGG_CONCURRENCY` 之外，超过批次截止时间后仍可继续运行的回调数；再多则取消最早的",
    )
    result_handler: types.FunctionPath | None = _shared(
        None,
        "`package.module:function`, called as `result_handler(batch_id, batch_results_list)`: what it returns is "
        "published; not set: the default payload",
        "`package.module:function`，以 `result_handler(batch_id, batch_results_list)` 调用，发布其返回值；"
        "不设置则用默认格式",
    )
    station_result_handler: types.FunctionPath | None = _shared(
        None,
        "`package.module:function` for pass-through stations, called as "
        "`station_result_handler(station_id, module_input, result)`; not set: the result is published",
        "直通场站的处理函数 `package.module:function`，以 `station_result_handler(station_id, module_input, result)` "
        "调用；不设置则直接发布结果",
    )
    handler_timeout: types.Seconds = _shared(
        30.0, "Longest run of one call of a result handler", "结果处理函数单次调用的最长时间"
    )
    handler_retries: types.WholeNumber = _shared(
        3, "Further calls of a result handler that failed", "结果处理函数失败后的重试次数"
    )

    _there_is_one_callback = field_validator("batch_callback")(checks.there_is_one_callback)

    # -- the output topic and its messages -----------------------------------------------------------------------------

    module: types.ModuleName = _shared("load_prediction", "Name of the module in the output", "输出中的模块名")
    output_topic: types.TopicName = _shared(
        lambda earlier: f"MODULE-OUTPUT-{earlier['module'].upper()}",
        "Output topic; default: `MODULE-OUTPUT-` and `AGG_MODULE` in upper case",
        "输出主题；默认为 `MODULE-OUTPUT-` 加大写的 `AGG_MODULE`",
    )
    output_meta: bool = _shared(
        True,
        "Whether output messages carry `meta`; `false` for strict consumers",
        "输出消息是否带 `meta`；消费方要求严格时设为 `false`",
    )
    max_message_bytes: types.Bytes = _shared(
        16 * 2**20, "Largest message; a larger output goes out in parts", "单条消息的最大字节数；更大的输出会分段发送"
    )

    _output_is_no_source = field_validator("output_topic")(checks.output_is_no_source)

    # -- deadlines, release, late outcomes, and how long closed batches are remembered ---------------------------------

    batch_timeout: types.Seconds = _shared(5.0, "From the opening of a batch to its deadline", "批次从建立到截止的时间")
    max_batch_age: types.Seconds = _shared(
        60.0, "A batch's deadline never moves beyond this age", "批次截止时间最多推迟到这个时长"
    )
    timeout_mode: enums.TimeoutMode = _shared(
        enums.TimeoutMode.FIXED,
        "`adaptive`: the timeout follows the durations of recent batches",
        "`adaptive`：超时随近期批次的耗时调整",
    )
    timeout_min: types.Seconds = _shared(
        lambda earlier: min(1.0, earlier["max_batch_age"]),
        "Shortest timeout with `AGG_TIMEOUT_MODE=adaptive`",
        "`AGG_TIMEOUT_MODE=adaptive` 时的最短超时",
    )
    timeout_max: types.Seconds = _shared(
        lambda earlier: max(earlier["timeout_min"], min(30.0, earlier["max_batch_age"])),
        "Longest timeout with `AGG_TIMEOUT_MODE=adaptive`",
        "`AGG_TIMEOUT_MODE=adaptive` 时的最长超时",
    )
    partial_min_ratio: types.Share = _shared(
        0.0,
        "Share of its stations that must have arrived at the deadline; a batch with less is discarded",
        "截止时必须到达的场站比例；不足则丢弃该批次",
    )
    required_stations: types.Names = _shared(
        (),
        "Stations without which no batch that expects them is published, comma-separated",
        "预期包含这些场站的批次缺少它们时不发布，逗号分隔",
    )
    release_ratio: types.PositiveShare | None = _shared(
        None,
        "Share of its stations whose arrival publishes a batch before its deadline; not set: all",
        "到达该比例的场站后，批次不等截止时间即发布；不设置则等全部到达",
    )
    late_policy: LatePolicy = _shared(
        LatePolicy.TOPIC,
        "What becomes of outcomes after their batch has closed: to the late topic, a revised output, or dropped",
        "批次关闭后到达的结果如何处理：发往迟到主题、发布修订输出，或丢弃",
    )
    revise_delay: types.SecondsOrZero = _shared(
        1.0,
        "With `AGG_LATE_POLICY=revise`, late outcomes of this long make one revision",
        "`AGG_LATE_POLICY=revise` 时，这段时间内的迟到结果合并为一次修订",
    )
    max_open_batches: types.Count = _own(
        10_000,
        "Batches that a worker has opened and that are not known to be closed, at most: with as many, reading waits",
        "一个 worker 已建立且尚未确知关闭的批次数上限；达到后暂停读取，直到有批次关闭",
    )
    closed_ttl: types.Seconds = _shared(
        3600.0, "How long a closed batch is remembered, to tell late results", "已关闭批次的保留时间，用于识别迟到结果"
    )
    closed_max: types.Count = _own(
        100_000, "Closed batches that a worker remembers at most", "一个 worker 最多保留的已关闭批次数"
    )

    _age_covers_the_timeout = field_validator("max_batch_age")(checks.age_covers_the_timeout)
    _timeout_is_within_the_age = field_validator("timeout_min", "timeout_max")(checks.timeout_is_within_the_age)
    _release_is_publishable = field_validator("release_ratio")(checks.release_is_publishable)

    # -- the application's own topics, and the broker ------------------------------------------------------------------

    partitions: types.Count = _shared(
        8,
        "Partitions of the topics that the application creates: its workers scale up to this count",
        "应用所建主题的分区数，也是 worker 数的上限",
    )
    replication_factor: types.Count = _own(
        1, "Replicas of the topics that the application creates", "应用所建主题的副本数"
    )
    events_retention: types.Retention = _own(
        86_400,
        "How long new event topics keep what nobody has read yet: longer than any stop of all workers, or it is lost",
        "新建的事件主题保留未读消息的时间：须长于所有 worker 停止的最长时间，否则会丢失",
    )
    start: enums.Start = _shared(
        enums.Start.EARLIEST,
        "Where reading of source and pass-through topics begins when nothing is committed yet",
        "尚无已提交位移时，源主题与直通主题从哪里开始读",
    )
    app_id: types.AppId = _own(
        lambda earlier: f"batch-aggregator-{earlier['module'].replace('_', '-')}",
        "Workers of one app id share the work; default: `batch-aggregator-` and `AGG_MODULE` with `_` as `-`",
        "同一 app id 的 worker 分担工作；默认为 `batch-aggregator-` 加 `AGG_MODULE`（`_` 换成 `-`）",
    )
    instance_id: types.InstanceId | None = _own(
        None,
        "A name for the worker in its group, unique for each; `{hostname}` stands for the machine's. A worker that was "
        "killed and comes back under its name goes on at once",
        "worker 在消费组中的名称，每个 worker 唯一；`{hostname}` 代表主机名。被杀死的 worker 以原名回来后立即继续",
    )
    broker: types.KafkaUrls = _own(
        "kafka://127.0.0.1:9092",
        "Kafka brokers to begin with, `kafka://host:port`, separated by `;`",
        "Kafka 地址 `kafka://host:port`，用 `;` 分隔",
    )
    broker_patience: types.SecondsOrZero = _own(
        60.0,
        "A broker that is away for less is waited for; beyond it the worker ends with exit code 1",
        "Kafka 不可用时最多等待的时间；超过则 worker 以退出码 1 结束",
    )
    security_protocol: enums.SecurityProtocol = _own(
        enums.SecurityProtocol.PLAINTEXT, "Protection of the connection to Kafka", "与 Kafka 连接的安全协议"
    )
    sasl_mechanism: enums.SaslMechanism = _own(enums.SaslMechanism.PLAIN, "How the password is proved", "SASL 认证机制")
    sasl_username: str | None = _own(None, "User name, with `SASL_*`", "用户名，用于 `SASL_*`")
    sasl_password: SecretStr | None = _own(None, "Password, with `SASL_*`", "密码，用于 `SASL_*`")
    ssl_cafile: types.File | None = _own(
        None,
        "File of the certificate authority, with `*SSL`; not set: the system's",
        "CA 证书文件，用于 `*SSL`；不设置则用系统的",
    )
    ssl_certfile: types.File | None = _own(
        None, "File of the client's certificate, with `*SSL`", "客户端证书文件，用于 `*SSL`"
    )
    ssl_keyfile: types.File | None = _own(
        None,
        "File of the client's private key, when it is not in `AGG_SSL_CERTFILE`",
        "客户端私钥文件，私钥不在 `AGG_SSL_CERTFILE` 中时设置",
    )

    _internal_topics_are_nothing_else = field_validator("app_id")(checks.internal_topics_are_nothing_else)
    _login_is_given_where_it_is_used = field_validator("sasl_username", "sasl_password")(
        checks.login_is_given_where_it_is_used
    )
    _files_are_used = field_validator("ssl_cafile", "ssl_certfile", "ssl_keyfile")(checks.files_are_used)

    @property
    def station_events_topic(self) -> str:
        """Internal topic from the splitter to the station agents."""
        return f"{self.app_id}-station-events"

    @property
    def batch_events_topic(self) -> str:
        """Internal topic that is the log of every batch; the aggregator reads it."""
        return f"{self.app_id}-batch-events"

    @property
    def pipeline_topics(self) -> list[str]:
        """All topics that the pipeline reads. Other topics that a worker reads are those of users' own agents."""
        return [*self.foreign_topics, *self.event_topics]

    @property
    def event_topics(self) -> tuple[str, str]:
        """The internal topics that the pipeline reads."""
        return self.station_events_topic, self.batch_events_topic

    @property
    def late_topic(self) -> str:
        """Topic of outcomes that arrived after their batch had closed."""
        return f"{self.app_id}-late"

    @property
    def dead_letter_topic(self) -> str:
        """Topic of what could not be processed."""
        return f"{self.app_id}-dead-letter"

    @property
    def replayed_topic(self) -> str:
        """Topic that remembers which dead letters have been replayed."""
        return f"{self.app_id}-replayed"

    @property
    def bootstrap_servers(self) -> list[str]:
        """`host:port` of each broker, as Kafka clients take them."""
        return [url.removeprefix("kafka://") for url in self.broker.split(";")]

    # -- log, web, metrics, traces -------------------------------------------------------------------------------------

    log_language: enums.Language = _own(enums.Language.EN, "Language of log lines", "日志语言")
    log_format: enums.LogFormat = _own(enums.LogFormat.TEXT, "Shape of log lines", "日志格式")
    web_host: types.Host = _own(
        "127.0.0.1",
        "Address on which the dashboard is served; any other than loopback needs `AGG_WEB_TOKEN` or "
        "`AGG_WEB_READ_TOKEN`",
        "仪表盘监听的地址；非本机回环地址需要 `AGG_WEB_TOKEN` 或 `AGG_WEB_READ_TOKEN`",
    )
    web_port: types.Port = _own(6066, "Port of the dashboard; 0: a free one", "仪表盘端口；0 表示任选空闲端口")
    web_read_token: SecretStr | None = _own(
        None,
        "Bearer token of those who only look at dashboard and API, the same for all workers; alone or beside "
        "`AGG_WEB_TOKEN`",
        "只能查看仪表盘和 API、不能执行操作的 Bearer 令牌，所有 worker 相同；可单独设置，"
        "也可与 `AGG_WEB_TOKEN` 同时设置",
    )
    web_token: SecretStr | None = _own(
        None,
        "Bearer token of operators, the same for all workers; without it there are no actions",
        "操作员的 Bearer 令牌，所有 worker 相同；不设置则不能执行操作",
    )
    web_advertised_url: types.Url | None = _own(
        None,
        "URL under which the other workers reach this one's web; default: made of host and port",
        "其他 worker 访问本 worker 网页的 URL；默认由地址和端口组成",
    )
    metrics_stations: types.WholeNumber = _own(
        200, "Stations that have metrics with their own label, at most", "带有单独标签指标的场站数上限"
    )
    traces: bool = _own(
        False,
        "Whether batches are traced with OpenTelemetry, which must be installed; `OTEL_*` say where spans go",
        "是否用 OpenTelemetry 跟踪批次（须已安装）；span 发往何处由 `OTEL_*` 决定",
    )

    _tokens_fit_into_a_header = field_validator("web_read_token", "web_token")(checks.tokens_fit_into_a_header)
    _open_web_has_a_token_of_its_own = field_validator("web_read_token", "web_token")(
        checks.open_web_has_a_token_of_its_own
    )
    _open_web_has_a_token = field_validator("web_token")(checks.open_web_has_a_token)
    _traces_have_opentelemetry = field_validator("traces")(checks.traces_have_opentelemetry)
