"""Every setting of the application: one frozen class, read once from the environment and a `.env` file.

`load_settings()` is the only reader of the environment; `Settings(...)` takes what it is given and nothing else, so
that a test never picks up a stray variable. A field that is here is obeyed; one that is not built yet is not here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from app.choices import Fill, Language, LogFormat, SaslMechanism, SecurityProtocol, Start
from app.environment import Given, SettingsError, bad_value, find_keys, unknown_key
from app.setting_values import (
    AppId,
    Bytes,
    Count,
    ExistingFile,
    FunctionPath,
    KafkaUrls,
    LoopbackHost,
    ModuleName,
    Names,
    OptionalCount,
    OptionalWholeSeconds,
    Port,
    Seconds,
    SecondsOrZero,
    TopicName,
    TopicNames,
    WholeNumber,
)

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["PREFIX", "Settings", "SettingsError", "load_settings"]

PREFIX: Final = "AGG_"

_SAID_BETTER: Final = {
    "bool_parsing": "must be true or false",
    "path_not_file": "must be the path of a file that exists",
    "zoneinfo_str": "must be an IANA time zone, such as Asia/Shanghai",
}


def _setting(default: object, en: str, zh: str) -> Any:
    """A field with its default (or what computes it from the fields before it) and its line in both READMEs."""
    if callable(default):
        return Field(default_factory=default, description=en, json_schema_extra={"zh": zh})
    return Field(default=default, description=en, json_schema_extra={"zh": zh})


class Settings(BaseSettings):
    """The settings; a field `name` is the key `AGG_NAME`. Times are seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True
    )

    # What comes in
    source_topics: TopicNames = _setting(
        ("SCHEDULE-STATION-REALTIME-DATA",), "Source topics, comma-separated", "源主题，逗号分隔"
    )
    envelope_keys: Names = _setting(
        (),
        "More keys under which a source message may hold its records, comma-separated; tried after the topic's name "
        "and `realTimeData`",
        "源消息中存放记录的其他键，逗号分隔；在主题名和 `realTimeData` 之后尝试",
    )
    timezone: ZoneInfo = _setting(
        ZoneInfo("Asia/Shanghai"),
        "Time zone of times that come without one, and of `sendTime` in `module_input`",
        "未带时区的时间及 `module_input` 中 `sendTime` 的时区",
    )

    # What the callback gets
    fill: Fill = _setting(Fill.ZERO, "What stands where no record gave a value", "没有记录给出数值处的填充方式")
    window_step: OptionalWholeSeconds = _setting(
        None,
        "Step of the time window: missing time points in it are inserted",
        "时间窗口的步长：窗口内缺失的时间点会被补上",
    )
    window_size: OptionalCount = _setting(
        None,
        "Time points of the window, back from the latest; needs `AGG_WINDOW_STEP`",
        "窗口的时间点数，从最新的往前数；需要 `AGG_WINDOW_STEP`",
    )

    # The user's functions
    callback: FunctionPath | None = _setting(
        None,
        "The model, `package.module:function`, called as `callback(station_id, module_input)`; a worker needs it",
        "模型函数 `package.module:function`，以 `callback(station_id, module_input)` 调用；worker 必须设置",
    )
    concurrency: Count = _setting(64, "Callbacks that run at once in a worker", "一个 worker 同时运行的回调数")
    station_timeout: Seconds = _setting(
        30.0,
        "Longest run of a station's callback; then the station is failed",
        "单个场站回调的最长运行时间；超过则该场站失败",
    )
    overtime_max: WholeNumber = _setting(
        64,
        "Callbacks that may run on after their batch's deadline, besides `AGG_CONCURRENCY`; more cancel the oldest",
        "在 `AGG_CONCURRENCY` 之外，超过批次截止时间后仍可继续运行的回调数；再多则取消最早的",
    )
    result_handler: FunctionPath | None = _setting(
        None,
        "`package.module:function`, called as `result_handler(batch_id, batch_results_list)`: what it returns is "
        "published; not set: the default payload",
        "`package.module:function`，以 `result_handler(batch_id, batch_results_list)` 调用，发布其返回值；"
        "不设置则用默认格式",
    )
    handler_timeout: Seconds = _setting(
        30.0, "Longest run of one call of the result handler", "结果处理函数单次调用的最长时间"
    )
    handler_retries: WholeNumber = _setting(
        3, "Further calls of a result handler that failed", "结果处理函数失败后的重试次数"
    )

    # What goes out
    module: ModuleName = _setting("load_prediction", "Name of the module in the output", "输出中的模块名")
    output_topic: TopicName = _setting(
        lambda earlier: f"MODULE-OUTPUT-{earlier['module'].upper()}",
        "Output topic; default: `MODULE-OUTPUT-` and `AGG_MODULE` in upper case",
        "输出主题；默认为 `MODULE-OUTPUT-` 加大写的 `AGG_MODULE`",
    )
    output_meta: bool = _setting(
        True,
        "Whether output messages carry `meta`; `false` for strict consumers",
        "输出消息是否带 `meta`；消费方要求严格时设为 `false`",
    )
    max_message_bytes: Bytes = _setting(
        16 * 2**20, "Largest message; a larger output goes out in parts", "单条消息的最大字节数；更大的输出会分段发送"
    )

    # Batches
    batch_timeout: Seconds = _setting(5.0, "From the opening of a batch to its deadline", "批次从建立到截止的时间")
    max_batch_age: Seconds = _setting(
        60.0, "A batch's deadline never moves beyond this age", "批次截止时间最多推迟到这个时长"
    )
    closed_ttl: Seconds = _setting(
        3600.0, "How long a closed batch is remembered, to tell late results", "已关闭批次的保留时间，用于识别迟到结果"
    )
    closed_max: Count = _setting(
        100_000, "Closed batches that a worker remembers at most", "一个 worker 最多保留的已关闭批次数"
    )

    # Topics
    partitions: Count = _setting(
        8,
        "Partitions of the topics that the application creates: its workers scale up to this count",
        "应用所建主题的分区数，也是 worker 数的上限",
    )
    replication_factor: Count = _setting(
        1, "Replicas of the topics that the application creates", "应用所建主题的副本数"
    )
    start: Start = _setting(
        Start.EARLIEST, "Where reading begins when nothing is committed yet", "尚无已提交位移时从哪里开始读"
    )
    app_id: AppId = _setting(
        lambda earlier: f"batch-aggregator-{earlier['module'].replace('_', '-')}",
        "Workers of one app id share the work; default: `batch-aggregator-` and `AGG_MODULE` with `_` as `-`",
        "同一 app id 的 worker 分担工作；默认为 `batch-aggregator-` 加 `AGG_MODULE`（`_` 换成 `-`）",
    )

    # The broker
    broker: KafkaUrls = _setting(
        "kafka://127.0.0.1:9092",
        "Kafka brokers to begin with, `kafka://host:port`, separated by `;`",
        "Kafka 地址 `kafka://host:port`，用 `;` 分隔",
    )
    broker_patience: SecondsOrZero = _setting(
        60.0,
        "A broker that is away for less is waited for; beyond it the worker ends with exit code 1",
        "Kafka 不可用时最多等待的时间；超过则 worker 以退出码 1 结束",
    )
    security_protocol: SecurityProtocol = _setting(
        SecurityProtocol.PLAINTEXT, "Protection of the connection to Kafka", "与 Kafka 连接的安全协议"
    )
    sasl_mechanism: SaslMechanism = _setting(SaslMechanism.PLAIN, "How the password is proved", "SASL 认证机制")
    sasl_username: str | None = _setting(None, "User name, with `SASL_*`", "用户名，用于 `SASL_*`")
    sasl_password: SecretStr | None = _setting(None, "Password, with `SASL_*`", "密码，用于 `SASL_*`")
    ssl_cafile: ExistingFile | None = _setting(
        None,
        "File of the certificate authority, with `*SSL`; not set: the system's",
        "CA 证书文件，用于 `*SSL`；不设置则用系统的",
    )
    ssl_certfile: ExistingFile | None = _setting(
        None, "File of the client's certificate, with `*SSL`", "客户端证书文件，用于 `*SSL`"
    )
    ssl_keyfile: ExistingFile | None = _setting(
        None,
        "File of the client's private key, when it is not in `AGG_SSL_CERTFILE`",
        "客户端私钥文件，私钥不在 `AGG_SSL_CERTFILE` 中时设置",
    )

    # Log and web
    log_language: Language = _setting(Language.EN, "Language of log lines", "日志语言")
    log_format: LogFormat = _setting(LogFormat.TEXT, "Shape of log lines", "日志格式")
    web_host: LoopbackHost = _setting(
        "127.0.0.1", "Address on which the dashboard is served; loopback only", "看板监听的地址；仅限本机回环地址"
    )
    web_port: Port = _setting(6066, "Port of the dashboard; 0: a free one", "看板端口；0 表示任选空闲端口")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - given by keyword
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the constructor is given: `load_settings` reads the rest, where it can check the keys."""
        return (init_settings,)

    # A check across fields stands on the later field and looks at the earlier ones. Pydantic runs a check of the whole
    # model only when every field is good, and all problems are to be told at once.

    @field_validator("window_size")
    @classmethod
    def _window_needs_a_step(cls, size: int | None, info: ValidationInfo) -> int | None:
        if size is not None and info.data.get("window_step", ...) is None:
            message = "must not be given without AGG_WINDOW_STEP"
            raise ValueError(message)
        return size

    @field_validator("max_batch_age")
    @classmethod
    def _age_covers_the_timeout(cls, age: float, info: ValidationInfo) -> float:
        timeout = info.data.get("batch_timeout", 0.0)
        if timeout > age:
            message = f"must be at least AGG_BATCH_TIMEOUT, which is {timeout:g}"
            raise ValueError(message)
        return age

    @field_validator("output_topic")
    @classmethod
    def _output_is_no_source(cls, topic: str, info: ValidationInfo) -> str:
        if topic in info.data.get("source_topics", ()):
            message = "must not be one of AGG_SOURCE_TOPICS: the application would read its own output"
            raise ValueError(message)
        return topic

    @field_validator("app_id")
    @classmethod
    def _internal_topics_are_its_own(cls, app_id: str, info: ValidationInfo) -> str:
        given = (*info.data.get("source_topics", ()), *filter(None, [info.data.get("output_topic")]))
        if taken := [topic for topic in given if _is_internal(topic, app_id)]:
            message = (
                f"must not make an internal topic of one that AGG_SOURCE_TOPICS or AGG_OUTPUT_TOPIC names: {taken[0]}"
            )
            raise ValueError(message)
        return app_id

    @field_validator("sasl_username", "sasl_password")
    @classmethod
    def _given_when_logging_in(cls, value: str | SecretStr | None, info: ValidationInfo) -> str | SecretStr | None:
        protocol = info.data.get("security_protocol")
        if protocol is not None and protocol.authenticated != (value is not None):
            expected = "be given" if value is None else "not be given"
            message = f"must {expected} with AGG_SECURITY_PROTOCOL={protocol}"
            raise ValueError(message)
        return value

    @field_validator("ssl_cafile", "ssl_certfile", "ssl_keyfile")
    @classmethod
    def _only_with_tls(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        protocol = info.data.get("security_protocol")
        if file is not None and protocol is not None and not protocol.encrypted:
            message = f"must not be given with AGG_SECURITY_PROTOCOL={protocol}"
            raise ValueError(message)
        if file is not None and info.field_name == "ssl_keyfile" and info.data.get("ssl_certfile", ...) is None:
            message = "must not be given without AGG_SSL_CERTFILE"
            raise ValueError(message)
        return file

    @property
    def station_events_topic(self) -> str:
        """Internal topic from the splitter to the station agents."""
        return _internal_topics(self.app_id)[0]

    @property
    def batch_events_topic(self) -> str:
        """Internal topic that is the log of every batch, read by the aggregator."""
        return _internal_topics(self.app_id)[1]

    @property
    def late_topic(self) -> str:
        """Topic of outcomes that came after their batch was closed."""
        return _internal_topics(self.app_id)[2]

    @property
    def dead_letter_topic(self) -> str:
        """Topic of what could not be processed."""
        return _internal_topics(self.app_id)[3]

    @property
    def bootstrap_servers(self) -> list[str]:
        """`host:port` of each broker, as Kafka clients take them."""
        return [url.removeprefix("kafka://") for url in self.broker.split(";")]


def _internal_topics(app_id: str) -> tuple[str, str, str, str]:
    return f"{app_id}-station-events", f"{app_id}-batch-events", f"{app_id}-late", f"{app_id}-dead-letter"


def _is_internal(topic: str, app_id: str) -> bool:
    changelog = topic.startswith(f"{app_id}-") and topic.endswith("-changelog")
    return changelog or topic in _internal_topics(app_id)


def load_settings(environ: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")) -> Settings:
    """The settings from `environ` (default: the process's) over those in `env_file`, which need not exist.

    An empty value is the same as none. Values in the file are taken as they stand: nothing like `${HOME}` is replaced.

    Raises:
        SettingsError: A key is unknown, a value is bad, or the file cannot be read. It tells all problems at once.
    """
    keys = {PREFIX + name.upper(): name for name in Settings.model_fields}
    found, problems = find_keys(PREFIX, os.environ if environ is None else environ, env_file)
    problems += [unknown_key(PREFIX, key, given, keys) for key, given in found.items() if key not in keys]

    source = EnvSettingsSource(Settings)
    source.env_vars = {key.lower(): found[key].text for key in keys if key in found}
    try:
        settings = Settings(**source())
    except ValidationError as error:
        problems += [_problem(detail, found) for detail in error.errors() if _is_own_problem(detail)]
    if problems:
        raise SettingsError(problems)
    return settings


def _is_own_problem(detail: ErrorDetails) -> bool:
    """False for a default that could not be computed since a field before it is bad: that one is told already."""
    return detail["type"] != "default_factory_not_called"


def _problem(detail: ErrorDetails, found: Mapping[str, Given]) -> str:
    name = str(detail["loc"][0])
    cause = detail.get("ctx", {}).get("error")
    said = _SAID_BETTER.get(detail["type"]) or detail["msg"].replace("Input should", "must", 1)
    secret = SecretStr in get_args(Settings.model_fields[name].annotation)
    key = PREFIX + name.upper()
    return bad_value(key, found.get(key), default=detail["input"], allowed=str(cause or said), secret=secret)
