"""What docker-compose.yml promises, on a real engine: batches come out whatever is killed, stopped or scaled."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.image.composed import ROOT, TOKEN, Project, crash, docker, inspected
from tests.integration.support.waiting import wait_for

pytestmark = pytest.mark.image


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    """One worker, ready."""
    made = Project()
    try:
        made.up()
        yield made
    finally:
        made.compose("--profile", "monitoring", "down", "--volumes", "--timeout=5")


def test_a_batch_comes_out(project: Project) -> None:
    project.wait_until_complete(project.send(3))


def test_services_are_bounded_and_come_back(project: Project) -> None:
    for service in ("kafka", "worker", "web"):
        (container,) = project.containers(service)
        host = inspected(container)["HostConfig"]
        assert host["Memory"] > 0
        assert host["LogConfig"]["Config"] == {"max-file": "5", "max-size": "10m"}
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
    for service in ("kafka", "worker"):
        (container,) = project.containers(service)
        wait_until_healthy(container)


def test_a_worker_that_dies_is_back_under_its_address(project: Project) -> None:
    (container,) = project.containers("worker")
    sent = project.send(20)
    crash(container)
    project.wait_until_complete(sent)
    project.wait_for_workers(1)


def test_scaled_killed_stopped_and_scaled_back_nothing_is_lost(project: Project) -> None:
    project.up(3)
    killed = project.containers("worker")[-1]
    sent = project.send(50)
    docker("kill", killed)  # for good: the engine takes it for stopped
    project.wait_for_workers(2)
    sent += project.send(10)
    project.up(3)
    stopped = project.containers("worker")[-1]
    sent += project.send(20)
    docker("stop", stopped)
    assert inspected(stopped)["State"]["ExitCode"] == 0
    sent += project.send(10)
    project.up(1)
    project.wait_until_complete(sent)


def test_a_broker_that_dies_is_back_and_work_goes_on(project: Project) -> None:
    (broker,) = project.containers("kafka")
    crash(broker)
    wait_for(
        lambda: "1 broker" in project.compose("exec", "-T", "worker", "faust", "-A", "app", "check", check=False),
        "the broker",
    )
    project.wait_until_complete(project.send(3))


def test_prometheus_sees_each_worker_also_when_the_token_has_changed(project: Project) -> None:
    monitoring = ("--profile", "monitoring", "up", "--detach", "--no-build", "--no-deps", "prometheus")
    project.up(2)
    project.compose(*monitoring)
    wait_for(lambda: healthy_targets() == 2, lambda: str(targets()))
    project.environ["AGG_WEB_TOKEN"] = f"{TOKEN}-changed"
    project.up(2)
    project.compose(*monitoring)
    wait_for(lambda: healthy_targets() == 2 and len(targets()) == 2, lambda: str(targets()))
    project.up(1)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("AGG_CALLBACK", "load:callback", "there is no module load"),
        ("AGG_WEB_TOKEN", "change-me", "AGG_WEB_TOKEN=(hidden): must"),
    ],
)
def test_with_a_wrong_setting_no_worker_starts_and_a_line_says_why(
    project: Project, key: str, value: str, said: str
) -> None:
    before = project.containers("worker")
    up = ("up", "--detach", "--no-build", "--scale", "worker=1")
    assert "exit 2" in project.compose(*up, check=False, environ={key: value})
    assert said in project.compose("logs", "check", environ={key: value})
    (container,) = project.containers("worker")
    assert container not in before
    state = inspected(container)
    assert state["State"]["Status"] == "created"
    assert state["RestartCount"] == 0
    project.up(1)


def test_without_a_token_nothing_starts(project: Project) -> None:
    assert "set it to a long random text" in project.compose("config", check=False, environ={"AGG_WEB_TOKEN": ""})


def test_a_missing_folder_is_not_made_for_root(project: Project, tmp_path: Path) -> None:
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    elsewhere = ("--project-name=elsewhere", f"--project-directory={tmp_path}", f"--file={tmp_path}/docker-compose.yml")
    try:
        said = project.compose(*elsewhere, "up", "--detach", "--no-build", "--no-deps", "check", check=False)
        assert "bind source path does not exist" in said
        assert not (tmp_path / "models").exists()
    finally:
        project.compose(*elsewhere, "down", "--volumes")


def wait_until_healthy(container: str) -> None:
    wait_for(
        lambda: inspected(container)["State"]["Health"]["Status"] == "healthy",
        lambda: str(inspected(container)["State"]["Health"]),
    )


def targets() -> list[dict[str, Any]]:
    """What Prometheus scrapes."""
    try:
        answer = httpx.get("http://127.0.0.1:9090/api/v1/targets", timeout=10).raise_for_status()
    except httpx.HTTPError:  # it starts
        return []
    return list(answer.json()["data"]["activeTargets"])


def healthy_targets() -> int:
    return sum(target["health"] == "up" for target in targets())
