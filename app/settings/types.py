"""What a single value of a setting may be: the types of the fields in `app.settings`, each with its check and its unit.

Every check raises a ValueError whose text begins with "must" and is shown behind the key and the value found.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, FilePath
from pydantic_settings import NoDecode

__all__ = [
    "AppId",
    "Bytes",
    "Count",
    "ExistingFile",
    "FunctionPath",
    "Host",
    "KafkaUrls",
    "ModuleName",
    "Names",
    "OptionalCount",
    "OptionalShare",
    "OptionalTopicNames",
    "OptionalUrl",
    "OptionalWholeSeconds",
    "Port",
    "Seconds",
    "SecondsOrZero",
    "Share",
    "TopicName",
    "TopicNames",
    "Unit",
    "WholeNumber",
    "is_address",
    "is_loopback",
]

_YEAR: Final = 366 * 24 * 3600
_KAFKA_PORT: Final = 9092
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
# Kafka allows a topic 249 characters; what Faust and we append to the id (`-batches-changelog`) must fit.
_APP_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,200}")
_MODULE: Final = re.compile(r"[A-Za-z0-9_.-]{1,180}")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of a number, as the settings tables print it."""

    en: str
    zh: str


def _topic(name: str) -> str:
    if not _TOPIC.fullmatch(name) or name in {".", ".."}:
        message = "must be a Kafka topic name: 1 to 249 of A-Z a-z 0-9 . _ -"
        raise ValueError(message)
    return name


def _app_id(name: str) -> str:
    if not _APP_ID.fullmatch(name):
        message = "must be 1 to 200 of A-Z a-z 0-9 . _ - (it begins the names of topics)"
        raise ValueError(message)
    return name


def _module(name: str) -> str:
    if not _MODULE.fullmatch(name):
        message = "must be 1 to 180 of A-Z a-z 0-9 _ . - (it ends the names of topics)"
        raise ValueError(message)
    return name


def _function_path(path: str) -> str:
    module, _, function = path.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), function)):
        message = "must be package.module:function"
        raise ValueError(message)
    return path


def is_address(host: str) -> bool:
    """Whether a host is an IP address, and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _host(host: str) -> str:
    if not is_address(host) and not _HOST.fullmatch(host):
        message = "must be an IP address or the name of a host"
        raise ValueError(message)
    return host


def is_loopback(host: str) -> bool:
    """Whether only programs of the same machine reach a server on this host."""
    return host.lower() == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def _base_url(text: str) -> str:
    """`http(s)://host[:port]` without an end slash."""
    try:
        url = urlsplit(text)
        good = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        good = False
    if not good or "@" in url.netloc or url.path.strip("/") or url.query or url.fragment:
        message = "must be http://host:port or https://host:port"
        raise ValueError(message)
    return text.rstrip("/")


def _split(value: object) -> object:
    """`a, b,a` as ("a", "b"): comma-separated text as a tuple without blanks and repeats; anything else as it is."""
    if not isinstance(value, str):
        return value
    return tuple(dict.fromkeys(name for part in value.split(",") if (name := part.strip())))


def _at_least_one(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        message = "must name at least one topic"
        raise ValueError(message)
    return names


def _topics(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        try:
            _topic(name)
        except ValueError as error:
            message = f"{name!r} {error}"
            raise ValueError(message) from None
    return names


def _kafka_url(text: str) -> str:
    """`kafka://host:port` of one broker, given with or without scheme and port.

    Raises:
        ValueError: It is anything else, credentials in the URL among it.
    """
    url = urlsplit(text if "://" in text else f"kafka://{text}")
    host, port = url.hostname or "", _KAFKA_PORT if url.port is None else url.port
    if ":" in host:
        host = f"[{ipaddress.IPv6Address(host)}]"
    elif not _HOST.fullmatch(host):
        raise ValueError(host)
    if url.scheme != "kafka" or "@" in url.netloc or url.path.strip("/") or url.query or url.fragment or not port:
        raise ValueError(text)
    return f"kafka://{host}:{port}"


def _kafka_urls(text: str) -> str:
    parts = [part.strip() for part in text.split(";") if part.strip()]
    try:
        if parts:
            return ";".join(dict.fromkeys(map(_kafka_url, parts)))
    except ValueError:
        pass
    message = "must be kafka://host:port, several separated by ; (a name and a password go into AGG_SASL_*)"
    raise ValueError(message) from None


Seconds = Annotated[float, Field(gt=0, le=_YEAR, allow_inf_nan=False), Unit("s", "秒")]
SecondsOrZero = Annotated[float, Field(ge=0, le=_YEAR, allow_inf_nan=False), Unit("s", "秒")]
OptionalWholeSeconds = Annotated[int | None, Field(gt=0, le=_YEAR), Unit("s", "秒")]
Bytes = Annotated[int, Field(ge=1024, le=2**30), Unit("bytes", "字节")]
Count = Annotated[int, Field(gt=0, le=2**31 - 1)]
WholeNumber = Annotated[int, Field(ge=0, le=2**31 - 1)]
OptionalCount = Annotated[int | None, Field(gt=0, le=2**31 - 1)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
OptionalShare = Annotated[float | None, Field(gt=0, le=1, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65535)]
ModuleName = Annotated[str, AfterValidator(_module)]
AppId = Annotated[str, AfterValidator(_app_id)]
TopicName = Annotated[str, AfterValidator(_topic)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
OptionalTopicNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_topics)]
TopicNames = Annotated[OptionalTopicNames, AfterValidator(_at_least_one)]
FunctionPath = Annotated[str, AfterValidator(_function_path)]
KafkaUrls = Annotated[str, AfterValidator(_kafka_urls)]
Host = Annotated[str, AfterValidator(_host)]
OptionalUrl = Annotated[str, AfterValidator(_base_url)] | None
ExistingFile = FilePath
