"""What of requirements.lock a worker needs, for the image: `python tests/worker_lock.py --write` or `--check`.

The same versions with the same hashes, without the tests' tools and a Java: what pyproject.toml says a worker needs,
with OpenTelemetry, what builds it, and what these need in turn, by the `# via` that the lock has of each. Uses no
network and no package.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = "requirements.lock"
WORKER_LOCK: Final = "requirements.worker.lock"
HEAD: Final = f"# What of {LOCK} a worker needs. Written by `make lock`, checked by `make check`.\n"
EXTRA: Final = "traces"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BLOCK: Final = re.compile(r"^\S+==.*(?:\n[ \t].*)*\n", re.MULTILINE)
_VIA: Final = re.compile(r"^    #(?: via)?[ ]+([A-Za-z0-9][A-Za-z0-9._-]*)", re.MULTILINE)


def worker_lock(lock: str, pyproject: str) -> str:
    """Return the text of the worker's lock.

    Args:
        lock: the text of requirements.lock.
        pyproject: the text of pyproject.toml.

    Raises:
        ValueError: The lock lacks what pyproject.toml asks for.
    """
    blocks = [(_name(block), block) for block in _BLOCK.findall(lock)]
    wanted = set(_asked_for(pyproject))
    if missing := sorted(wanted - {name for name, _ in blocks}):
        message = f"{LOCK} lacks {', '.join(missing)}: make lock"
        raise ValueError(message)
    while more := {name for name, block in blocks if name not in wanted and wanted & set(_needed_by(block))}:
        wanted |= more
    return HEAD + "".join(block for name, block in blocks if name in wanted)


def _asked_for(pyproject: str) -> Iterator[str]:
    content = tomllib.loads(pyproject)
    project = content["project"]
    for requirements in (
        project["dependencies"],
        project["optional-dependencies"][EXTRA],
        content["build-system"]["requires"],
    ):
        yield from map(_name, requirements)


def _needed_by(block: str) -> Iterator[str]:
    return map(_normal, _VIA.findall(block))


def _name(requirement: str) -> str:
    found = _NAME.match(requirement)
    return _normal(found[0] if found else "")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Write the worker's lock, or say whether it is of today."""
    (action,) = sys.argv[1:]
    file = ROOT / WORKER_LOCK
    text = worker_lock((ROOT / LOCK).read_text(encoding="utf-8"), (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if action == "--write":
        file.write_text(text, encoding="utf-8")
    elif not file.exists() or file.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{WORKER_LOCK} is stale: python tests/worker_lock.py --write\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
