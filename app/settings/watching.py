"""What people and machines see of a worker: log, web, metrics, traces."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec

from pydantic import SecretStr, ValidationInfo, field_validator

from app.settings.enums import Language, LogFormat
from app.settings.kafka import KafkaSettings
from app.settings.model import setting
from app.settings.types import Host, OptionalUrl, Port, WholeNumber, is_loopback

__all__ = ["WatchingSettings"]

_TOKEN = re.compile(r"[!-~]+")
_OPENTELEMETRY = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


class WatchingSettings(KafkaSettings):
    """The last step: all settings."""

    log_language: Language = setting(Language.EN, "Language of log lines", "日志语言")
    log_format: LogFormat = setting(LogFormat.TEXT, "Shape of log lines", "日志格式")
    web_host: Host = setting(
        "127.0.0.1",
        "Address on which the dashboard is served; any other than loopback needs `AGG_WEB_TOKEN`",
        "看板监听的地址；非本机回环地址需要 `AGG_WEB_TOKEN`",
    )
    web_port: Port = setting(6066, "Port of the dashboard; 0: a free one", "看板端口；0 表示任选空闲端口")
    web_token: SecretStr | None = setting(
        None,
        "Bearer token of dashboard and API, the same for all workers; without it there are no actions",
        "看板和 API 的 Bearer 令牌，所有 worker 相同；不设置则不能执行操作",
    )
    web_advertised_url: OptionalUrl = setting(
        None,
        "URL under which the other workers reach this one's web; default: made of host and port",
        "其他 worker 访问本 worker 网页的 URL；默认由地址和端口组成",
    )
    metrics_stations: WholeNumber = setting(
        200, "Stations that have metrics with their own label, at most", "带有单独标签指标的场站数上限"
    )
    traces: bool = setting(
        False,
        "Whether batches are traced with OpenTelemetry, which must be installed; `OTEL_*` say where spans go",
        "是否用 OpenTelemetry 跟踪批次（须已安装）；span 发往何处由 `OTEL_*` 决定",
    )

    @field_validator("traces")
    @classmethod
    def _traces_need_opentelemetry(cls, traces: bool) -> bool:
        if traces and not _is_installed(_OPENTELEMETRY):
            packages = "opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
            message = f"must be false unless the extra `traces` is installed: pip install {packages}"
            raise ValueError(message)
        return traces

    @field_validator("web_token")
    @classmethod
    def _open_web_has_a_token(cls, token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        host = info.data.get("web_host")
        if token is None and host is not None and not is_loopback(host):
            message = f"must be given with AGG_WEB_HOST={host}: only loopback may do without"
            raise ValueError(message)
        if token is not None and not _TOKEN.fullmatch(token.get_secret_value()):
            message = "must be printable ASCII without blanks: it travels in an HTTP header"
            raise ValueError(message)
        return token


def _is_installed(modules: Iterable[str]) -> bool:
    try:
        return all(find_spec(module) is not None for module in modules)
    except ModuleNotFoundError:  # not even what it is in
        return False
