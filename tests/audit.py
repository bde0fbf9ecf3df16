"""Known vulnerabilities in locked requirements: `python tests/audit.py FILE`, with pip-audit beside that Python.

Exit code 0: every package was looked up, and none is known; 1: there are some; 77: no service of advisories has told.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SERVICES = ("pypi", "osv")
NOT_TO_BE_HAD = 77


def main() -> int:
    """Ask one service after the other until one knows the packages."""
    (file,) = sys.argv[1:]
    for service in SERVICES:
        packages = asked(service, file)
        unknown = [package["name"] for package in packages if "skip_reason" in package]
        if len(unknown) < len(packages):
            return told(file, service, packages, unknown)
        say(f"{service} does not answer, or knows none of the packages")
    say(f"not to be had: {file} was not audited")
    return NOT_TO_BE_HAD


def asked(service: str, file: str) -> list[dict[str, Any]]:
    """Return what a service says of each package; nothing where it does not answer."""
    audit = [str(Path(sys.executable).with_name("pip-audit")), "--vulnerability-service", service, "--format", "json"]
    locked = ["--requirement", file, "--require-hashes", "--disable-pip", "--progress-spinner", "off"]
    done = subprocess.run([*audit, *locked], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        return []
    return packages


def told(file: str, service: str, packages: list[dict[str, Any]], unknown: list[str]) -> int:
    """Print what is known."""
    known = [(package, one) for package in packages for one in package.get("vulns", ())]
    for package, one in known:
        mended = ", ".join(one["fix_versions"]) or "no version yet"
        say(f"{package['name']} {package['version']}: {one['id']}, mended in {mended}")
    if unknown:
        say(f"not looked up: {', '.join(unknown)}")
    say(f"{file}: {len(packages) - len(unknown)} packages looked up at {service}, {len(known)} known vulnerabilities")
    return 1 if known else NOT_TO_BE_HAD if unknown else 0


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
