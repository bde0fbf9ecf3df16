"""An archive of the classes that Kafka loads, from which a JVM starts in half the time and with half of the CPU.

https://docs.oracle.com/en/java/javase/17/vm/class-data-sharing.html; measured with Java 25: making a storage and
starting and stopping a broker took 5.5 s of CPU, with the archive 3.0.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from app.devbroker.config import JVM_OPTIONS, DevBrokerError
from app.devbroker.install import Java, KafkaJars, folder_beside, only_one

_MADE_WITHIN = 240.0  # seconds; it takes 8 on a laptop


def archive_options(
    java: Java, jars: KafkaJars, run_once: Callable[[Sequence[str]], None], report: Callable[[str], None]
) -> tuple[str, ...]:
    """Return the JVM's options that use the archive for this Java, made the first time; none where it can't be made.

    A JVM that the archive does not fit, or whose jars have changed, starts without it.

    Args:
        java: that runs Kafka.
        jars: of Kafka; the archive is kept beside them.
        run_once: starts a broker with these options of the JVM, and stops it.
        report: gets a line of text when it has to be made.
    """
    path = java.path.resolve()
    of_java = hashlib.sha256(f"{path} {path.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    archive = jars.folder / f"classes-{of_java}.jsa"
    if not archive.exists():
        if not os.access(jars.folder, os.W_OK):
            return ()
        with only_one(jars.folder.parent / "install.lock", report):
            if not archive.exists():
                report("Preparing Apache Kafka for quick starts, once ...")
                _make(archive, java, jars, run_once)
    return (f"-XX:SharedArchiveFile={archive}",) if archive.stat().st_size else ()


def _make(archive: Path, java: Java, jars: KafkaJars, run_once: Callable[[Sequence[str]], None]) -> None:
    """Make the archive from what a run has loaded, or an empty file: it is not tried again. The lock is held."""
    with folder_beside(jars.folder / "archive") as partial:
        loaded, made = partial / "loaded", partial / archive.name
        dump = ["-Xshare:dump", f"-XX:SharedClassListFile={loaded}", f"-XX:SharedArchiveFile={made}"]
        with contextlib.suppress(DevBrokerError, subprocess.SubprocessError):
            run_once([f"-XX:DumpLoadedClassList={loaded}"])
            command = [str(java.path), *JVM_OPTIONS, *dump, "-cp", jars.class_path]
            subprocess.run(command, capture_output=True, timeout=_MADE_WITHIN, check=True)  # noqa: S603
        if not made.exists():
            made.touch()
        made.rename(archive)
