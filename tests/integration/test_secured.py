"""Kafka that asks who one is: each way to say it, each permission that a worker needs, and what is said without."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from app.kafka.diagnosis import find_trouble
from app.kafka.topics import BrokerError, TopicError, ensure_topics
from app.settings import Settings, SettingsError, load_settings
from tests.further import further
from tests.integration.support.cluster import BAD_SIGNS, Cluster
from tests.integration.support.commands import command_of
from tests.integration.support.letters import settings_of
from tests.integration.support.secured import (
    CLIENT,
    OTHERS,
    PASSWORD,
    SENDING,
    WORKER,
    Acl,
    Secured,
    readme_acls,
    secured_kafka,
)
from tests.integration.support.waiting import PATIENCE, wait_for
from tests.integration.support.worker import Program, WorkerProcess

pytestmark = pytest.mark.kafka

BROKER, SETTINGS = 1, 2  # exit codes
LOUD = Program(options=("-l", "debug"))
WRONG = "Not-The-Password-4711"
SECRETS = (PASSWORD, WRONG)
NAMED = [acl for acl in readme_acls() if acl.row != SENDING and not acl.row.startswith("topics that your handler")]
NEEDED = [acl for acl in NAMED if acl.operation != "Describe"]  # Read and Write have it in them
SENDS = Acl(SENDING, "Write")

others = count()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured_kafka(tmp_path_factory.mktemp("secured")) as own:
        yield own


@pytest.fixture
def cluster(secured: Secured, tmp_path: Path) -> Iterator[Cluster]:
    """A share of it. What the test itself does there it does as a super user."""
    with Cluster(secured.broker, tmp_path) as own:
        yield own


@pytest.fixture
def stranger() -> str:
    """A user who may log in, and nothing else."""
    return OTHERS[next(others)]


def commands_of(worker: WorkerProcess) -> str:
    """The command lines of a worker and of the processes that it has started, as anybody on the machine sees them."""
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == worker.process.pid:
                lines.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (OSError, ValueError):
            continue
    return "\n".join(lines)


def assert_no_secret(*texts: str) -> None:
    for text in texts:
        for secret in SECRETS:
            assert secret not in text


def complaints(said: str) -> list[str]:
    """The lines of a log that are not INFO or less, but for those of a busy machine."""
    lines = [line for line in said.splitlines() if any(level in line for level in ("WARN", "ERROR", "CRITICAL"))]
    return [line for line in lines if "event loop" not in line]


WAYS = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "certificate"]
COMMANDED = {"SCRAM-SHA-512", "certificate"}  # the others have the same client


@pytest.mark.parametrize("way", [WAYS[0], *further(of=WAYS[1:])])
def test_a_worker_and_every_command_do_their_work_with_the_readmes_permissions(
    secured: Secured, cluster: Cluster, way: str
) -> None:
    mutual = way == "certificate"
    secured.grant(cluster, CLIENT if mutual else WORKER, [*NAMED, SENDS])
    cluster.settings |= secured.certificate() if mutual else secured.login(way)
    worker = cluster.start({"executor": "process", "executor_workers": "1"}, program=LOUD).wait_ready()
    batch = cluster.batch(1, ["R-1", "F-2"])
    (cluster.folder / "lines").write_bytes(batch.value)

    said: list[str] = []

    def run(command: str, *arguments: str) -> str:
        port = worker.url.rpartition(":")[2]
        done: subprocess.CompletedProcess[str] = command_of(cluster, command)(*arguments, web_port=port)
        assert (done.returncode, done.stderr) == (0, ""), done
        said.append(done.stdout)
        return done.stdout

    if way in COMMANDED:
        assert run("send", "lines") == f"1 message sent to {cluster.source}\n"
        cluster.sent[batch.batch_id] = batch
    else:
        cluster.send(batch)
    cluster.wait_out()
    assert commands_of(worker)
    said.append(commands_of(worker))
    if way in COMMANDED:
        assert json.loads(run("outputs", "--json"))["station_count"] == 1
        assert json.loads(run("batches", "--json"))["batch_id"] == batch.batch_id
        assert run("dead-letters", "--replay").endswith("1 letter replayed\n")
        wait_for(cluster.late_records, lambda: f"what was replayed is late\n{cluster.logs()}")
        assert run("check").endswith("All is well.\n")
    said.append(worker.read("/metrics"))
    worker.terminate()
    assert_no_secret(worker.log, *said)
    assert not [sign for sign in BAD_SIGNS if sign in worker.log], worker.tail()


def refusals(secured: Secured) -> dict[str, tuple[dict[str, str], str]]:
    """Settings with which nobody is let in, and what has to be said of them."""
    other = str(secured.stranger.certificate)
    return {
        "password": (secured.login("SCRAM-SHA-512", password=WRONG), "see AGG_SASL_USERNAME and AGG_SASL_PASSWORD"),
        "plain-password": (secured.login("PLAIN", password=WRONG), "see AGG_SASL_USERNAME and AGG_SASL_PASSWORD"),
        "user": (secured.login("SCRAM-SHA-256", user="nobody"), "see AGG_SASL_USERNAME and AGG_SASL_PASSWORD"),
        "authority": (secured.login("PLAIN", ssl_cafile=other), "AGG_SSL_CAFILE names the certificates that are"),
        "expired": (secured.certificate("EXPIRED"), "certificate has expired; the broker needs a new one"),
        "name": (secured.certificate("ELSEWHERE"), "AGG_BROKER has to call the broker by"),
        "no-certificate": (
            {name: value for name, value in secured.certificate().items() if name != "ssl_certfile"},
            "the broker asks for a certificate of ours",
        ),
        "own-expired": (
            secured.certificate(file=secured.trusted.issue("late", days=-1)),
            "the broker does not accept our certificate",
        ),
        "own-authority": (
            secured.certificate(file=secured.stranger.issue(CLIENT)),
            "the broker does not accept our certificate",
        ),
        "no-tls": (
            {key: value for key, value in secured.login("PLAIN").items() if key != "ssl_cafile"}
            | {"security_protocol": "SASL_PLAINTEXT"},
            "the port speaks TLS: set AGG_SECURITY_PROTOCOL=SASL_SSL",
        ),
    }


def test_who_is_not_let_in_is_told_why_and_what_to_do(secured: Secured, cluster: Cluster) -> None:
    for name, (settings, expected) in refusals(secured).items():
        own = settings_with(cluster, settings)
        trouble = asyncio.run(find_trouble(own))
        assert trouble is not None, name
        assert expected in trouble.text, (name, trouble)
        assert trouble.final, (name, trouble)
        assert_no_secret(repr(trouble))


def settings_with(cluster: Cluster, more: dict[str, str]) -> Settings:
    """The settings of a cluster with others."""
    return load_settings({f"AGG_{key.upper()}": value for key, value in (cluster.settings | more).items()}, None)


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("password", [["check"], ["send", "lines"]]),
        *further(("expired", [["outputs"]]), ("own-expired", [["check"], ["dead-letters", "--replay"]])),
    ],
)
def test_a_worker_and_each_command_that_are_not_let_in_say_so_in_one_line(
    secured: Secured, cluster: Cluster, name: str, commands: list[list[str]]
) -> None:
    settings, expected = refusals(secured)[name]
    cluster.settings |= settings
    worker = cluster.start(program=LOUD)
    assert worker.wait_exit() == BROKER
    (line,) = complaints(worker.log)
    assert expected in line
    assert "Traceback" not in worker.log
    (cluster.folder / "lines").write_bytes(cluster.batch(1, ["R-1"]).value)
    for command in commands:
        done = command_of(cluster, *command[:1])(*command[1:])
        text = done.stdout + done.stderr
        assert done.returncode == BROKER, done
        assert text.count(expected) == 1, done
        assert "Traceback" not in text
        assert_no_secret(text)
    assert_no_secret(worker.log)


def name_of(acl: Acl) -> str:
    return f"{acl.operation} on {acl.row}"


@pytest.mark.chaos
@pytest.mark.parametrize("missing", NEEDED, ids=name_of)
def test_each_permission_of_the_readme_is_missed_by_name(
    secured: Secured, cluster: Cluster, stranger: str, missing: Acl
) -> None:
    secured.grant(cluster, stranger, [acl for acl in NAMED if acl != missing])
    own = settings_with(cluster, secured.login("PLAIN", stranger))
    text = "for want of the operation Create"
    if missing.operation != "Create":
        text = f"Kafka does not let User:{stranger} .* lacks {missing.operation} on"
    with pytest.raises((BrokerError, TopicError), match=text) as found:
        asyncio.run(ensure_topics(own, patience=PATIENCE))
    assert acl_resource(cluster, missing) in str(found.value)


def acl_resource(cluster: Cluster, acl: Acl) -> str:
    """What has to be named where it is missing."""
    if "app id" in acl.row:
        return cluster.app_id
    return cluster.output if acl.row == "output topic" else cluster.source


def test_a_worker_without_permissions_says_all_that_it_lacks_in_one_line(
    secured: Secured, cluster: Cluster, stranger: str
) -> None:
    cluster.settings |= secured.login("PLAIN", stranger)
    worker = cluster.start()
    assert worker.wait_exit() == BROKER
    (line,) = complaints(worker.log)
    assert f"Kafka does not let User:{stranger} do what a worker does: it lacks Read on topic {cluster.source}" in line
    assert f"group {cluster.app_id}" in line
    assert "Traceback" not in worker.log


@pytest.mark.chaos
def test_commands_without_permissions_say_what_they_lack(secured: Secured, cluster: Cluster, stranger: str) -> None:
    asyncio.run(ensure_topics(settings_of(cluster), patience=PATIENCE))
    cluster.send_raw(cluster.output, b"{}", key=b"b")
    cluster.settings |= secured.login("PLAIN", stranger)
    (cluster.folder / "lines").write_bytes(b"\n".join(cluster.batch(n, ["R-1"]).value for n in range(300)))

    done = command_of(cluster, "check")()
    assert done.returncode == BROKER
    assert f"topic {cluster.source}" in done.stdout
    assert f"User:{stranger} lacks Read" in done.stdout
    hidden = command_of(cluster, "outputs")()
    assert (hidden.returncode, hidden.stdout) == (BROKER, "")
    assert f"or User:{stranger} may not see it (the operation Describe" in hidden.stderr

    secured.grant(cluster, stranger, [Acl(SENDING, "Describe"), Acl("output topic", "Describe")])
    denied = command_of(cluster, "send")("lines")
    assert denied.returncode == BROKER
    (line,) = denied.stderr.splitlines()
    assert f"Kafka does not let User:{stranger} do this: it lacks an operation on topic" in line
    assert cluster.source in line
    unread = command_of(cluster, "outputs")()
    assert unread.returncode == BROKER
    (line,) = unread.stderr.splitlines()
    assert cluster.output in line
    assert "ACLs" in line


# What is needed for a start only, or after a crash, is missed then.
USED = [acl for acl in NEEDED if acl.operation != "Create" and acl != Acl("output topic", "Read")]


@pytest.mark.chaos
@pytest.mark.parametrize("acl", USED, ids=name_of)
def test_a_permission_that_is_taken_away_ends_a_running_worker_with_one_line(
    secured: Secured, cluster: Cluster, stranger: str, acl: Acl
) -> None:
    secured.grant(cluster, stranger, NAMED)
    cluster.settings |= secured.login("PLAIN", stranger)
    worker = cluster.start().wait_ready()
    secured.revoke(cluster, stranger, acl)
    cluster.send(cluster.batch(1, ["R-1"]))
    assert worker.wait_exit() == BROKER, worker.tail()
    (line,) = [line for line in worker.log.splitlines() if "CRITICAL" in line]
    assert acl_resource(cluster, acl) in line
    assert "AuthorizationFailed" in line or f"Kafka does not let User:{stranger} do this" in line
    assert len(complaints(worker.log)) <= 4, worker.tail()
    assert "Traceback" not in worker.log


def test_an_encrypted_key_is_a_wrong_setting_and_asks_nobody(secured: Secured, cluster: Cluster) -> None:
    key = secured.trusted.encrypted(secured.client, "secret")
    with pytest.raises(SettingsError, match="the key is encrypted, and there is no setting for a passphrase"):
        asyncio.run(find_trouble(settings_with(cluster, secured.certificate(file=key))))
    worker = cluster.start(secured.certificate(file=key))
    assert worker.wait_exit() == SETTINGS
    assert "AGG_SSL_CERTFILE" in worker.log
    assert "Traceback" not in worker.log
