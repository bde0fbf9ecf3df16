"""The archive of Kafka's classes, with a Java that only takes down how it is called."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.devbroker import DevBrokerError
from app.devbroker.archive import archive_options
from app.devbroker.install import KAFKA_VERSION, Java, KafkaJars

DUMPS = """for option; do case $option in -XX:SharedArchiveFile=*) echo classes > "${option#*=}";; esac; done"""


@pytest.fixture
def jars(tmp_path: Path) -> KafkaJars:
    folder = tmp_path / "cache" / "kafka"
    folder.mkdir(parents=True)
    return KafkaJars(KAFKA_VERSION, folder, ("kafka.jar",))


def java_that(tmp_path: Path, does: str, name: str = "java") -> Java:
    path = tmp_path / name
    path.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n{does}\n')
    path.chmod(0o755)
    return Java(path, 17)


class Broker:
    """What is asked to run once."""

    def __init__(self, error: str = "") -> None:
        self.runs: list[Sequence[str]] = []
        self._error = error

    def run(self, options: Sequence[str]) -> None:
        self.runs.append(options)
        if self._error:
            raise DevBrokerError(self._error)


def test_it_is_made_once_from_what_a_broker_has_loaded(tmp_path: Path, jars: KafkaJars) -> None:
    java, broker, said = java_that(tmp_path, DUMPS), Broker(), list[str]()
    first, second = (archive_options(java, jars, broker.run, said.append) for _ in range(2))
    assert first == second
    (archive,) = jars.folder.iterdir()
    assert (first, archive.read_text()) == ((f"-XX:SharedArchiveFile={archive}",), "classes\n")
    ((listed,),) = broker.runs
    (dump,) = (tmp_path / "calls").read_text().splitlines()
    assert listed.replace("DumpLoadedClassList", "SharedClassListFile") in dump
    assert f"-cp {jars.class_path}" in dump
    assert said == ["Preparing Apache Kafka for quick starts, once ..."]


def test_each_java_has_its_own(tmp_path: Path, jars: KafkaJars) -> None:
    java, other, broker = java_that(tmp_path, DUMPS), java_that(tmp_path, DUMPS, "other"), Broker()
    options = {archive_options(one, jars, broker.run, print) for one in (java, other, java)}
    os.utime(other.path, (1, 1))  # another version in the same place
    options.add(archive_options(other, jars, broker.run, print))
    assert (len(options), len(broker.runs)) == (3, 3)


@pytest.mark.parametrize(
    ("does", "error"), [("exit 1", ""), ("exit 0", ""), (DUMPS, "Kafka was not ready")], ids=["fails", "none", "no run"]
)
def test_where_it_can_not_be_made_kafka_starts_without_and_it_is_not_tried_again(
    does: str, error: str, tmp_path: Path, jars: KafkaJars
) -> None:
    java, broker = java_that(tmp_path, does), Broker(error)
    assert [archive_options(java, jars, broker.run, print) for _ in range(2)] == [(), ()]
    assert len(broker.runs) == 1


def test_jars_that_somebody_else_keeps_are_left_as_they_are(
    tmp_path: Path, jars: KafkaJars, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests' user may be root, who may write everywhere
    broker = Broker()
    assert archive_options(java_that(tmp_path, DUMPS), jars, broker.run, print) == ()
    assert (broker.runs, list(jars.folder.iterdir())) == ([], [])


def test_what_a_killed_attempt_left_is_no_archive(tmp_path: Path, jars: KafkaJars) -> None:
    (jars.folder / "archive.partial").mkdir()
    (jars.folder / "archive.partial" / "half").touch()
    options = archive_options(java_that(tmp_path, DUMPS), jars, Broker().run, print)
    (archive,) = jars.folder.iterdir()
    assert options == (f"-XX:SharedArchiveFile={archive}",)
