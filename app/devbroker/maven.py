"""The jars of Apache Kafka, fetched from Maven Central. Imports the extra `demo`."""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import Artifact, MavenContext, PythonResolver

from app.devbroker.config import DevBrokerError

_DOWNLOADS_AT_ONCE = 4
_PROGRESS_EVERY = 10  # jars
_PAUSES = (0.5, 2.0, 6.0)  # seconds between the attempts at a download
_HTTP_TIMEOUT = 30  # seconds without a byte


class _CarefulResolver(PythonResolver):
    """jgo's resolver, but a download is tried again, and a broken file never stays in the repository.

    jgo itself takes any file that is there for a good one, and only logs a checksum that does not match.
    """

    def download(self, artifact: Artifact) -> Path | None:
        """Download one file of a component (POM or jar), or raise what the last attempt raised."""
        for pause in _PAUSES:
            try:
                return self._download_once(artifact)
            # requests' errors are OSErrors; any status but 200 is a RuntimeError of jgo.
            except (OSError, RuntimeError, zipfile.BadZipFile):
                time.sleep(pause)
        return self._download_once(artifact)

    def _download_once(self, artifact: Artifact) -> Path | None:
        try:
            path = super().download(artifact)
            if path is not None and path.suffix == ".jar":
                _check(path)
        except BaseException:
            if artifact.cached_path is not None:
                artifact.cached_path.unlink(missing_ok=True)
            raise
        return path


def _check(jar: Path) -> None:
    """Read a jar to its end, against the checksums in it.

    Raises:
        zipfile.BadZipFile: it is damaged.
    """
    with zipfile.ZipFile(jar) as archive:
        if broken := archive.testzip():
            message = f"{jar.name} is damaged at {broken}"
            raise zipfile.BadZipFile(message)


def fetch_jars(version: str, folder: Path, report: Callable[[str], None]) -> list[str]:
    """Fetch Kafka and all it depends on from Maven Central (45 MB) into a folder.

    A mirror can be named in jgo's own settings: section `[repositories]` of `~/.config/jgo.conf`; it is tried first.

    Returns:
        The names of the jars, in the order of the class path.

    Raises:
        DevBrokerError: Maven Central can't be reached, or sends damaged files.
    """
    report(f"Fetching Apache Kafka {version}, this once: 45 MB from Maven Central. Looking up what it depends on ...")
    maven = folder / "maven"
    # Only jgo's Maven layer is used: its environments would want a JDK's `jar` tool, and download a JDK to get it.
    context = MavenContext(
        resolver=_CarefulResolver(),
        repo_cache=maven,
        remote_repos={**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL},
        timeout=_HTTP_TIMEOUT,
    )
    try:
        artifacts = _with_dependencies(context, version)
        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as threads:
            downloads = [threads.submit(artifact.resolve) for artifact in artifacts]
            try:
                for count, done in enumerate(as_completed(downloads), start=1):
                    done.result()
                    if count % _PROGRESS_EVERY == 0 or count == len(downloads):
                        report(f"Apache Kafka: {count} of {len(downloads)} jars.")
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        message = (
            f"could not fetch Apache Kafka {version} from {', '.join(context.remote_repos.values())}: {error}. "
            "Check the network and its proxy (HTTPS_PROXY), or set AGG_BROKER to a Kafka that is running already."
        )
        raise DevBrokerError(message) from error
    names = [
        download.result().rename(folder / artifact.filename).name
        for artifact, download in zip(artifacts, downloads, strict=True)
    ]
    shutil.rmtree(maven)
    return names


def _with_dependencies(context: MavenContext, version: str) -> list[Artifact]:
    """Resolve Kafka's class path, and the jar that joins its log calls (slf4j 1.7) to the log4j that it brings.

    That jar must be of log4j's own version, and is not given to the resolver: jgo would take its parent POM for a list
    of versions to use, and put older ones of other jars on the class path.
    """
    kafka = context.create_dependency(f"org.apache.kafka:kafka_2.13:{version}")
    inputs, transitive = context.resolver.resolve([kafka])
    artifacts = [dependency.artifact for dependency in inputs + transitive]
    log4j = next(artifact.version for artifact in artifacts if artifact.artifactId == "log4j-core")
    slf4j = context.project("org.apache.logging.log4j", "log4j-slf4j-impl").at_version(log4j)
    return [*artifacts, slf4j.artifact()]
