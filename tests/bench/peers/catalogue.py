"""The peers: what each is installed from, how it is started, what it promises."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

from app.devbroker.install import cache_folder
from tests.bench.loads import Kind
from tests.bench.programs import Command, NotInstalledError, Place, Program, Promise, Report, arguments

HERE: Final = Path(__file__).parent
REQUIREMENTS: Final = HERE / "requirements.txt"
JAVA_PROJECT: Final = HERE / "kafka_streams"
INSTALL_SECONDS: Final = 300.0
REAL: Final = frozenset({Kind.GUNS, Kind.WINDOW})  # what peers are given: the plants' records
_SHOWN: Final = 300  # characters of what an installer has said last


def _in_python(module: str, packages: tuple[str, ...], report: Report) -> Callable[[Place], Command]:
    """Install packages of the pinned versions into the peers' own environment."""
    home = cache_folder() / f"bench-python-{sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]}"
    python = home / "bin" / "python"
    if not python.exists():
        report(f"Making an environment for the peers in {home} ...")
        venv.create(home, with_pip=True, clear=True)
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary", ":all:"]
    _run([*pip, "-c", str(REQUIREMENTS), *packages])
    return lambda place: Command([str(python), "-m", module, *arguments(place)])


def _in_own_python(module: str, _report: Report) -> Callable[[Place], Command]:
    """Take what the application's own environment has."""
    return lambda place: Command([sys.executable, "-m", module, *arguments(place)])


def _in_java(report: Report) -> Callable[[Place], Command]:
    """Compile the Java project, its jars from Maven Central."""
    java, maven = shutil.which("java"), shutil.which("mvn")
    if java is None or maven is None or shutil.which("javac") is None:
        message = "it needs a JDK (java, javac) and mvn on PATH"
        raise NotInstalledError(message)
    sources = sorted(path for path in JAVA_PROJECT.rglob("*") if path.is_file())
    home = cache_folder() / f"bench-java-{sha256(b''.join(path.read_bytes() for path in sources)).hexdigest()[:12]}"
    built = home / "built"
    if not built.exists():
        report(f"Building the Kafka Streams peer in {home}, its jars (80 MB) from Maven Central ...")
        project = ["-f", str(JAVA_PROJECT / "pom.xml"), f"-DoutputFolder={home}"]
        _run([maven, "-q", "-B", *project, "compile", "dependency:copy-dependencies"])
        built.touch()
    return lambda place: Command(
        [
            java,
            "-Xmx2g",
            "-cp",
            f"{home / 'classes'}:{home / 'dependency'}/*",
            "Merge",
            place.servers,
            place.source,
            place.output,
            str(place.folder),
        ]
    )


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalledError(str(error)) from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-_SHOWN:]
        message = f"{Path(command[0]).name} ended with {done.returncode}: {said}"
        raise NotInstalledError(message)


BYTEWAX: Final = Program(
    "Bytewax",
    partial(_in_python, "tests.bench.peers.bytewax_flow", ("bytewax", "confluent-kafka", "orjson", "tzdata")),
    frozenset({Promise.SURVIVES, Promise.DEADLINE, Promise.EXPECTED}),
    kinds=REAL,
)
QUIX: Final = Program(
    "Quix Streams",
    partial(_in_python, "tests.bench.peers.quix_flow", ("quixstreams", "orjson", "tzdata")),
    frozenset({Promise.SURVIVES, Promise.ORDER}),
    kinds=REAL,
)
FAUST: Final = Program(
    "Faust",
    partial(_in_own_python, "tests.bench.peers.faust_app"),
    frozenset({Promise.DEADLINE, Promise.EXPECTED, Promise.ORDER}),
    share=0.05,
    kinds=REAL,
    # A topic that it has only just made itself is left out of its assignment ("Ignoring missing topic"), for minutes.
    topics=("-stations", "-results", "-opened-changelog", "-arrived-changelog", "-counts-changelog"),
)
KAFKA_STREAMS: Final = Program(
    "Kafka Streams",
    _in_java,
    frozenset({Promise.SURVIVES, Promise.DEADLINE, Promise.EXPECTED, Promise.ORDER}),
    kinds=REAL,
)
PEERS: Final = {"bytewax": BYTEWAX, "quix": QUIX, "faust": FAUST, "kafka-streams": KAFKA_STREAMS}
