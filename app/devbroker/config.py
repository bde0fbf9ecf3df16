"""Configuration of the development broker: its server properties, its logging, its JVM's options and its ports."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
STORAGE = "storage"  # Kafka's log.dirs, in the data folder
LOG_NAME = "broker.log"
LARGEST_MESSAGE = 64 * 1024 * 1024  # bytes

# Below the ports that kernels hand to outgoing connections (Linux from 32768, macOS from 49152). A client that keeps
# trying to reach a broker that is down would else, sooner or later, be given the broker's own port; it could not come
# back then.
_PORTS = range(20_000, 30_000)

# Measured on two cores against G1 with both compilers: ready in 1.5 s instead of 2.1 s, 50 MB less memory, and less
# than half of the CPU for 60,000 small messages: nothing runs long enough for the second compiler to earn its keep.
JVM_OPTIONS = (
    "-Xms256m",
    "-Xmx768m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",  # or a killed broker leaves a file in /tmp
    "-Djava.awt.headless=true",
)

LOG4J = f"""\
status = warn
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = logs/{LOG_NAME}
appender.file.filePattern = logs/{LOG_NAME}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %-5p %m (%c)%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
# Hundreds of lines at each start that repeat the settings.
logger.config.name = org.apache.kafka.common.config.AbstractConfig
logger.config.level = warn
"""


class DevBrokerError(Exception):
    """Kafka could not be fetched, started, reached or stopped.

    The message says what was wrong, where (port, folder, log file) and what to do; it may have several lines, the last
    ones being the end of the broker's log.
    """


@dataclass(frozen=True, slots=True)
class Listener:
    """A further port for clients, on 127.0.0.1 only.

    Attributes:
        name: letters. Kafka's settings for it alone begin with `listener.name.` and that in lower case.
        protocol: `SSL`, `SASL_PLAINTEXT`, `SASL_SSL` or `PLAINTEXT`.
        port: TCP port.
    """

    name: str
    protocol: str
    port: int


def server_properties(
    port: int, controller_port: int, overrides: Mapping[str, str | int], more: Sequence[Listener] = ()
) -> str:
    """Return the text of `server.properties` of a broker that is its own controller.

    Args:
        port: TCP port for clients, on 127.0.0.1 only.
        controller_port: TCP port for the controller, on 127.0.0.1 only.
        overrides: Kafka broker settings that win over those here.
        more: further ports for clients.
    """
    clients = [f"PLAINTEXT://{HOST}:{port}", *(f"{one.name}://{HOST}:{one.port}" for one in more)]
    protocols = ["PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT", *(f"{one.name}:{one.protocol}" for one in more)]
    settings: dict[str, str | int] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": ",".join([*clients, f"CONTROLLER://{HOST}:{controller_port}"]),
        "advertised.listeners": ",".join(clients),
        "listener.security.protocol.map": ",".join(protocols),
        # Relative to the folder it runs in: a path that is not ASCII, or has a comma, could not be written here.
        "log.dirs": STORAGE,
        # Or a worker that asks for its source topic makes it, with one partition, and `send --create` comes too late.
        "auto.create.topics.enable": "false",
        # A worker alone gets its partitions at once, not after 3 s.
        "group.initial.rebalance.delay.ms": 0,
        # There is one broker, so one replica; and 8 partitions of each internal topic are made faster than 50.
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 8,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 8,
        # The plants send messages of tens of MB.
        "message.max.bytes": LARGEST_MESSAGE,
        "replica.fetch.max.bytes": LARGEST_MESSAGE,
        # A killed broker may register again only when the session that it had has run out: 3 s instead of 9 s.
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
        # Both bound memory: that of requests being read (the default is no bound) and the cleaner's (128 MiB).
        "queued.max.request.bytes": 4 * LARGEST_MESSAGE,
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
    }
    settings.update(overrides)
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def jvm_paths(data: Path) -> tuple[str, ...]:
    """Return the JVM options that name files; relative ones are relative to `data`, where the process runs."""
    # Kafka unpacks native libraries (zstd, snappy) into the temp folder, and a killed one leaves them there.
    return ("-Dlog4j2.configurationFile=log4j2.properties", "-Dkafka.logs.dir=logs", f"-Djava.io.tmpdir={data / 'tmp'}")


def port_is_free(port: int) -> bool:
    """Say whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # As Java does: connections of an earlier broker that are still fading away (TIME_WAIT) are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free now.

    Raises:
        DevBrokerError: no free one was found.
    """
    for port in random.sample(_PORTS, k=100):
        if port_is_free(port):
            return port
    message = f"100 ports between {_PORTS.start} and {_PORTS.stop} were tried and none is free on {HOST}."
    raise DevBrokerError(message)
