"""Dockerfile, docker-compose.yml and the Kubernetes manifests: valid, and in agreement with the program."""

from __future__ import annotations

import json
import os
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
OWN_TOKEN = "0123456789abcdef"  # noqa: S105


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


def manifests() -> list[dict[str, Any]]:
    """The files that are applied, before kustomize has been at them."""
    return [manifest for name in kustomization()["resources"] for manifest in loaded(KUBERNETES / name)]


def kustomization() -> dict[str, Any]:
    (content,) = loaded(KUBERNETES / "kustomization.yaml")
    return content


def loaded(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text()))


def settings_file() -> dict[str, str]:
    """What the ConfigMap is made of."""
    lines = (KUBERNETES / "settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def manifest(kind: str) -> dict[str, Any]:
    (found,) = [one for one in manifests() if one["kind"] == kind]
    return found


def settings_of(environment: dict[str, Any]) -> Settings:
    """What a worker reads in such an environment: of `${KEY:-default}` the default, for `${KEY:?…}` a token."""
    plain = {key: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value)) for key, value in environment.items()}
    plain = {key: re.sub(r"\$\{\w+:\?[^}]*\}", OWN_TOKEN, value) for key, value in plain.items()}
    return load_settings({key: value for key, value in plain.items() if key.startswith("AGG_")}, None)


# -- the image ---------------------------------------------------------------------------------------------------------


def test_the_image_starts_a_worker_without_a_shell_and_without_root() -> None:
    (command,) = re.findall(r"^CMD (.+)$", DOCKERFILE, re.MULTILINE)
    assert json.loads(command) == ["faust", "-A", "app", "worker", "-l", "info"]
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)[-1] == "10001:10001"
    assert "/healthz" in DOCKERFILE
    assert " HOME=/tmp " in DOCKERFILE  # the one folder that can be written
    assert re.findall(r"^FROM (.+)$", DOCKERFILE, re.MULTILINE)[-1].startswith("python:3.13-slim")


# -- compose -----------------------------------------------------------------------------------------------------------


def test_a_composed_worker_gets_settings_that_it_takes() -> None:
    worker = compose()["services"]["worker"]
    settings = settings_of(worker["environment"])
    assert settings.web_host == "0.0.0.0"  # noqa: S104
    assert settings.web_token is not None
    assert settings.traces is False
    assert worker["read_only"] is True
    assert not {"container_name", "ports"} & set(worker)  # or it could not be scaled, or had another port at each start


def test_all_workers_have_one_address_that_stays() -> None:
    web = compose()["services"]["web"]
    port = Settings().web_port
    assert web["ports"] == [f"127.0.0.1:{port}:{port}"]
    configuration = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text()
    assert f"listen {port};" in configuration
    assert f"proxy_pass http://$workers:{port};" in configuration


def test_what_runs_is_bounded_and_comes_back() -> None:
    for name, service in compose()["services"].items():
        at_once = name in {"check", "source-topic"}
        assert service["restart"] == ("no" if at_once else "unless-stopped"), name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}, name
        assert service["mem_limit"], name


def test_workers_start_when_all_has_been_checked_with_their_own_settings() -> None:
    services = compose()["services"]
    assert services["worker"]["depends_on"] == {"check": {"condition": "service_completed_successfully"}}
    assert services["check"]["command"] == ["faust", "-A", "app", "check"]
    assert services["check"]["environment"] == services["worker"]["environment"]
    assert services["check"]["volumes"] == services["worker"]["volumes"]


def test_no_health_check_starts_a_java_or_a_python() -> None:
    assert compose()["services"]["kafka"]["healthcheck"]["test"][:2] == ["CMD", "bash"]
    (check,) = re.findall(r"^HEALTHCHECK .* CMD (.+)$", DOCKERFILE, re.MULTILINE)
    assert check.startswith('["bash"')


def test_there_is_no_token_that_everybody_knows() -> None:
    worker = compose()["services"]["worker"]
    assert worker["environment"]["AGG_WEB_TOKEN"].startswith("${AGG_WEB_TOKEN:?")


def test_nothing_is_published_beyond_this_machine() -> None:
    ports = [port for service in compose()["services"].values() for port in service.get("ports", ())]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_is_mounted_is_there_and_monitoring_is_a_profile() -> None:
    services = compose()["services"]
    volumes = [volume for service in services.values() for volume in service.get("volumes", ())]
    for volume in volumes:
        source = volume.split(":")[0] if isinstance(volume, str) else volume["source"]
        assert not source.startswith("./") or (ROOT / source).exists()
        if source == "./models":
            assert volume["bind"] == {"create_host_path": False}  # Docker would make it root's
    in_profile = {name for name, service in services.items() if service.get("profiles") == ["monitoring"]}
    assert in_profile == {"prometheus", "grafana"}


def test_prometheus_scrapes_every_worker_with_the_workers_token() -> None:
    (job,) = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    services = compose()["services"]
    assert job["dns_sd_configs"] == [
        {"names": ["worker"], "type": "A", "port": Settings().web_port, "refresh_interval": "10s"}
    ]
    assert services["prometheus"]["configs"] == [
        {"source": "web-token", "target": job["authorization"]["credentials_file"]}
    ]
    token = services["worker"]["environment"]["AGG_WEB_TOKEN"]
    assert compose()["configs"]["web-token"]["content"] == token
    assert services["prometheus"]["environment"]["AGG_WEB_TOKEN"] == token  # or a new one would not make it anew


@pytest.mark.skipif(
    shutil.which("docker") is None
    or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0,
    reason="needs docker compose",
)
def test_docker_compose_takes_it() -> None:
    command = ["docker", "compose", "--profile", "monitoring", "config", "--quiet"]
    environ = {**os.environ, "AGG_WEB_TOKEN": OWN_TOKEN}
    ran = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


# -- Kubernetes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.29", "1.34"])
def test_kubernetes_takes_the_manifests(version: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    for one in manifests():
        kubernetes_validate.validate(one, version, strict=True)


def test_a_pod_gets_settings_that_its_worker_takes() -> None:
    (container,) = manifest("StatefulSet")["spec"]["template"]["spec"]["containers"]
    names = [source[kind]["name"] for source in container["envFrom"] for kind in source]
    made = [*kustomization()["configMapGenerator"], *kustomization()["secretGenerator"]]
    assert names == [one["name"] for one in made]
    settings = settings_of({**settings_file(), "AGG_WEB_TOKEN": OWN_TOKEN})
    assert settings.web_advertised_url is None  # it is found out, for IPv6 too
    assert [port["containerPort"] for port in container["ports"]] == [settings.web_port]


def test_there_is_no_secret_that_everybody_knows() -> None:
    (secret,) = kustomization()["secretGenerator"]
    assert secret["envs"] == ["secrets.env"]
    said = subprocess.run(
        ["git", "check-ignore", "deploy/kubernetes/secrets.env"], cwd=ROOT, capture_output=True, check=False
    )
    assert said.returncode in {0, 128}  # ignored; or this is no checkout
    assert "Secret" not in {one["kind"] for one in manifests()}


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
    assert settings_file()["AGG_INSTANCE_ID"] == "{hostname}"


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
    assert {service["spec"]["ipFamilyPolicy"] for service in services} == {"PreferDualStack"}
    assert manifest("StatefulSet")["spec"]["serviceName"] == services[0]["metadata"]["name"]
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels


# -- what kustomize makes of them --------------------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The folder deploy/ with secrets."""
    folder = tmp_path / "deploy"
    shutil.copytree(ROOT / "deploy", folder, ignore=shutil.ignore_patterns("secrets.env"))
    (folder / "kubernetes" / "secrets.env").write_text(f"AGG_WEB_TOKEN={OWN_TOKEN}\n")
    return folder


def take_in(folder: Path) -> None:
    """Have kustomizations take in what is commented out in them, for the Prometheus operator."""
    for file in folder.rglob("kustomization.yaml"):
        text = re.sub(r"^(\s*)# (components:|  - \S+|- \S+)$", r"\1\2", file.read_text(), flags=re.MULTILINE)
        file.write_text(text)


def built(folder: Path) -> list[dict[str, Any]]:
    """What kustomize makes of a folder."""
    command = ["kubectl", "kustomize"] if shutil.which("kubectl") else ["kustomize", "build"]
    if shutil.which(command[0]) is None:
        pytest.skip("needs kubectl or kustomize")
    ran = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return list(yaml.safe_load_all(ran.stdout))


def test_a_changed_setting_makes_new_pods(copied: Path) -> None:
    def sources() -> list[dict[str, Any]]:
        (workers,) = (one for one in built(copied / "kubernetes") if one["kind"] == "StatefulSet")
        found: list[dict[str, Any]] = workers["spec"]["template"]["spec"]["containers"][0]["envFrom"]
        return found

    before = sources()
    (copied / "kubernetes" / "secrets.env").write_text("AGG_WEB_TOKEN=fedcba9876543210\n")
    after = sources()
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_without_secrets_nothing_is_made(copied: Path) -> None:
    built(copied / "kubernetes")
    (copied / "kubernetes" / "secrets.env").unlink()
    with pytest.raises(AssertionError, match=r"secrets\.env"):
        built(copied / "kubernetes")


def test_two_models_in_one_namespace_have_nothing_in_common(copied: Path) -> None:
    take_in(copied / "two-models")
    made = built(copied / "two-models")
    assert len({(one["kind"], one["metadata"]["name"]) for one in made}) == len(made)
    selected = []
    for name in ("load", "price"):
        own = [one for one in made if one["metadata"]["name"].startswith(f"{name}-")]
        assert sorted(one["kind"] for one in own) == [
            "ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "PodMonitor", "Secret", "Service", "Service",
            "StatefulSet",
        ]  # fmt: skip
        by_kind = {one["kind"]: one for one in own}
        labels = by_kind["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
        assert by_kind["StatefulSet"]["spec"]["serviceName"] == f"{name}-batch-aggregator-workers"
        for selector in (
            by_kind["StatefulSet"]["spec"]["selector"]["matchLabels"],
            by_kind["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
            by_kind["PodMonitor"]["spec"]["selector"]["matchLabels"],
            by_kind["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
            by_kind["NetworkPolicy"]["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"],
            *(one["spec"]["selector"] for one in own if one["kind"] == "Service"),
        ):
            assert selector == labels
        selected.append(labels)
        names = [
            source[kind]["name"]
            for source in by_kind["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]["envFrom"]
            for kind in source
        ]
        assert names == [by_kind["ConfigMap"]["metadata"]["name"], by_kind["Secret"]["metadata"]["name"]]
        (scraped,) = by_kind["PodMonitor"]["spec"]["podMetricsEndpoints"]
        assert scraped["authorization"]["credentials"]["name"] == by_kind["Secret"]["metadata"]["name"]
        job = labels[by_kind["PodMonitor"]["spec"]["jobLabel"]]
        assert re.fullmatch("batch-aggregator.*", job)  # as the alerts have it
    assert selected[0] != selected[1]
    configured = [settings_of(one["data"] | {"AGG_WEB_TOKEN": OWN_TOKEN}) for one in made if one["kind"] == "ConfigMap"]
    assert len({settings.app_id for settings in configured}) == 2
    assert len({settings.output_topic for settings in configured}) == 2
    assert [one["kind"] for one in made].count("PrometheusRule") == 1


@pytest.mark.parametrize("folder", ["kubernetes", "two-models"])
def test_kubernetes_takes_what_is_made(copied: Path, folder: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    take_in(copied / folder)
    made = built(copied / folder)
    assert {"PodMonitor", "PrometheusRule", "NetworkPolicy", "StatefulSet"} <= {one["kind"] for one in made}
    for one in made:
        if not one["apiVersion"].startswith("monitoring.coreos.com/"):  # the operator's own
            kubernetes_validate.validate(one, "1.34", strict=True)
