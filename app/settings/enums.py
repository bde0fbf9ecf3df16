"""The closed sets of words that settings and the modules they steer share."""

from __future__ import annotations

from enum import StrEnum

from tables.model.enums import LatePolicy

__all__ = [
    "Executor",
    "Fill",
    "Language",
    "LatePolicy",
    "LogFormat",
    "SaslMechanism",
    "SecurityProtocol",
    "Start",
    "TimeoutMode",
]


class Fill(StrEnum):
    """What stands in a column where no record gave a value (`AGG_FILL`)."""

    ZERO = "zero"
    MISSING = "missing"
    FORWARD = "forward"
    LINEAR = "linear"


class Executor(StrEnum):
    """Where callbacks run (`AGG_EXECUTOR`)."""

    AUTO = "auto"  # `async def` on the event loop, `def` in threads
    THREAD = "thread"
    PROCESS = "process"


class TimeoutMode(StrEnum):
    """Where a batch's timeout comes from (`AGG_TIMEOUT_MODE`)."""

    FIXED = "fixed"
    ADAPTIVE = "adaptive"


class Start(StrEnum):
    """Where reading begins on a partition that has no committed offset yet (`AGG_START`)."""

    EARLIEST = "earliest"
    LATEST = "latest"


class Language(StrEnum):
    """Language of log lines (`AGG_LOG_LANGUAGE`)."""

    EN = "en"
    ZH = "zh"


class LogFormat(StrEnum):
    """Shape of log lines (`AGG_LOG_FORMAT`)."""

    TEXT = "text"
    JSON = "json"


class SecurityProtocol(StrEnum):
    """How the connection to the broker is protected (`AGG_SECURITY_PROTOCOL`)."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def encrypted(self) -> bool:
        """Whether the connection is TLS."""
        return self in {SecurityProtocol.SSL, SecurityProtocol.SASL_SSL}

    @property
    def authenticated(self) -> bool:
        """Whether the client logs in with a name and a password."""
        return self in {SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL}


class SaslMechanism(StrEnum):
    """How the client proves its password (`AGG_SASL_MECHANISM`)."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
