"""The dashboard's libraries, as they are in `app/web/static/vendor`: which they are is in its manifest.json.

    python -m tests.web.vendor          # write the files anew from their npm packages
    python -m tests.web.vendor --check  # say what differs from the packages

A library's version is in its file's name, so that a browser may keep it for ever. `replace` in the manifest is all that
is changed: a page whose content security policy forbids inline scripts can have no import map, so an import of another
package names its file.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from tests.web.npm import Package, fetch

__all__ = ["MANIFEST", "VENDOR", "Manifest", "read_manifest"]

VENDOR: Final = Path(__file__).parents[2] / "app" / "web" / "static" / "vendor"
MANIFEST: Final = VENDOR / "manifest.json"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Vendored(_Entry):
    """One file: where it stands in its package, its name here, its hash here, and what was replaced in it."""

    source: str
    name: str
    sha256: str
    replace: dict[str, str] = {}


class Library(_Entry):
    """One package."""

    package: str
    version: str
    licence: str
    integrity: str
    files: tuple[Vendored, ...]


class Manifest(_Entry):
    """All of them."""

    libraries: tuple[Library, ...]


def read_manifest() -> Manifest:
    """The manifest as it is now."""
    return Manifest.model_validate_json(MANIFEST.read_bytes())


def vendored(manifest: Manifest) -> dict[str, bytes]:
    """The files by name, made of their packages.

    Raises:
        NpmError: A package can't be had, or is another.
        ValueError: A text that is to be replaced is not there.
    """
    files: dict[str, bytes] = {}
    for library in manifest.libraries:
        with tempfile.TemporaryDirectory() as folder:
            fetch(Package(library.package, library.version, library.integrity), Path(folder))
            for file in library.files:
                content = (Path(folder) / "package" / file.source).read_bytes()
                for old, new in file.replace.items():
                    if old.encode() not in content:
                        message = f"{library.package} {file.source} has no {old}"
                        raise ValueError(message)
                    content = content.replace(old.encode(), new.encode())
                files[file.name] = content
    return files


def main(arguments: list[str] | None = None) -> int:
    """Write or check; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.web.vendor", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args(arguments).check
    manifest = read_manifest()
    hashes = {file.name: file.sha256 for library in manifest.libraries for file in library.files}
    differing = []
    for name, content in vendored(manifest).items():
        found = hashlib.sha256(content).hexdigest()
        if found != hashes[name]:
            differing.append(f"{name}: sha256 {found}, the manifest says {hashes[name]}")
        if not check:
            (VENDOR / name).write_bytes(content)
        elif (VENDOR / name).read_bytes() != content:
            differing.append(f"{name}: the file is not the package's")
    sys.stdout.writelines(
        f"{line}\n" for line in differing or ["All files are as their packages and the manifest say."]
    )
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
