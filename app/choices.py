"""The closed sets of words that settings and the modules they steer share."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Fill", "Language", "LogFormat", "SaslMechanism", "SecurityProtocol", "Start"]


class Fill(StrEnum):
    """What stands in a column where no record gave a value (`AGG_FILL`)."""

    ZERO = "zero"
    MISSING = "missing"
    FORWARD = "forward"
    LINEAR = "linear"


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
