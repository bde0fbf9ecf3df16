"""docker-compose.yml, run: a project of this checkout on the engine that DOCKER_HOST names."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from tests.integration.support.data import SentBatch, batch_of, stations_of
from tests.integration.support.waiting import wait_for

ROOT: Final = Path(__file__).parents[2]
TOPIC: Final = "SCHEDULE-STATION-REALTIME-DATA"
TOKEN: Final = "a-token-of-the-tests-0123456789"  # noqa: S105
IMAGE: Final = "station-batch-aggregator"


def docker(*arguments: str, text: str = "", check: bool = True, environ: Mapping[str, str] | None = None) -> str:
    """What docker prints, standard error behind standard output."""
    ran = subprocess.run(
        ["docker", *arguments], cwd=ROOT, env={**os.environ, **(environ or {})}, input=text, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert not check or ran.returncode == 0, f"docker {' '.join(arguments)}: {ran.returncode}\n{ran.stdout}"
    return ran.stdout


class Project:
    """The services of docker-compose.yml, whose batches wait for a worker that comes back (patient.yml)."""

    def __init__(self) -> None:
        files = ("docker-compose.yml", "tests/image/patient.yml")
        self.environ = {"AGG_WEB_TOKEN": TOKEN, "COMPOSE_FILE": os.pathsep.join(files)}
        self._batches = 0

    def compose(
        self, *arguments: str, text: str = "", check: bool = True, environ: Mapping[str, str] | None = None
    ) -> str:
        """Run docker compose; `environ` is over the project's."""
        return docker(
            "compose", "--ansi=never", *arguments, text=text, check=check, environ={**self.environ, **(environ or {})}
        )

    def up(self, workers: int = 1, *services: str) -> None:
        """Have so many workers, and wait until all of them are ready."""
        self.compose("up", "--detach", "--no-build", "--scale", f"worker={workers}", *services)
        self.wait_for_workers(workers)

    def wait_for_workers(self, count: int) -> None:
        """Wait until just so many workers are there, all ready, with all partitions between them."""

        def as_wanted() -> bool:
            workers = self.workers()
            partitions = sorted(partition for one in workers for partition in one["partitions"])
            return len(workers) == count and all(one["ready"] for one in workers) and partitions == list(range(8))

        wait_for(as_wanted, lambda: f"{count} workers, but {self.workers()}\n{self.compose('ps', '--all')}")

    def workers(self) -> list[dict[str, Any]]:
        """The workers that /cluster tells of; none while nobody answers."""
        answer = self.ask("/cluster")
        return list(answer["workers"]) if answer is not None else []

    def ask(self, path: str) -> dict[str, Any] | None:
        """What the one address of all workers answers; None while it does not."""
        try:
            answer = httpx.get(
                f"http://127.0.0.1:6066{path}",
                headers={"Authorization": f"Bearer {self.environ['AGG_WEB_TOKEN']}"},
                timeout=10,
            )
        except httpx.HTTPError:
            return None
        content: dict[str, Any] | None = answer.json() if answer.status_code == httpx.codes.OK else None
        return content

    def send(self, count: int) -> list[SentBatch]:
        """Send further batches of three stations, with the command that the README names."""
        stations = stations_of("R", range(3))
        sent = [batch_of(TOPIC, self._batches + number, stations) for number in range(count)]
        self._batches += count
        lines = "".join(f"{batch.value.decode()}\n" for batch in sent)
        said = self.compose("exec", "-T", "worker", "faust", "-A", "app", "send", "-", text=lines)
        assert f"{count} message" in said, said
        return sent

    def wait_until_complete(self, sent: Sequence[SentBatch]) -> None:
        """Wait until all of these batches are out with all of their stations."""
        open_yet = {batch.batch_id for batch in sent}

        def all_complete() -> bool:
            for batch_id in sorted(open_yet):
                row = self.ask(f"/batches/{batch_id}")
                if row is None or row["status"] != "complete":
                    return False
                open_yet.discard(batch_id)
            return True

        wait_for(all_complete, lambda: f"not complete: {open_yet}\n{self.compose('logs', '--tail=30')}")

    def containers(self, service: str) -> list[str]:
        """Ids of the service's containers, those that have ended too."""
        return self.compose("ps", "--all", "--quiet", service).split()


def inspected(container: str) -> dict[str, Any]:
    """What the engine knows of a container."""
    (found,) = json.loads(docker("inspect", container))
    return dict(found)


def crash(container: str) -> None:
    """Kill what runs in a container as the kernel would, behind the engine's back: then it restarts."""
    started = inspected(container)["State"]["StartedAt"]
    os.kill(inspected(container)["State"]["Pid"], signal.SIGKILL)
    wait_for(lambda: is_up(container) and inspected(container)["State"]["StartedAt"] != started, "a new start")


def is_up(container: str) -> bool:
    """Whether it runs."""
    return bool(inspected(container)["State"]["Running"])
