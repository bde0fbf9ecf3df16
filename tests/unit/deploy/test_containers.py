"""Dockerfile, docker-compose.yml and the Kubernetes manifests: valid, and in agreement with the program."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings, load_settings

ROOT = Path(__file__).parents[3]
KUBERNETES = ROOT / "deploy" / "kubernetes"
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


def manifests() -> list[dict[str, Any]]:
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    return [manifest for name in listed for manifest in yaml.safe_load_all((KUBERNETES / name).read_text())]


def manifest(kind: str) -> dict[str, Any]:
    (found,) = [one for one in manifests() if one["kind"] == kind]
    return found


def settings_of(environment: dict[str, Any]) -> Settings:
    """What a worker reads in such an environment, with the defaults of `${KEY:-default}`."""
    plain = {key: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value)) for key, value in environment.items()}
    return load_settings({key: value for key, value in plain.items() if key.startswith("AGG_")}, None)


# -- the image ---------------------------------------------------------------------------------------------------------


def test_the_image_starts_a_worker_without_a_shell_and_without_root() -> None:
    (command,) = re.findall(r"^CMD (.+)$", DOCKERFILE, re.MULTILINE)
    assert json.loads(command) == ["faust", "-A", "app", "worker", "-l", "info"]
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)[-1] == "10001:10001"
    assert "/healthz" in DOCKERFILE
    assert "'.[traces]'" in DOCKERFILE  # or AGG_TRACES would be refused in it
    assert re.findall(r"^FROM (.+)$", DOCKERFILE, re.MULTILINE)[-1].startswith("python:3.13-slim")


# -- compose -----------------------------------------------------------------------------------------------------------


def test_a_composed_worker_gets_settings_that_it_takes() -> None:
    worker = compose()["services"]["worker"]
    settings = settings_of(worker["environment"])
    assert settings.web_host == "0.0.0.0"  # noqa: S104
    assert settings.web_token is not None
    assert settings.traces is False
    assert worker["ports"] == [f"127.0.0.1:6066-6075:{settings.web_port}"]
    assert worker["read_only"] is True
    assert "container_name" not in worker  # or it could not be scaled


def test_nothing_is_published_beyond_this_machine() -> None:
    ports = [port for service in compose()["services"].values() for port in service.get("ports", ())]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_is_mounted_is_there_and_monitoring_is_a_profile() -> None:
    services = compose()["services"]
    mounted = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", ())]
    for source in mounted:
        # ./models is the user's; Docker makes it.
        assert not source.startswith("./") or source == "./models" or (ROOT / source).exists()
    in_profile = {name for name, service in services.items() if service.get("profiles") == ["monitoring"]}
    assert in_profile == {"prometheus", "grafana"}


def test_prometheus_scrapes_every_worker_with_the_workers_token() -> None:
    (job,) = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    services = compose()["services"]
    assert job["dns_sd_configs"] == [{"names": ["worker"], "type": "A", "port": Settings().web_port}]
    assert services["prometheus"]["configs"] == [
        {"source": "web-token", "target": job["authorization"]["credentials_file"]}
    ]
    assert compose()["configs"]["web-token"]["content"] == services["worker"]["environment"]["AGG_WEB_TOKEN"]


@pytest.mark.skipif(
    shutil.which("docker") is None
    or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0,
    reason="needs docker compose",
)
def test_docker_compose_takes_it() -> None:
    command = ["docker", "compose", "--profile", "monitoring", "config", "--quiet"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


# -- Kubernetes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.29", "1.34"])
def test_kubernetes_takes_the_manifests(version: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    for one in manifests():
        kubernetes_validate.validate(one, version, strict=True)


def test_a_pod_gets_settings_that_its_worker_takes() -> None:
    pod = manifest("StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    names = {source[kind]["name"] for source in container["envFrom"] for kind in source}
    assert names == {manifest("ConfigMap")["metadata"]["name"], manifest("Secret")["metadata"]["name"]}
    own = {variable["name"]: variable["value"].replace("$(POD_IP)", "10.0.0.7") for variable in container["env"][1:]}
    settings = settings_of(manifest("ConfigMap")["data"] | manifest("Secret")["stringData"] | own)
    assert settings.web_advertised_url == "http://10.0.0.7:6066"
    assert [port["containerPort"] for port in container["ports"]] == [settings.web_port]


def test_a_pod_has_no_rights_and_writes_nowhere() -> None:
    pod = manifest("StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == "10001:10001"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"]
    assert container["resources"]["limits"]["memory"]


def test_a_worker_is_called_as_its_pod_which_keeps_its_name() -> None:
    assert manifest("StatefulSet")["spec"]["podManagementPolicy"] == "Parallel"  # no start waits for another's
    assert manifest("ConfigMap")["data"]["AGG_INSTANCE_ID"] == "{hostname}"


def test_an_update_waits_until_the_new_worker_is_ready() -> None:
    workers = manifest("StatefulSet")["spec"]
    (container,) = workers["template"]["spec"]["containers"]
    assert workers["updateStrategy"] == {"type": "RollingUpdate"}  # one at a time
    assert workers["minReadySeconds"] > 0
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert manifest("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_services_and_budget_select_the_pods() -> None:
    labels = manifest("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    services = [one for one in manifests() if one["kind"] == "Service"]
    assert [service["spec"]["selector"] for service in services] == [labels, labels]
    assert [service["spec"].get("clusterIP") for service in services] == ["None", None]
    assert manifest("StatefulSet")["spec"]["serviceName"] == services[0]["metadata"]["name"]
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
