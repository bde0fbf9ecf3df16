"""The application's own topics, and the broker."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr, ValidationInfo, field_validator

from app.settings.batches import BatchSettings
from app.settings.enums import SaslMechanism, SecurityProtocol, Start
from app.settings.model import setting
from app.settings.types import AppId, Count, ExistingFile, KafkaUrls, SecondsOrZero

__all__ = ["KafkaSettings"]

_TOPIC_KEYS = ("source_topics", "passthrough_topics", "context_topics")


class KafkaSettings(BatchSettings):
    """Names and sizes of topics, and how the broker is reached."""

    partitions: Count = setting(
        8,
        "Partitions of the topics that the application creates: its workers scale up to this count",
        "应用所建主题的分区数，也是 worker 数的上限",
    )
    replication_factor: Count = setting(
        1, "Replicas of the topics that the application creates", "应用所建主题的副本数"
    )
    start: Start = setting(
        Start.EARLIEST, "Where reading begins when nothing is committed yet", "尚无已提交位移时从哪里开始读"
    )
    app_id: AppId = setting(
        lambda earlier: f"batch-aggregator-{earlier['module'].replace('_', '-')}",
        "Workers of one app id share the work; default: `batch-aggregator-` and `AGG_MODULE` with `_` as `-`",
        "同一 app id 的 worker 分担工作；默认为 `batch-aggregator-` 加 `AGG_MODULE`（`_` 换成 `-`）",
    )

    broker: KafkaUrls = setting(
        "kafka://127.0.0.1:9092",
        "Kafka brokers to begin with, `kafka://host:port`, separated by `;`",
        "Kafka 地址 `kafka://host:port`，用 `;` 分隔",
    )
    broker_patience: SecondsOrZero = setting(
        60.0,
        "A broker that is away for less is waited for; beyond it the worker ends with exit code 1",
        "Kafka 不可用时最多等待的时间；超过则 worker 以退出码 1 结束",
    )
    security_protocol: SecurityProtocol = setting(
        SecurityProtocol.PLAINTEXT, "Protection of the connection to Kafka", "与 Kafka 连接的安全协议"
    )
    sasl_mechanism: SaslMechanism = setting(SaslMechanism.PLAIN, "How the password is proved", "SASL 认证机制")
    sasl_username: str | None = setting(None, "User name, with `SASL_*`", "用户名，用于 `SASL_*`")
    sasl_password: SecretStr | None = setting(None, "Password, with `SASL_*`", "密码，用于 `SASL_*`")
    ssl_cafile: ExistingFile | None = setting(
        None,
        "File of the certificate authority, with `*SSL`; not set: the system's",
        "CA 证书文件，用于 `*SSL`；不设置则用系统的",
    )
    ssl_certfile: ExistingFile | None = setting(
        None, "File of the client's certificate, with `*SSL`", "客户端证书文件，用于 `*SSL`"
    )
    ssl_keyfile: ExistingFile | None = setting(
        None,
        "File of the client's private key, when it is not in `AGG_SSL_CERTFILE`",
        "客户端私钥文件，私钥不在 `AGG_SSL_CERTFILE` 中时设置",
    )

    @field_validator("app_id")
    @classmethod
    def _internal_topics_are_its_own(cls, app_id: str, info: ValidationInfo) -> str:
        given = [topic for key in _TOPIC_KEYS for topic in info.data.get(key, ())] + [info.data.get("output_topic", "")]
        if taken := [topic for topic in given if _is_internal(topic, app_id)]:
            message = f"must not make an internal topic of one that another setting names: {taken[0]}"
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
    def replayed_topic(self) -> str:
        """Topic that remembers which dead letters have been replayed."""
        return _internal_topics(self.app_id)[4]

    @property
    def bootstrap_servers(self) -> list[str]:
        """`host:port` of each broker, as Kafka clients take them."""
        return [url.removeprefix("kafka://") for url in self.broker.split(";")]


def _internal_topics(app_id: str) -> list[str]:
    return [f"{app_id}-{name}" for name in ("station-events", "batch-events", "late", "dead-letter", "replayed")]


def _is_internal(topic: str, app_id: str) -> bool:
    changelog = topic.startswith(f"{app_id}-") and topic.endswith("-changelog")
    return changelog or topic in _internal_topics(app_id)
