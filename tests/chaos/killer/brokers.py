"""One or three Kafka brokers, and a gate on each way to them: each worker has ways of its own, and so has each peer."""

from __future__ import annotations

import base64
import re
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Self

from app.devbroker import DevBroker, ensure_kafka, find_java
from app.devbroker.config import HOST, JVM_OPTIONS, STORAGE, server_properties
from tests.chaos.killer.proxy import Gate, Link
from tests.integration.support.background import Background
from tests.ports import own_port

__all__ = ["Brokers", "broker_of"]

START_WITHIN = 180.0  # seconds, on a busy machine
FORMAT_WITHIN = 120.0
REPLICAS, IN_SYNC = 3, 2
PEERS = ("PEERS", "CONTROLLER")  # the listeners that brokers connect to


class _Node:
    """A broker's number, its listeners' ports by name, and the gates before those that others come through."""

    def __init__(self, number: int, clients: Sequence[str], *, peers: bool) -> None:
        self.number = number
        self.names = [*PEERS, *clients]
        self.direct = own_port()  # for the producer and the checker
        self.bound = {name: own_port() for name in self.names}
        gated = self.names if peers else clients  # one that is alone talks to itself
        self.gates = self.bound | {name: own_port() for name in gated}

    def overrides(self, voters: str, count: int) -> dict[str, str | int]:
        """Return what makes it one of so many."""
        protocols = ["DIRECT", *self.names]
        bound = [f"DIRECT://{HOST}:{self.direct}", *[f"{name}://{HOST}:{port}" for name, port in self.bound.items()]]
        told = [f"DIRECT://{HOST}:{self.direct}", *[f"{name}://{HOST}:{port}" for name, port in self.gates.items()]]
        own: dict[str, str | int] = {
            "node.id": self.number,
            "controller.quorum.voters": voters,
            "listeners": ",".join(bound),
            "advertised.listeners": ",".join(told),
            "inter.broker.listener.name": "PEERS",
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in protocols),
        }
        if count >= REPLICAS:
            own |= {
                "default.replication.factor": REPLICAS,
                "offsets.topic.replication.factor": REPLICAS,
                "transaction.state.log.replication.factor": REPLICAS,
                "transaction.state.log.min.isr": IN_SYNC,
                "min.insync.replicas": IN_SYNC,
                # A follower that is away is out of the in-sync set before clients run out of patience.
                "replica.lag.time.max.ms": 10_000,
                # Three on a busy machine answer each other late: longer than as shipped.
                "controller.quorum.election.timeout.ms": 2000,
                "controller.quorum.fetch.timeout.ms": 5000,
                "controller.quorum.request.timeout.ms": 5000,
                "broker.session.timeout.ms": 9000,
                "broker.heartbeat.interval.ms": 2000,
                "initial.broker.registration.timeout.ms": round(START_WITHIN * 1000),
            }
        return own


class Brokers:
    """A Kafka whose brokers are killed one by one or all, and cut off from workers and from each other.

    A worker at place p connects to `servers_of(p)`, and is given gates as the brokers' addresses from there on.
    """

    def __init__(self, folder: Path, *, count: int, places: int) -> None:
        self.count = count
        self._folder = folder
        self._clients = [f"WORKER{place}" for place in range(places)]
        self._nodes = [_Node(number + 1, self._clients, peers=count > 1) for number in range(count)]
        voters = ",".join(f"{node.number}@{HOST}:{node.gates['CONTROLLER']}" for node in self._nodes)
        self._brokers = [
            DevBroker(folder / f"kafka-{node.number}", node.direct, overrides=node.overrides(voters, count))
            for node in self._nodes
        ]
        self._gates: dict[tuple[int, str], Gate] = {}
        self._stack = ExitStack()

    @property
    def replicas(self) -> int:
        """How many replicas each topic has."""
        return REPLICAS if self.count >= REPLICAS else 1

    @property
    def bootstrap(self) -> str:
        """The addresses that no gate is before: for the producer and the checker."""
        return ",".join(broker.bootstrap for broker in self._brokers)

    def servers_of(self, place: int) -> str:
        """Return the addresses for the worker of a place, as `AGG_BROKER` takes them."""
        return ";".join(f"kafka://{HOST}:{node.gates[self._clients[place]]}" for node in self._nodes)

    def folder_of(self, node: int) -> Path:
        """Return the folder with a broker's data."""
        return self._folder / f"kafka-{node + 1}"

    # -- life --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            loop = Background()
            stack.callback(loop.close)
            for number, node in enumerate(self._nodes):
                for name in [name for name in node.names if node.gates[name] != node.bound[name]]:
                    gate = Gate(loop, node.gates[name], node.bound[name], broker_of if name in PEERS else _nobody)
                    self._gates[number, name] = gate
                    stack.callback(gate.close)
            for broker in self._brokers:
                stack.callback(broker.stop)
            if self.count > 1:
                self._format()
            self.start(range(self.count))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()
        self._stack.close()

    def start(self, nodes: Sequence[int]) -> None:
        """Start brokers, side by side, and wait until they serve; those that run are left alone."""
        with ThreadPoolExecutor(max_workers=self.count) as threads:
            list(threads.map(self._start, nodes))

    def kill(self, nodes: Sequence[int]) -> None:
        """SIGKILL to brokers."""
        for node in nodes:
            self._brokers[node].kill()

    def running(self, node: int) -> bool:
        """Whether a broker's process is there."""
        return self._brokers[node].running

    def logs(self) -> str:
        """Return the ends of the brokers' logs."""
        return "\n".join(broker.log_tail() for broker in self._brokers)

    def _start(self, node: int) -> None:
        if not self._brokers[node].running:
            self._brokers[node].start(START_WITHIN)

    # -- ways --------------------------------------------------------------------------------------------------------

    def links_of(self, place: int) -> list[Link]:
        """Return the ways between the worker of a place and the brokers."""
        return [self._gates[node, self._clients[place]].links[0] for node in range(self.count)]

    def links_from(self, node: int) -> list[Link]:
        """Return the ways on which a broker connects to its peers."""
        return [self._gates[peer, name].links[node + 1] for peer, name in self._peers(node)]

    def links_to(self, node: int) -> list[Link]:
        """Return the ways on which its peers connect to a broker."""
        peers = [peer + 1 for peer in range(self.count) if peer != node]
        return [self._gates[node, name].links[peer] for name, peer in product(PEERS, peers)]

    def heal(self) -> None:
        """Make all ways whole."""
        for gate in self._gates.values():
            for link in list(gate.links.values()):
                link.heal()

    def _peers(self, node: int) -> Iterator[tuple[int, str]]:
        return product((peer for peer in range(self.count) if peer != node), PEERS)

    # -- storage -----------------------------------------------------------------------------------------------------

    def _format(self) -> None:
        """Give all brokers storages of one cluster; `DevBroker` would give each one of its own."""
        cluster = base64.urlsafe_b64encode(b"\x01" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        java, jars = find_java(), ensure_kafka(lambda _line: None)
        voters = ",".join(f"{node.number}@{HOST}:{node.gates['CONTROLLER']}" for node in self._nodes)
        for number, node in enumerate(self._nodes):
            folder = self.folder_of(number)
            folder.mkdir(parents=True, exist_ok=True)
            properties = server_properties(node.direct, node.bound["CONTROLLER"], node.overrides(voters, self.count))
            (folder / "format.properties").write_text(properties)
            tool = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", "format.properties"]
            command = [str(java.path), *JVM_OPTIONS, "-cp", jars.class_path, *tool]
            answer = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=FORMAT_WITHIN, check=False
            )
            assert answer.returncode == 0 and (folder / STORAGE).exists(), f"{answer.stdout}{answer.stderr}"  # noqa: PT018


def _nobody(_first: bytes) -> int:
    return 0


def broker_of(first: bytes) -> int:
    """Return the number of the broker that begins a connection with these bytes: it stands in its client id.

    `raft-client-2`, `broker-2-fetcher-0`, `2`; 0 where there is none. A request is its size (4 bytes), api key (2),
    version (2), correlation id (4), and the length (2) and the text of the client id.
    """
    length = int.from_bytes(first[12:14])
    found = re.search(rb"\d+", first[14 : 14 + length])
    return int(found[0]) if found else 0
