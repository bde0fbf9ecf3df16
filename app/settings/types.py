"""The types of single settings, each with its check and its unit.

A check raises a ValueError whose text begins with "must". The text is shown behind the key and the value found.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from app.words import Words, words
from tables.storage.window import MAX_POINTS, Span

_YEAR: Final = 366 * 24 * 3600
_KAFKA_PORT: Final = 9092
LARGEST_RECORD: Final = 60 * 2**20  # what the internal topics take, less a frame
_TOPIC: Final = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9._-]{1,249}")
UTF8_RULE: Final = words("must be UTF-8 text", "必须是 UTF-8 文本")
WEB_URL_RULE: Final = words(
    "must be http://host:port or https://host:port", "必须为 http://host:port 或 https://host:port"
)
TOPIC_RULE: Final = words(
    "must be a Kafka topic name: 1 to 249 of A-Z a-z 0-9 . _ -",
    "必须是 Kafka 主题名：1 到 249 个 A-Z a-z 0-9 . _ - 字符",
)
# Kafka allows a topic 249 characters; what Faust and we append to the id (`-batches-changelog`) must fit.
_APP_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,200}")
# Kafka's rule for names of group members.
_INSTANCE_ID: Final = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9._-]{1,249}")
_MODULE: Final = re.compile(r"[A-Za-z0-9_.-]{1,180}")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+")
_PATH: Final = re.compile(r"[!-~]*")  # of a URL
# What stands in examples in the place of a secret, without what is neither letter nor digit, in lower case.
_PLACEHOLDER: Final = re.compile(
    r"(change|replace|insert|enter|put|set|fill)(me|this|it|in|here|your).*"
    r"|(agg|my|your|the|a|web|read)*(own|random|long|secret|token|password|passwd|here)+"
    r"|.*(changeme|replaceme|placeholder).*"
    r"|(?P<same>.)(?P=same){2,}|1234?5?6?7?8?9?0?"
    r"|admin|default|example|none|null|test|testing|todo|tbd"
)
_TEMPLATE: Final = re.compile(r"<.*>|\[.*\]|.*(\$\{|\$\(|\{\{|%\().*")


CONTEXT_RULE: Final = words(
    "must be TOPIC (the newest record), TOPIC:2016 (the last points) or TOPIC:2h (a duration in s, m, h or d); a topic "
    "is 1 to 249 of A-Z a-z 0-9 . _ -",
    "必须是 TOPIC（最新记录）、TOPIC:2016（最近的点数）或 TOPIC:2h（时长，单位 s、m、h 或 d）；"
    "主题为 1 到 249 个 A-Z a-z 0-9 . _ -",
)
_WINDOW: Final = re.compile(r"([0-9]{1,9})([smhd])?")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DIGITS: Final = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of a number, as the settings tables print it."""

    en: str
    zh: str


def require(holds: object, otherwise: Words) -> None:
    """Raise a ValueError with the text `otherwise`, which is in both languages, unless a rule holds."""
    if not holds:
        raise ValueError(otherwise)


def is_utf8(text: str) -> bool:
    """Return whether a text can be written as UTF-8: not where it has bytes of another encoding, or half a character.

    Python reads such bytes of the environment and of the command line as lone surrogates.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def utf8_only(value: object) -> object:
    """Refuse a text, or one of a list, that is not UTF-8; what is neither stays as it is."""
    parts = value if isinstance(value, list | tuple | set | frozenset) else (value,)
    require(all(is_utf8(str(part)) for part in parts if isinstance(part, str | Path)), UTF8_RULE)
    return value


def is_address(host: str) -> bool:
    """Return whether a host is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether only programs of the same machine reach a server on this host."""
    return host.lower() == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_placeholder(secret: str) -> bool:
    """Return whether a secret is one that everybody knows: what examples have in its place, such as `change-me`."""
    bare = re.sub(r"[^a-z0-9]", "", secret.lower())
    return not bare or bool(_PLACEHOLDER.fullmatch(bare) or _TEMPLATE.fullmatch(secret))


def is_topic(name: str) -> bool:
    """Return whether Kafka takes a text as the name of a topic."""
    return _TOPIC.fullmatch(name) is not None


def topic_name(name: str) -> str:
    """Return the name of a topic; raises ValueError where Kafka does not take it."""
    require(is_topic(name), TOPIC_RULE)
    return name


def _topics(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        require(is_topic(name), words("{name!r} {rule}", "{name!r} {rule}", name=name, rule=TOPIC_RULE))
    return names


def _at_least_one(names: tuple[str, ...]) -> tuple[str, ...]:
    require(names, words("must name at least one topic", "必须至少有一个主题"))
    return names


def parse_context(spec: str) -> tuple[str, Span | None]:
    """Return the topic of a `TOPIC`, `TOPIC:2016` or `TOPIC:2h`, and the span of its window; None: the newest record.

    Raises:
        ValueError: It is none of these.
    """
    name, colon, window = spec.partition(":")
    found = _WINDOW.fullmatch(window.strip()) if colon else None
    count, unit = (int(found[1]), found[2]) if found else (0, None)
    seconds = count * _UNITS.get(unit or "", 0)
    require(
        is_topic(name) and (found or not colon),
        words("{spec!r} {rule}", "{spec!r} {rule}", spec=spec, rule=CONTEXT_RULE),
    )
    if not found:
        return name, None
    if unit is None:
        require(
            1 <= count <= MAX_POINTS,
            words(
                "{spec!r} must have 1 to {most} points", "{spec!r} 必须有 1 到 {most} 个点", spec=spec, most=MAX_POINTS
            ),
        )
        return name, Span(points=count)
    require(
        1 <= seconds <= _YEAR,
        words("{spec!r} must be a window of 1 s to 366 d", "{spec!r} 必须是 1 s 到 366 d 的窗口", spec=spec),
    )
    return name, Span(seconds=seconds)


def _context(specs: tuple[str, ...]) -> tuple[str, ...]:
    names = [parse_context(spec)[0] for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(
        not twice,
        words("must name a topic once: {topic}", "每个主题只能出现一次：{topic}", topic="".join(twice[:1])),
    )
    return specs


def parse_step(spec: str) -> tuple[str | None, int]:
    """Return the topic and the seconds of a `300` or `TOPIC:300`; None: of all other topics.

    Raises:
        ValueError: It is neither.
    """
    name, colon, seconds = spec.rpartition(":")
    good = (is_topic(name) or not colon) and _DIGITS.fullmatch(seconds) and 1 <= int(seconds) <= _YEAR
    require(
        good,
        words(
            "{spec!r} must be whole seconds, such as 300, or those of a topic, such as TOPIC:300",
            "{spec!r} 必须是整数秒（如 300），或某个主题的（如 TOPIC:300）",
            spec=spec,
        ),
    )
    return name or None, int(seconds)


def _steps(specs: tuple[str, ...]) -> tuple[str, ...]:
    names = [parse_step(spec)[0] for spec in specs]
    require(
        len({*names}) == len(names),
        words("must give one step for each topic, and one for all others", "每个主题只能有一个步长，其余主题共用一个"),
    )
    return specs


def _split_numbers(value: object) -> object:
    """Split as `_split`; a single whole number, as a program gives it, is one of its own."""
    return (str(value),) if type(value) is int else _split(value)


def _split(value: object) -> object:
    """Turn `a, b,a` into ("a", "b"), without blanks and repeats; what is not text stays as it is."""
    if not isinstance(value, str):
        return value
    return tuple(dict.fromkeys(name for part in value.split(",") if (name := part.strip())))


def _app_id(name: str) -> str:
    require(
        _APP_ID.fullmatch(name),
        words(
            "must be 1 to 200 of A-Z a-z 0-9 . _ - (it begins the names of topics)",
            "必须是 1 到 200 个 A-Z a-z 0-9 . _ - 字符（它是主题名的开头）",
        ),
    )
    return name


def _instance_id(name: str) -> str:
    name = name.replace("{hostname}", socket.gethostname())
    require(
        _INSTANCE_ID.fullmatch(name),
        words(
            "must be 1 to 249 of A-Z a-z 0-9 . _ - ({{hostname}} may be part of it)",
            "必须是 1 到 249 个 A-Z a-z 0-9 . _ - 字符（可包含 {{hostname}}）",
        ),
    )
    return name


def _module(name: str) -> str:
    require(
        _MODULE.fullmatch(name),
        words(
            "must be 1 to 180 of A-Z a-z 0-9 _ . - (it ends the names of topics)",
            "必须是 1 到 180 个 A-Z a-z 0-9 _ . - 字符（它是主题名的结尾）",
        ),
    )
    return name


def is_function_path(text: str) -> bool:
    """Tell whether a text is `package.module:function`; the part behind the colon may be dotted, too.

    A module that is called `py` is not one: somebody has written the name of a file.
    """
    module, _, function = text.partition(":")
    names = (*module.split("."), *function.split("."))
    return all(map(str.isidentifier, names)) and not module.endswith(".py")


def spelling_hint(spec: str) -> Words:
    """Say what to write in place of a path of a file, a dot for the colon, or another slip."""
    given = spec.strip().strip("\"'").replace("：", ":").replace("\\", "/")
    place, colon, function = given.removesuffix("()").rpartition(":")
    if not colon or "/" in function:  # no function; the colon, if any, is a drive's
        place, function = given.removesuffix("()"), ""
    if not colon and "/" not in place and not place.endswith(".py"):
        place, _, function = place.rpartition(".")
    names = [name for name in place.rstrip(":").removesuffix(".py").split("/") if name not in ("", ".")]
    is_elsewhere = given.startswith(("/", "~")) or ".." in names or ":" in place.rstrip(":")
    module = ".".join(names[-1:] if is_elsewhere else names)
    guess = f"{module}:{function.strip() or 'callback'}"
    if guess.count(":") > 1 or not all(name.isidentifier() for name in re.split("[.:]", guess)):
        return words(
            "write the module, a colon and the function's name, such as models.load:callback",
            "请写模块名、冒号和函数名，例如 models.load:callback",
        )
    if function:
        hint = words("write {guess}", "请写 {guess}", guess=guess)
    else:
        hint = words(
            "write {guess}, with your function's name behind the colon", "请写 {guess}，冒号后为函数名", guess=guess
        )
    if not is_elsewhere:
        return hint
    folder = place.rpartition("/")[0] or "/"
    return words(
        "{hint}, and put {folder} on PYTHONPATH", "{hint}，并把 {folder} 加入 PYTHONPATH", hint=hint, folder=folder
    )


def _function_path(path: str) -> str:
    if not is_function_path(path):
        message = words(
            "must be package.module:function; {hint}",
            "必须为 package.module:function；{hint}",
            hint=spelling_hint(path),
        )
        raise ValueError(message)
    return path


def _host(host: str) -> str:
    require(
        is_address(host) or _HOST.fullmatch(host),
        words("must be an IP address or the name of a host", "必须是 IP 地址或主机名"),
    )
    return host


def _file(path: Path) -> Path:
    try:
        is_file = path.is_file()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        reason = error.strerror or repr(error)
        message = words(
            "must be the path of a file that exists: {reason}", "必须是现有文件的路径：{reason}", reason=reason
        )
        raise ValueError(message) from error
    require(is_file, words("must be the path of a file that exists", "必须是现有文件的路径"))
    return path


def web_url(text: str, *, prefix: bool = False) -> str:
    """Return `http(s)://host[:port]` without a slash at the end, its host as it stands in the header of a request.

    Args:
        text: the URL, as somebody has written it.
        prefix: a path may follow, as of a proxy.

    Raises:
        ValueError: it is no such URL.
    """
    try:
        url = urlsplit(text)
        host = _host_in_url(_in_ascii(url.hostname or ""))
        port = "" if url.port is None else f":{url.port}"
        path = url.path.rstrip("/")
        may_be = _PATH.fullmatch(path) if prefix else not path
        good = url.scheme in {"http", "https"} and url.port != 0 and may_be and _has_nothing_else(url)
    except ValueError:
        good = False
    require(good, WEB_URL_RULE)
    return f"{url.scheme}://{host}{port}{path}"


def _base_url(text: str) -> str:
    return web_url(text)


def _in_ascii(host: str) -> str:
    """Return a host as HTTP clients send it, a name in other letters as punycode; raises ValueError where it has none.

    A request with the name itself does not come; the `Host` header of the one that comes is compared with this.
    """
    if host.isascii():
        return host
    from yarl import URL  # noqa: PLC0415 - the workers' own client has it; hardly any host needs it

    return URL.build(scheme="http", host=host).raw_host or ""


def _host_in_url(host: str) -> str:
    """Return a host as it stands in a URL, an address of IPv6 in brackets; raises ValueError where it is none."""
    if ":" in host:
        return f"[{ipaddress.IPv6Address(host)}]"
    if not _HOST.fullmatch(host):
        raise ValueError(host)
    return host


def _has_nothing_else(url: SplitResult) -> bool:
    """Return whether a URL has no credentials, no query and no fragment."""
    return not ("@" in url.netloc or url.query or url.fragment)


def _kafka_urls(text: str) -> str:
    try:
        urls = [_kafka_url(part.strip()) for part in text.split(";") if part.strip()]
    except ValueError:
        urls = []
    require(
        urls,
        words(
            "must be kafka://host:port, several separated by ; (a name and a password go into AGG_SASL_*)",
            "必须为 kafka://host:port，多个用 ; 分隔（用户名和密码写在 AGG_SASL_* 中）",
        ),
    )
    return ";".join(dict.fromkeys(urls))


def _kafka_url(text: str) -> str:
    """Return `kafka://host:port` of one broker, which is given with or without scheme and port; raises ValueError."""
    url = urlsplit(text if "://" in text else f"kafka://{text}")
    host, port = _host_in_url(url.hostname or ""), _KAFKA_PORT if url.port is None else url.port
    if url.scheme != "kafka" or not port or url.path.strip("/") or not _has_nothing_else(url):
        raise ValueError(text)
    return f"kafka://{host}:{port}"


Seconds = Annotated[float, Field(gt=0, le=_YEAR, allow_inf_nan=False), Unit("s", "秒")]
SecondsOrZero = Annotated[float, Field(ge=0, le=_YEAR, allow_inf_nan=False), Unit("s", "秒")]
Retention = Annotated[int, Field(ge=3600, le=_YEAR), Unit("s", "秒")]
OptionalWholeSeconds = Annotated[int | None, Field(gt=0, le=_YEAR), Unit("s", "秒")]
Bytes = Annotated[int, Field(ge=1024, le=2**30), Unit("bytes", "字节")]
RecordBytes = Annotated[int, Field(ge=1024, le=LARGEST_RECORD), Unit("bytes", "字节")]
Count = Annotated[int, Field(gt=0, le=2**31 - 1)]
WholeNumber = Annotated[int, Field(ge=0, le=2**31 - 1)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
PositiveShare = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65535)]
ModuleName = Annotated[str, AfterValidator(_module)]
AppId = Annotated[str, AfterValidator(_app_id)]
InstanceId = Annotated[str, AfterValidator(_instance_id)]
TopicName = Annotated[str, AfterValidator(topic_name)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
OptionalTopicNames = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_topics)]
TopicNames = Annotated[OptionalTopicNames, AfterValidator(_at_least_one)]
ContextTopics = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_context)]
ContextSteps = Annotated[tuple[str, ...], BeforeValidator(_split_numbers), AfterValidator(_steps), Unit("s", "秒")]
FunctionPath = Annotated[str, AfterValidator(_function_path)]
KafkaUrls = Annotated[str, AfterValidator(_kafka_urls)]
Host = Annotated[str, AfterValidator(_host)]
Url = Annotated[str, AfterValidator(_base_url)]
File = Annotated[Path, AfterValidator(_file)]
