"""The stages of `make check`: each runs, whatever became of the one before it, and has a line; the last says it all."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(sys.executable).parent  # with the tools of the environment
STAGES: dict[str, Sequence[str | Path]] = {
    "format": (HERE / "ruff", "format", "--check", "."),
    "lint": (HERE / "ruff", "check", "."),
    "layers": (HERE / "lint-imports", "--no-logo"),
    "types": (HERE / "mypy",),
    "settings": (sys.executable, "-m", "app.settings.table", "--check", "docs/settings.md", "docs/settings.zh-CN.md"),
    "worker's lock": (sys.executable, "tests/worker_lock.py", "--check"),
    "operator's rules": (sys.executable, "-m", "tests.operator_rules", "--check"),
    "reference": (sys.executable, "-m", "tests.reference", "--check", "docs/reference.md"),
    "tests": ("make", "--no-print-directory", "test"),
}


def main() -> int:
    """Run them; 0 when all are green."""
    red, began = [], time.monotonic()
    for name, command in STAGES.items():
        started = time.monotonic()
        green = subprocess.run(command, check=False).returncode == 0
        say(f"{name}: {'green' if green else 'RED'}", started)
        if not green:
            red.append(name)
    say(f"check: {'RED: ' + ', '.join(red) if red else 'all is green'}", began)
    return bool(red)


def say(what: str, since: float) -> None:
    """Print a line with the time that it took."""
    minutes, seconds = divmod(time.monotonic() - since, 60)
    sys.stdout.write(f"== {what}, {minutes:.0f} min {seconds:.1f} s\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
