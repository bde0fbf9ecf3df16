"""Closed sets of words: the values of settings that the modules that obey them compare with."""

from __future__ import annotations

from enum import StrEnum


class Fill(StrEnum):
    """The rule that fills a column where no record gave a value (`AGG_FILL`)."""

    ZERO = "zero"
    MISSING = "missing"
    FORWARD = "forward"
    LINEAR = "linear"


class InputForm(StrEnum):
    """The form of the columns that a callback gets (`AGG_INPUT`)."""

    LISTS = "lists"
    NUMPY = "numpy"


class Executor(StrEnum):
    """The place where callbacks run (`AGG_EXECUTOR`)."""

    AUTO = "auto"  # `async def` on the event loop, `def` in threads
    THREAD = "thread"
    PROCESS = "process"


class TimeoutMode(StrEnum):
    """The source of a batch's timeout (`AGG_TIMEOUT_MODE`)."""

    FIXED = "fixed"
    ADAPTIVE = "adaptive"


class Start(StrEnum):
    """The end of a partition at which reading begins when no offset is committed yet (`AGG_START`)."""

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
    """Protection of the connection to the broker (`AGG_SECURITY_PROTOCOL`)."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def encrypted(self) -> bool:
        """True when the connection is TLS."""
        return self in {SecurityProtocol.SSL, SecurityProtocol.SASL_SSL}

    @property
    def authenticated(self) -> bool:
        """True when the client logs in with a name and a password."""
        return self in {SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL}


class SaslMechanism(StrEnum):
    """Proof of the client's password (`AGG_SASL_MECHANISM`)."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
