"""What settings must be beside each other, and beside what is installed: a check stands on the last of its fields.

Each is a validator of pydantic: it gets the field's value and those before it (`info.data`; one that is not there was
refused by itself, and is not complained about twice), returns the value, and raises ValueError with the words for it.
"""

from __future__ import annotations

import math
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pydantic import SecretStr, ValidationInfo

from app.settings import enums, types
from app.settings.types import is_loopback, is_placeholder, require
from app.words import Words, words
from tables.storage.window import MAX_POINTS

_SOURCE_KEYS: Final = ("source_topics", "passthrough_topics")
# The properties `…_topic` of Settings add these to the app id.
_INTERNAL_TOPICS: Final = ("station-events", "batch-events", "late", "dead-letter", "replayed")
_OPENTELEMETRY: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
_NUMPY: Final = "numpy"
_TOKEN: Final = re.compile(r"[!-~]+")


def context_is_nothing_else(topics: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """Require that no context topic is a source or a pass-through topic, too."""
    for key in _SOURCE_KEYS:
        both = {types.parse_context(spec)[0] for spec in topics}.intersection(info.data.get(key, ()))
        require(
            not both,
            words(
                "must not name a topic that AGG_{key} names: {topic}",
                "不得包含 AGG_{key} 中已有的主题：{topic}",
                key=key.upper(),
                topic=min(both, default=""),
            ),
        )
    return topics


def steps_are_of_windows(steps: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """Require that each step has its window, and none makes more points than one may have."""
    windows = {name for name, span in map(types.parse_context, info.data.get("context_topics", ())) if span}
    given = "context_topics" not in info.data
    for topic in [topic for topic, _ in map(types.parse_step, steps) if topic is not None]:
        require(
            given or topic in windows,
            words(
                "must not name a topic without a window in AGG_CONTEXT_TOPICS: {topic}",
                "不得包含在 AGG_CONTEXT_TOPICS 中没有窗口的主题：{topic}",
                topic=topic,
            ),
        )
    require(
        given or windows or not steps,
        words(
            "must not be given without a window in AGG_CONTEXT_TOPICS",
            "AGG_CONTEXT_TOPICS 中没有窗口时不得设置",
        ),
    )
    by_topic = dict(map(types.parse_step, steps))
    for topic, span in map(types.parse_context, info.data.get("context_topics", ())):
        step = by_topic.get(topic, by_topic.get(None))
        seconds = span.seconds if span is not None else None
        require(
            step is None or seconds is None or seconds // step < MAX_POINTS,
            words(
                "must not make more than {most} points of a window: {topic} would have {n}",
                "窗口的点数不得超过 {most}：{topic} 会有 {n} 个",
                most=MAX_POINTS,
                topic=topic,
                n=(seconds or 0) // (step or 1),
            ),
        )
    return steps


def window_has_a_step(size: int | None, info: ValidationInfo) -> int | None:
    """Require a step where the window has a size."""
    has_step = info.data.get("window_step", ...) is not None
    require(
        size is None or has_step,
        words("must not be given without AGG_WINDOW_STEP", "未设置 AGG_WINDOW_STEP 时不得设置"),
    )
    return size


def arrays_have_numpy(form: enums.InputForm) -> enums.InputForm:
    """Require that numpy is installed where the columns are its arrays."""
    require(
        form is not enums.InputForm.NUMPY or _is_installed(_NUMPY),
        words(
            "must be lists unless the extra `numpy` is installed: pip install {package}",
            "未安装附加依赖 `numpy` 时必须为 lists：pip install {package}",
            package="numpy",
        ),
    )
    return form


def there_is_one_callback(path: str | None, info: ValidationInfo) -> str | None:
    """Require that there is no callback for one station beside one for many."""
    both = path is not None and info.data.get("callback") is not None
    require(
        not both,
        words("must not be given with AGG_CALLBACK: it takes its place", "不得与 AGG_CALLBACK 同时设置：二者只取其一"),
    )
    return path


def output_is_no_source(topic: str, info: ValidationInfo) -> str:
    """Require that the output topic is not read."""
    for key in _SOURCE_KEYS:
        is_source = topic in info.data.get(key, ())
        require(
            not is_source,
            words(
                "must not be one of AGG_{key}: the application would read its own output",
                "不得是 AGG_{key} 之一：否则应用会读取自己的输出",
                key=key.upper(),
            ),
        )
    return topic


def age_covers_the_timeout(age: float, info: ValidationInfo) -> float:
    """Require that a batch may live as long as its timeout."""
    _require_at_least(age, "batch_timeout", info)
    return age


def timeout_is_within_the_age(timeout: float, info: ValidationInfo) -> float:
    """Require that the bounds of adaptive timeouts are in order, and within a batch's age."""
    longest = info.data.get("max_batch_age", math.inf)
    require(
        timeout <= longest,
        words(
            "must be at most AGG_MAX_BATCH_AGE, which is {most:g}",
            "不得大于 AGG_MAX_BATCH_AGE，即 {most:g}",
            most=longest,
        ),
    )
    _require_at_least(timeout, "timeout_min", info)
    return timeout


def release_is_publishable(share: float | None, info: ValidationInfo) -> float | None:
    """Require that what is released early is not discarded for its size."""
    if share is not None:
        _require_at_least(share, "partial_min_ratio", info)
    return share


def internal_topics_are_nothing_else(app_id: str, info: ValidationInfo) -> str:
    """Require that no other setting names a topic of the application's own."""
    given = [topic for key in _SOURCE_KEYS for topic in info.data.get(key, ())]
    given += [types.parse_context(spec)[0] for spec in info.data.get("context_topics", ())]
    taken = [topic for topic in (*given, info.data.get("output_topic", "")) if _is_internal(topic, app_id)]
    require(
        not taken,
        words(
            "must not make an internal topic of one that another setting names: {topic}",
            "不得使其他设置中的主题成为内部主题：{topic}",
            topic="".join(taken[:1]),
        ),
    )
    return app_id


def login_is_given_where_it_is_used(value: str | SecretStr | None, info: ValidationInfo) -> str | SecretStr | None:
    """Require user and password with `SASL_*`, and only there."""
    protocol = info.data.get("security_protocol")
    fits = protocol is None or protocol.authenticated == (value is not None)
    wanted = words(
        "must be given with AGG_SECURITY_PROTOCOL={protocol}",
        "AGG_SECURITY_PROTOCOL={protocol} 时必须设置",
        protocol=protocol,
    )
    require(fits, wanted if value is None else _unwanted_with(protocol))
    return value


def files_are_used(file: Path | None, info: ValidationInfo) -> Path | None:
    """Require that certificates are given with `*SSL` only, and a private key with its certificate."""
    protocol = info.data.get("security_protocol")
    if file is not None:
        is_used = protocol is None or protocol.encrypted
        require(is_used, _unwanted_with(protocol))
        has_certificate = info.field_name != "ssl_keyfile" or info.data.get("ssl_certfile", ...) is not None
        require(
            has_certificate,
            words("must not be given without AGG_SSL_CERTFILE", "未设置 AGG_SSL_CERTFILE 时不得设置"),
        )
    return file


def tokens_fit_into_a_header(token: SecretStr | None) -> SecretStr | None:
    """Require what an HTTP header can carry."""
    fits = token is None or _TOKEN.fullmatch(token.get_secret_value())
    require(
        fits,
        words(
            "must be printable ASCII without blanks: it travels in an HTTP header",
            "必须是不含空白的可打印 ASCII 字符：它在 HTTP 头中传送",
        ),
    )
    return token


def open_web_has_a_token_of_its_own(token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    """Require that no token of an example guards a web that others reach."""
    host = info.data.get("web_host")
    is_open = host is not None and not is_loopback(host)
    require(
        token is None or not is_open or not is_placeholder(token.get_secret_value()),
        words(
            "must be a text of your own with AGG_WEB_HOST={host}, not one from an example: "
            "openssl rand -hex 16 makes one",
            "设置 AGG_WEB_HOST={host} 时必须是自己的文本，不能取自示例：可用 openssl rand -hex 16 生成",
            host=host,
        ),
    )
    return token


def open_web_has_a_token(token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    """Require a token where others reach the web, and that the two tokens differ."""
    host, read_token = info.data.get("web_host"), info.data.get("web_read_token", ...)
    may_do_without = host is None or is_loopback(host) or read_token is not None
    require(
        token is not None or may_do_without,
        words(
            "must be given with AGG_WEB_HOST={host}, or AGG_WEB_READ_TOKEN: only loopback may do without",
            "AGG_WEB_HOST={host} 时必须设置它或 AGG_WEB_READ_TOKEN：只有本机回环地址可以不设",
            host=host,
        ),
    )
    require(
        token is None or token != read_token,
        words(
            "must not be the same as AGG_WEB_READ_TOKEN: who has that may look, and not act",
            "不得与 AGG_WEB_READ_TOKEN 相同：后者只能查看，不能操作",
        ),
    )
    return token


def traces_have_opentelemetry(traces: bool) -> bool:
    """Require that OpenTelemetry is installed where batches are traced."""
    packages = "opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
    require(
        not traces or all(map(_is_installed, _OPENTELEMETRY)),
        words(
            "must be false unless the extra `traces` is installed: pip install {packages}",
            "未安装附加依赖 `traces` 时必须为 false：pip install {packages}",
            packages=packages,
        ),
    )
    return traces


def _require_at_least(value: float, name: str, info: ValidationInfo) -> None:
    """Require that a value is not below that of an earlier field."""
    least = info.data.get(name, 0.0)
    require(
        value >= least,
        words(
            "must be at least AGG_{key}, which is {least:g}",
            "不得小于 AGG_{key}，即 {least:g}",
            key=name.upper(),
            least=least,
        ),
    )


def _unwanted_with(protocol: enums.SecurityProtocol | None) -> Words:
    return words(
        "must not be given with AGG_SECURITY_PROTOCOL={protocol}",
        "AGG_SECURITY_PROTOCOL={protocol} 时不得设置",
        protocol=protocol,
    )


def _is_internal(topic: str, app_id: str) -> bool:
    is_changelog = topic.startswith(f"{app_id}-") and topic.endswith("-changelog")
    return is_changelog or topic in [f"{app_id}-{name}" for name in _INTERNAL_TOPICS]


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that the module would be in is not installed either
        return False
