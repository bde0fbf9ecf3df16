"""What a worker can't start with: it says so, without a traceback, and ends with the exit code of its cause."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import pytest

from tests.integration.support.cluster import Cluster
from tests.integration.support.waiting import wait_for
from tests.ports import own_port

pytestmark = pytest.mark.kafka

BROKER, SETTINGS = 1, 2  # exit codes


def refused(cluster: Cluster, settings: Mapping[str, str] | None = None) -> tuple[int, str]:
    worker = cluster.start(settings)
    code = worker.wait_exit()
    cluster.assert_clean_logs()
    return code, worker.log


def test_an_internal_topic_with_another_partition_count_is_named(cluster: Cluster) -> None:
    cluster.create_topic(f"{cluster.app_id}-batch-events", 3)
    code, said = refused(cluster)
    assert code == BROKER
    assert f"topic {cluster.app_id}-batch-events has 3 partitions, but AGG_PARTITIONS is 4" in said


def test_a_broker_that_is_away_for_longer_than_the_patience_is_named(cluster: Cluster) -> None:
    away = f"127.0.0.1:{own_port()}"
    code, said = refused(cluster, {"broker": f"kafka://{away}", "broker_patience": "1"})
    assert code == BROKER
    first, last = complaints(said)  # that it waits, and that it has waited
    assert f"Kafka at {away} is away, waiting for it up to 1 s: nothing listens at port" in first
    assert f"no broker answers at {away} (nothing listens at port" in last


def complaints(said: str) -> list[str]:
    lines = [line for line in said.splitlines() if any(level in line for level in ("WARN", "ERROR", "CRITICAL"))]
    return [line for line in lines if "event loop" not in line]  # a busy machine's is held up by this and that


def test_tls_at_a_plain_port_is_said_in_one_line(cluster: Cluster) -> None:
    code, said = refused(cluster, {"security_protocol": "SSL", "broker_patience": "20"})
    assert code == BROKER
    (line,) = complaints(said)
    assert cluster.broker.bootstrap in line
    assert "TLS failed: the port is a plain one, for AGG_SECURITY_PROTOCOL=PLAINTEXT or SASL_PLAINTEXT" in line


def test_a_login_at_a_port_without_one_is_said_in_one_line(cluster: Cluster) -> None:
    login = {"security_protocol": "SASL_PLAINTEXT", "sasl_username": "u", "sasl_password": "p"}
    code, said = refused(cluster, login)
    assert code == BROKER
    (line,) = complaints(said)
    assert "the port does not authenticate: set AGG_SECURITY_PROTOCOL=PLAINTEXT" in line


def test_one_broker_of_several_that_can_not_be_used_is_said_in_one_line(cluster: Cluster) -> None:
    away = f"127.0.0.1:{own_port()}"
    servers = f"kafka://{away};kafka://{cluster.broker.bootstrap}"
    worker = cluster.start({"broker": servers}).wait_ready()
    wait_for(lambda: complaints(worker.log), worker.tail)
    worker.terminate()
    (line,) = complaints(worker.log)
    assert f"{away} of AGG_BROKER can't be used, another one answers: nothing listens at port" in line


def test_a_taken_web_port_is_named_with_its_setting(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, said = refused(cluster, {"web_port": str(port)})
    assert code == BROKER
    assert "AGG_WEB_PORT" in said
    assert str(port) in said


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"batch_timeout": "soon"}, "AGG_BATCH_TIMEOUT"),
        ({"batch_timeot": "5"}, "AGG_BATCH_TIMEOT"),
        ({"callback": ""}, "AGG_CALLBACK"),
        ({"callback": "tests.integration.support.model:no_such_function"}, "AGG_CALLBACK"),
        ({"callback": "os.path:basename"}, "called as callback(station_id, module_input), but is basename(p)"),
    ],
)
def test_a_bad_setting_is_named(cluster: Cluster, settings: dict[str, str], named: str) -> None:
    code, said = refused(cluster, settings)
    assert code == SETTINGS
    assert named in said


def test_a_worker_without_a_callback_says_what_to_set(cluster: Cluster) -> None:
    del cluster.settings["callback"]
    code, said = refused(cluster)
    assert code == SETTINGS
    assert "AGG_CALLBACK is not set" in said
