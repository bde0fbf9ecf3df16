"""Ask a Kafka broker whether it serves requests: one request, by hand, so that no event loop is needed."""

from __future__ import annotations

import socket
import struct

__all__ = ["cluster_at"]

_METADATA = 3  # api key; https://kafka.apache.org/protocol.html#The_Messages_Metadata
_VERSION = 2  # the oldest whose response has the cluster's id
_LARGEST_ANSWER = 1 << 20  # bytes; anything longer is no answer to this request


def cluster_at(host: str, port: int, *, timeout: float) -> str | None:
    """Return the id of the cluster that serves requests at this address, or None.

    A broker that is still starting accepts connections but does not answer, or answers that no broker is there: None.

    Args:
        host: name or address.
        port: TCP port.
        timeout: seconds that each step (connecting, reading) may take.
    """
    # Header: api key, version, correlation id, no client id. Body: no topics.
    request = struct.pack(">hhihi", _METADATA, _VERSION, 0, -1, 0)
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection, connection.makefile("rb") as reader:
            connection.sendall(struct.pack(">i", len(request)) + request)
            (size,) = struct.unpack(">i", reader.read(4))
            return _cluster_id(reader.read(size)) if 0 < size < _LARGEST_ANSWER else None
    except (OSError, struct.error, UnicodeDecodeError):
        return None


def _cluster_id(answer: bytes) -> str | None:
    """Read a metadata response, version 2: correlation id, [node id, host, port, rack], cluster id, ...

    Raises:
        struct.error: the response is too short.
    """
    _correlation, brokers = struct.unpack_from(">ii", answer)
    at = 8
    for _ in range(brokers):
        _host, at = _string(answer, at + 4)
        _rack, at = _string(answer, at + 4)
    cluster, _ = _string(answer, at)
    return cluster if brokers > 0 else None


def _string(answer: bytes, at: int) -> tuple[str | None, int]:
    """Read a string that has its length before it (-1: none); return it and the place behind it."""
    (length,) = struct.unpack_from(">h", answer, at)
    end = at + 2 + max(length, 0)
    return (answer[at + 2 : end].decode() if length >= 0 else None), end
