"""The web of workers, asked over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from tests.integration.support.cluster import Cluster
from tests.integration.support.waiting import PATIENCE, wait_for
from tests.integration.support.worker import PATIENT, WorkerProcess

__all__ = ["TOKEN", "ask", "two_workers"]

TOKEN = "a-token-of-the-tests"  # noqa: S105


def ask(
    worker: WorkerProcess, path: str, *, method: str = "GET", token: str | None = TOKEN, **more: Any
) -> httpx.Response:
    """One request, with the token that all workers have unless told otherwise."""
    headers = more.pop("headers", {}) | ({"authorization": f"Bearer {token}"} if token else {})
    return httpx.request(method, worker.url + path, headers=headers, timeout=PATIENCE, **more)


def two_workers(
    cluster: Cluster, environment: Mapping[str, str] | None = None, **settings: str
) -> tuple[WorkerProcess, WorkerProcess]:
    """Two workers that both own partitions, and know it.

    They stay in their group however busy the machine is, unless the environment has OWN_SESSION: then the group does
    not wait long for one that has died.
    """
    own = {"web_token": TOKEN} | settings
    workers = [cluster.start(own, environment, PATIENT) for _ in range(2)]
    for worker in workers:
        worker.wait_ready()

    def shared() -> bool:
        members = [ask(worker, "/cluster").json().get("workers", []) for worker in workers]
        return all(len(seen) == 2 and all(one["ready"] and one["partitions"] for one in seen) for seen in members)

    wait_for(shared, lambda: f"both own partitions\n{cluster.logs()}")
    return workers[0], workers[1]
