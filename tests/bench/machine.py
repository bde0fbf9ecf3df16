"""What a measurement was made on: date, machine, versions, command."""

from __future__ import annotations

import platform
import re
import shlex
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from app.devbroker.install import KAFKA_VERSION, find_java
from tests.bench.cluster import ROOT
from tests.bench.peers.catalogue import JAVA_PROJECT, REQUIREMENTS
from tests.bench.programs import Program


def described(given: Sequence[str], peers: Sequence[Program], *, chinese: bool) -> str:
    """Return it in a line, for a page.

    Args:
        given: the arguments of the benchmark's command line.
        peers: those that were to be measured.
        chinese: the page's language.
    """
    cores, memory = psutil.cpu_count(), psutil.virtual_memory().total / 2**30
    machine = f"{cores} {'核' if chinese else 'cores'} ({_processor()}), {memory:.0f} GiB"
    versions = f"Python {platform.python_version()}, Apache Kafka {KAFKA_VERSION}, Java {find_java().version}"
    names = ", ".join([f"faust-streaming {version('faust-streaming')}", *_pinned()]) if peers else ""
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    parts = [date, _commit(), machine, versions, *([names] if names else []), f"`{command_of(given)}`"]
    return ("；" if chinese else "; ").join(parts)


def command_of(given: Sequence[str]) -> str:
    """Return the `make bench` that has these arguments."""
    rest = [*given]
    all_peers = rest[:1] == ["--peers"] and (len(rest) == 1 or rest[1].startswith("-"))
    quoted = shlex.join(rest[1:] if all_peers else rest)
    return " ".join(["make bench", *(["PEERS=1"] if all_peers else []), *([f'ARGS="{quoted}"'] if quoted else [])])


def _commit() -> str:
    """Return the commit that was measured, marked where the tree was changed."""
    shown = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return f"commit {shown.stdout.strip() or 'unknown'}"


def _processor() -> str:
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _pinned() -> list[str]:
    """Return the versions of the frameworks that the peers are written for."""
    lines = [line.partition("==") for line in REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    streams = re.search(r"kafka-streams</artifactId>\s*<version>([^<]+)", (JAVA_PROJECT / "pom.xml").read_text())
    frameworks = {"bytewax": "Bytewax", "quixstreams": "Quix Streams", "confluent-kafka": "confluent-kafka"}
    found = [f"{frameworks[name]} {pinned}" for name, _, pinned in lines if name in frameworks]
    return [*found, f"Kafka Streams {streams[1]}"] if streams else found
