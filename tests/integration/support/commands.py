"""`faust -A app ...` as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

from tests.integration.support.cluster import Cluster
from tests.integration.support.waiting import PATIENCE
from tests.integration.support.worker import clean_environment

__all__ = ["Command", "command_of"]

Command = Callable[..., subprocess.CompletedProcess[str]]


def command_of(cluster: Cluster, command: str) -> Command:
    """A command with the settings of a cluster; others by name."""

    def run(*arguments: str, stdout: Any = subprocess.PIPE, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "faust", "-A", "app", command, *arguments],
            env=clean_environment(**(cluster.settings | settings)),
            cwd=cluster.folder,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    return run
