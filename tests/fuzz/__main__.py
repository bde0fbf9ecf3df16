"""`make fuzz`: give each target so many hostile inputs, guided by coverage where atheris is installed.

Each target runs in a process of its own. What it finds is listed at the end, once for each place, and the inputs that
led to it are kept.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import logging
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import orjson

ROOT = Path(__file__).parents[2]
PACKAGES = ["app.inputs", "app.messages", "app.cli", "app.web", "tables"]
LONGEST = 8192  # bytes of an input
SLOW_SECONDS = 0.5  # of the CPU for one input: nothing of that size takes a tenth of it
MEGABYTES = 1536


class Search:
    """One target's run: counts the inputs, and keeps the first input for each place that fails."""

    def __init__(self, check: Callable[[bytes], None], folder: Path) -> None:
        self._check = check
        self._folder = folder
        self._began = time.monotonic()
        self.count = 0
        self.findings: dict[str, str] = {}

    def look(self, data: bytes) -> None:
        """Give it one input."""
        self.count += 1
        if self._seconds(data) > SLOW_SECONDS and (seconds := self._seconds(data)) > SLOW_SECONDS:
            self._note("slow", data, f"{seconds:.1f} s of the CPU for {len(data)} bytes")

    def _seconds(self, data: bytes) -> float:
        began = time.process_time()
        try:
            self._check(data)
        except Exception as error:  # noqa: BLE001 - anything that is raised is what is looked for
            self._note(f"{type(error).__name__} at {_place(error)}", data, traceback.format_exc())
        return time.process_time() - began

    def _note(self, what: str, data: bytes, text: str) -> None:
        if what not in self.findings:
            path = self._folder / f"finding-{hashlib.sha256(data).hexdigest()[:12]}"
            path.write_bytes(data)
            self.findings[what] = str(path)
            sys.stderr.write(f"{what}: {data[:300]!r}\n{text}\n")

    def store(self) -> None:
        """Write down how far it is."""
        report = {"inputs": self.count, "seconds": time.monotonic() - self._began, "findings": self.findings}
        (self._folder / "report.json").write_bytes(orjson.dumps(report))


def _place(error: Exception) -> str:
    """Name the innermost line of ours that an error has come through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if str(ROOT) in frame.filename]
    last = frames[-1]
    return f"{Path(last.filename).relative_to(ROOT)}:{last.lineno}"


def _atheris() -> Any:
    try:
        return importlib.import_module("atheris")
    except ImportError:
        return None


def run_one(name: str, runs: int, folder: Path, seed: int) -> None:
    """Run one target in this process until it has had so many inputs."""
    logging.disable(logging.CRITICAL)
    atheris = _atheris()
    if atheris is None:
        targets = importlib.import_module("tests.fuzz.targets")
    else:
        with atheris.instrument_imports(include=PACKAGES, enable_loader_override=False):
            targets = importlib.import_module("tests.fuzz.targets")
    mutate = importlib.import_module("tests.fuzz.mutation").mutate
    target = next(target for target in targets.TARGETS if target.name == name)
    search = Search(target.check, folder)
    if atheris is None:
        _search_blindly(search, target.seeds, runs, Random(seed), mutate)  # noqa: S311 - a seed makes it repeatable
        search.store()
        return
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, one in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(one)

    def look(data: bytes) -> None:
        search.look(data)
        if search.count % 5000 == 0 or search.count >= runs:
            search.store()
        if search.count >= runs:
            os._exit(0)  # libFuzzer has no other end that lets go at once

    def change(data: bytes, most: int, number: int) -> bytes:
        random = Random(number)  # noqa: S311
        if random.random() < 0.3:
            return bytes(atheris.Mutate(data, most))
        return bytes(mutate(data, random, most))

    options = [f"-max_len={LONGEST}", f"-seed={seed}", f"-rss_limit_mb={MEGABYTES}", "-timeout=60", "-verbosity=0"]
    atheris.Setup(["fuzz", *options, f"-artifact_prefix={folder}/", str(corpus)], look, custom_mutator=change)
    atheris.Fuzz()


def _search_blindly(search: Search, seeds: Sequence[bytes], runs: int, random: Random, mutate: Any) -> None:
    for _ in range(runs):
        search.look(mutate(random.choice(seeds), random, LONGEST))


def main() -> int:
    """Run the targets, one after the other; 1 when something was found."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", help="their names; all of them without any")
    parser.add_argument("--runs", type=int, default=100_000, help="inputs, of a target of weight 1 (default 100000)")
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"), help="for findings and the corpus")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        run_one(given.targets[0], given.runs, given.folder, given.seed)
        return 0
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - a target's process imports it under instrumentation

    guided = _atheris() is not None
    say("guided by coverage (atheris)" if guided else "atheris is not installed: blind mutation (pip install atheris)")
    unknown = set(given.targets) - {target.name for target in TARGETS}
    if unknown:
        parser.error(f"there is no target {', '.join(sorted(unknown))}; {', '.join(one.name for one in TARGETS)}")
    found, folder = 0, given.folder.resolve()
    for target in TARGETS:
        if not given.targets or target.name in given.targets:
            found += _run(target.name, max(1, int(given.runs * target.weight)), folder / target.name, given.seed)
    return bool(found)


def _run(name: str, runs: int, folder: Path, seed: int) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").unlink(missing_ok=True)
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "tests.fuzz", "--one", name]
        options = ["--runs", str(runs), "--folder", str(folder), "--seed", str(seed)]
        done = subprocess.run([*command, *options], cwd=ROOT, stdout=log, stderr=log, check=False)
    try:
        report = orjson.loads((folder / "report.json").read_bytes())
    except FileNotFoundError:
        report = {"inputs": 0, "seconds": 0.0, "findings": {}}
    if done.returncode:
        report["findings"][f"ended with {done.returncode}, see"] = str(folder / "log")
    say(f"{name}: {report['inputs']} inputs, {report['seconds']:.0f} s, {len(report['findings'])} findings")
    for what, path in report["findings"].items():
        say(f"    {what}: {path}")
    return len(report["findings"])


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
