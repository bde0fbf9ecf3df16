"""A Kafka that asks who one is and allows what its ACLs say, and the ACLs that docs/operations.md names."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest

from app.devbroker import DevBroker, Listener
from tests.integration.support.certificates import Authority
from tests.integration.support.cluster import Cluster
from tests.integration.support.reading import admin_client
from tests.integration.support.worker import REPOSITORY
from tests.ports import own_port
from tests.shared_brokers import Broker

__all__ = [
    "ACL_TABLE",
    "CLIENT",
    "OTHERS",
    "PASSWORD",
    "SENDING",
    "WORKER",
    "Acl",
    "Secured",
    "principal_of",
    "readme_acls",
    "secured_kafka",
]

WORKER = "worker"
PASSWORD = "Correct-Horse-8153-Battery"  # noqa: S105 - of a broker that lives as long as a test
CLIENT = "client"  # the name in the certificate
OTHERS = tuple(f"other-{number}" for number in range(24))  # who may log in with PLAIN, and may do nothing

ACL_TABLE = "| resource | operations |"
SENDING = "source topics, with `send` and `dead-letters --replay`"

_TOPIC, _GROUP = 2, 3  # Kafka's codes of resources, patterns, operations and permissions
_LITERAL, _PREFIXED = 3, 4
_OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8}
_ALLOW = 3


@dataclass(frozen=True)
class Acl:
    """An operation on a row of the README's table."""

    row: str
    operation: str


def readme_acls() -> list[Acl]:
    """What docs/operations.md says that a worker needs, but for what is not the worker's own."""
    text = (REPOSITORY / "docs" / "operations.md").read_text()
    table = text[text.index(ACL_TABLE) :].split("\n\n", 1)[0]
    rows = [re.findall(r"[^|]+", line) for line in table.splitlines()[2:]]
    return [Acl(row.strip(), operation) for row, cell in rows for operation in re.findall(r"[A-Z]\w+", cell)]


def principal_of(user: str) -> str:
    """The principal of a user, or of a certificate."""
    return f"User:CN={user}" if user == CLIENT else f"User:{user}"


@dataclass(frozen=True)
class Secured:
    """The broker, its ports by the name of the listener, and the files for those who connect."""

    broker: Broker
    ports: Mapping[str, int]
    trusted: Authority
    stranger: Authority
    client: Path

    def url(self, listener: str) -> str:
        """The address of a listener."""
        return f"kafka://127.0.0.1:{self.ports[listener]}"

    def login(self, mechanism: str, user: str = WORKER, password: str = PASSWORD, **more: str) -> dict[str, str]:
        """Settings that log in over TLS."""
        return {
            "broker": self.url("LOGIN"),
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": mechanism,
            "sasl_username": user,
            "sasl_password": password,
            "ssl_cafile": str(self.trusted.certificate),
            **more,
        }

    def certificate(self, listener: str = "MUTUAL", file: Path | None = None) -> dict[str, str]:
        """Settings that show a certificate."""
        return {
            "broker": self.url(listener),
            "security_protocol": "SSL",
            "ssl_cafile": str(self.trusted.certificate),
            "ssl_certfile": str(file or self.client),
        }

    def grant(self, cluster: Cluster, user: str, acls: Collection[Acl]) -> None:
        """Allow a user these operations on the topics and the group of a cluster."""
        asyncio.run(self._grant(cluster, principal_of(user), acls))

    def revoke(self, cluster: Cluster, user: str, acl: Acl) -> None:
        """Take an operation away again."""

        async def revoke() -> None:
            async with admin_client(self.broker.bootstrap) as admin:
                rule = (*_resource(cluster, acl.row), principal_of(user), "*", _OPERATIONS[acl.operation], _ALLOW)
                response = await admin._send_request(DeleteAclsRequest(*rule))
                assert not response.filter_responses[0][0], response

        asyncio.run(revoke())

    async def _grant(self, cluster: Cluster, principal: str, acls: Collection[Acl]) -> None:
        async with admin_client(self.broker.bootstrap) as admin:
            for acl in acls:
                rule = (*_resource(cluster, acl.row), principal, "*", _OPERATIONS[acl.operation], _ALLOW)
                response: Any = await admin._send_request(CreateAclsRequest(*rule))
                assert not response.creation_responses[0][0], response
                while not await _is_known(admin, rule):  # noqa: ASYNC110 - the broker hears of it from its controller
                    await asyncio.sleep(0.01)


async def _is_known(admin: AIOKafkaAdminClient, rule: tuple[Any, ...]) -> bool:
    response: Any = await admin._send_request(DescribeAclsRequest(*rule))
    return bool(response.resources)


def _resource(cluster: Cluster, row: str) -> tuple[int, str, int]:
    if row in {"source, pass-through and context topics", SENDING}:
        return _TOPIC, cluster.source, _LITERAL
    if row == "topics with the prefix `<app id>-`":
        return _TOPIC, f"{cluster.app_id}-", _PREFIXED
    if row == "output topic":
        return _TOPIC, cluster.output, _LITERAL
    assert row == "group `<app id>`", row
    return _GROUP, cluster.app_id, _LITERAL


@contextmanager
def secured_kafka(folder: Path) -> Iterator[Secured]:
    """One Kafka with a port for each way of saying who one is; to its plain port the test itself is a super user."""
    trusted, stranger = Authority(folder, "trusted"), Authority(folder, "stranger")
    server = trusted.issue("broker")
    keys = {
        "LOGIN": server,
        "PLAIN": None,
        "MUTUAL": server,
        "EXPIRED": trusted.issue("expired", days=-1),
        "ELSEWHERE": trusted.issue("elsewhere", "DNS:kafka.example"),
    }
    protocols = {"LOGIN": "SASL_SSL", "PLAIN": "SASL_PLAINTEXT"}
    listeners = [Listener(name, protocols.get(name, "SSL"), own_port()) for name in keys]
    overrides = {
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "listener.name.mutual.ssl.client.auth": "required",
    }
    for name, key in keys.items():
        prefix = f"listener.name.{name.lower()}"
        if key is not None:
            overrides |= {
                f"{prefix}.ssl.keystore.type": "PEM",
                f"{prefix}.ssl.keystore.location": str(key),
                f"{prefix}.ssl.truststore.type": "PEM",
                f"{prefix}.ssl.truststore.location": str(trusted.certificate),
            }
        if name in protocols:
            overrides |= {f"{prefix}.{mechanism}.sasl.jaas.config": text for mechanism, text in _logins().items()}
    scram = [f"SCRAM-SHA-{bits}=[name={WORKER},password={PASSWORD}]" for bits in (256, 512)]
    options = [word for user in scram for word in ("--add-scram", user)]
    with DevBroker(overrides=overrides, listeners=listeners, format_options=options) as broker:
        ports = {one.name: one.port for one in listeners}
        yield Secured(broker, ports, trusted, stranger, trusted.issue(CLIENT))


def _logins() -> dict[str, str]:
    users = " ".join(f'user_{user}="{PASSWORD}"' for user in (WORKER, *OTHERS))
    package = "org.apache.kafka.common.security"
    scram = f"{package}.scram.ScramLoginModule required;"
    return {
        "plain": f"{package}.plain.PlainLoginModule required {users};",
        "scram-sha-256": scram,
        "scram-sha-512": scram,
    }
