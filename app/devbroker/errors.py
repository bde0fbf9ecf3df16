"""What goes wrong with the development broker."""

from __future__ import annotations

__all__ = ["DevBrokerError"]


class DevBrokerError(Exception):
    """Kafka could not be fetched, started, reached or stopped.

    The message says what was wrong, where (port, folder, log file) and what to do; it may have several lines, the last
    ones being the end of the broker's log.
    """
