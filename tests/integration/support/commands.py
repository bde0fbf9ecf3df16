"""`faust -A app ...` as a user runs it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import IO, Any

from tests.integration.support.cluster import Cluster
from tests.integration.support.waiting import PATIENCE
from tests.integration.support.worker import clean_environment
from tests.warm_python import run_python

__all__ = ["Command", "command_of"]

Command = Callable[..., subprocess.CompletedProcess[str]]


def command_of(cluster: Cluster, command: str, app: str = "app") -> Command:
    """A command of an application with the settings of a cluster; others by name."""

    def run(*arguments: str, stdout: IO[Any] | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
        done = run_python(
            ["faust", "-A", app, command, *arguments],
            env=clean_environment(**(cluster.settings | settings)),
            cwd=cluster.folder,
            stdout=stdout,
            timeout=PATIENCE,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run
