"""The one request by which a broker is asked whether it is ready, answered by a socket of the test."""

from __future__ import annotations

import socket
import struct
import threading

import pytest

from app.devbroker.broker import cluster_at

# Taken from a Kafka 4.1.1: node 1 on 127.0.0.1:21092, cluster MkU3OEVBNTcwNTJENDM2Qk.
REAL = bytes.fromhex(
    "00000007000000010000000100093132372e302e302e3100005264ffff00164d6b55334f4556424e5463774e544a454e444d32516b"
    "0000000100000000"
)
NO_BROKER = struct.pack(">iih", 0, 0, 2) + b"id" + struct.pack(">ii", -1, 0)


def ask(answer: bytes) -> str | None:
    """Ask a server that reads the request, sends these bytes and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                (size,) = struct.unpack(">i", connection.recv(4))
                connection.recv(size)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            return cluster_at("127.0.0.1", server.getsockname()[1], timeout=240)
        finally:
            thread.join()


def framed(answer: bytes) -> bytes:
    return struct.pack(">i", len(answer)) + answer


def test_a_ready_broker_tells_its_cluster() -> None:
    assert ask(framed(REAL)) == "MkU3OEVBNTcwNTJENDM2Qk"


@pytest.mark.parametrize(
    "answer",
    [
        framed(NO_BROKER),
        b"",
        b"\x00\x00",
        framed(REAL)[:30],
        framed(REAL[:30]),
        framed(b"\x00"),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        struct.pack(">i", -5),
    ],
    ids=["no broker yet", "nothing", "half a size", "cut off", "too short", "one byte", "another protocol", "negative"],
)
def test_anything_else_is_not_ready(answer: bytes) -> None:
    assert ask(answer) is None


def test_a_server_that_does_not_answer_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert cluster_at("127.0.0.1", server.getsockname()[1], timeout=0.05) is None
        port = server.getsockname()[1]
    assert cluster_at("127.0.0.1", port, timeout=0.05) is None
