"""A worker's wall clock that can be stepped while it runs: Debian's libfaketime, which reads the step from a file."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

__all__ = ["SteppedClock", "fetch_libfaketime"]

MULTITHREADED = "libfaketimeMT.so.1"
FETCH_WITHIN = 120.0  # seconds
LOOK_EACH = 1  # second: how often the library reads the file


def fetch_libfaketime(folder: Path) -> Path | str:
    """Return the library, unpacked into a folder that is there, or why it is not to be had."""
    if platform.system() != "Linux" or not (shutil.which("apt-get") and shutil.which("dpkg")):
        return "no Debian, whose libfaketime it takes"
    for command in (["apt-get", "download", "-qq", "libfaketime"], ["sh", "-c", "dpkg -x libfaketime_*.deb ."]):
        try:
            subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_WITHIN, check=True)
        except subprocess.CalledProcessError as error:
            return f"Debian's libfaketime is not to be had: {error.stderr.strip().splitlines()[-1:]}"
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"Debian's libfaketime is not to be had: {error}"
    found = sorted(folder.rglob(MULTITHREADED))
    return found[0] if found else f"no {MULTITHREADED} in Debian's libfaketime"


class SteppedClock:
    """The clock of one worker after the other; durations are not touched, only what the time is."""

    def __init__(self, library: Path, file: Path) -> None:
        self._library, self._file = library, file
        self.step(0)

    @property
    def environment(self) -> Mapping[str, str]:
        """What the worker is started with."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Its mend for waits by the monotonic clock ends them at once: threads that want the interpreter spin, and
            # one with two busy threads does a hundredth of its work.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "FAKETIME_CACHE_DURATION": str(LOOK_EACH),
        }

    def step(self, seconds: int) -> None:
        """Set how far the clock is ahead of the true one; negative: behind."""
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(f"{seconds:+d}\n")
        unfinished.replace(self._file)
