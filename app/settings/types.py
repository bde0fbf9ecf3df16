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

_YEAR: Final = 366 * 24 * 3600
_KAFKA_PORT: Final = 9092
LARGEST_RECORD: Final = 60 * 2**20  # what the internal topics take, less a frame
_TOPIC: Final = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9._-]{1,249}")
TOPIC_RULE: Final = "must be a Kafka topic name: 1 to 249 of A-Z a-z 0-9 . _ -"
# Kafka allows a topic 249 characters; what Faust and we append to the id (`-batches-changelog`) must fit.
_APP_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,200}")
# Kafka's rule for names of group members.
_INSTANCE_ID: Final = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9._-]{1,249}")
_MODULE: Final = re.compile(r"[A-Za-z0-9_.-]{1,180}")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+")
# What stands in examples in the place of a secret, without what is neither letter nor digit, in lower case.
_PLACEHOLDER: Final = re.compile(
    r"(change|replace|insert|enter|put|set|fill)(me|this|it|in|here|your).*"
    r"|(agg|my|your|the|a|web|read)*(own|random|long|secret|token|password|passwd|here)+"
    r"|.*(changeme|replaceme|placeholder).*"
    r"|(?P<same>.)(?P=same){2,}|1234?5?6?7?8?9?0?"
    r"|admin|default|example|none|null|test|testing|todo|tbd"
)
_TEMPLATE: Final = re.compile(r"<.*>|\[.*\]|.*(\$\{|\$\(|\{\{|%\().*")


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of a number, as the settings tables print it."""

    en: str
    zh: str


def require(holds: object, otherwise: str) -> None:
    """Raise a ValueError with the text `otherwise` unless a rule holds."""
    if not holds:
        raise ValueError(otherwise)


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


def _topic(name: str) -> str:
    require(is_topic(name), TOPIC_RULE)
    return name


def _topics(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        require(is_topic(name), f"{name!r} {TOPIC_RULE}")
    return names


def _at_least_one(names: tuple[str, ...]) -> tuple[str, ...]:
    require(names, "must name at least one topic")
    return names


def _split(value: object) -> object:
    """Turn `a, b,a` into ("a", "b"), without blanks and repeats; what is not text stays as it is."""
    if not isinstance(value, str):
        return value
    return tuple(dict.fromkeys(name for part in value.split(",") if (name := part.strip())))


def _app_id(name: str) -> str:
    require(_APP_ID.fullmatch(name), "must be 1 to 200 of A-Z a-z 0-9 . _ - (it begins the names of topics)")
    return name


def _instance_id(name: str) -> str:
    name = name.replace("{hostname}", socket.gethostname())
    require(_INSTANCE_ID.fullmatch(name), "must be 1 to 249 of A-Z a-z 0-9 . _ - ({hostname} may be part of it)")
    return name


def _module(name: str) -> str:
    require(_MODULE.fullmatch(name), "must be 1 to 180 of A-Z a-z 0-9 _ . - (it ends the names of topics)")
    return name


def is_function_path(text: str) -> bool:
    """Tell whether a text is `package.module:function`; the part behind the colon may be dotted, too.

    A module that is called `py` is not one: somebody has written the name of a file.
    """
    module, _, function = text.partition(":")
    names = (*module.split("."), *function.split("."))
    return all(map(str.isidentifier, names)) and not module.endswith(".py")


def spelling_hint(spec: str) -> str:
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
        return "write the module, a colon and the function's name, such as models.load:callback"
    hint = f"write {guess}" if function else f"write {guess}, with your function's name behind the colon"
    return f"{hint}, and put {place.rpartition('/')[0] or '/'} on PYTHONPATH" if is_elsewhere else hint


def _function_path(path: str) -> str:
    if not is_function_path(path):
        message = f"must be package.module:function; {spelling_hint(path)}"
        raise ValueError(message)
    return path


def _host(host: str) -> str:
    require(is_address(host) or _HOST.fullmatch(host), "must be an IP address or the name of a host")
    return host


def _file(path: Path) -> Path:
    try:
        is_file = path.is_file()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        reason = error.strerror or repr(error)
        message = f"must be the path of a file that exists: {reason}"
        raise ValueError(message) from error
    require(is_file, "must be the path of a file that exists")
    return path


def _base_url(text: str) -> str:
    """Return `http(s)://host[:port]` without a slash at the end."""
    try:
        url = urlsplit(text)
        good = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0 and _is_bare(url)
    except ValueError:
        good = False
    require(good, "must be http://host:port or https://host:port")
    return text.rstrip("/")


def _is_bare(url: SplitResult) -> bool:
    """Return whether a URL has no credentials, no path, no query and no fragment."""
    return not ("@" in url.netloc or url.path.strip("/") or url.query or url.fragment)


def _kafka_urls(text: str) -> str:
    try:
        urls = [_kafka_url(part.strip()) for part in text.split(";") if part.strip()]
    except ValueError:
        urls = []
    require(urls, "must be kafka://host:port, several separated by ; (a name and a password go into AGG_SASL_*)")
    return ";".join(dict.fromkeys(urls))


def _kafka_url(text: str) -> str:
    """Return `kafka://host:port` of one broker, which is given with or without scheme and port; raises ValueError."""
    url = urlsplit(text if "://" in text else f"kafka://{text}")
    host, port = url.hostname or "", _KAFKA_PORT if url.port is None else url.port
    if ":" in host:
        host = f"[{ipaddress.IPv6Address(host)}]"
    elif not _HOST.fullmatch(host):
        raise ValueError(host)
    if url.scheme != "kafka" or not port or not _is_bare(url):
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
TopicName = Annotated[str, AfterValidator(_topic)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
OptionalTopicNames = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_topics)]
TopicNames = Annotated[OptionalTopicNames, AfterValidator(_at_least_one)]
FunctionPath = Annotated[str, AfterValidator(_function_path)]
KafkaUrls = Annotated[str, AfterValidator(_kafka_urls)]
Host = Annotated[str, AfterValidator(_host)]
Url = Annotated[str, AfterValidator(_base_url)]
File = Annotated[Path, AfterValidator(_file)]
