"""What the web knows of its worker. Read on the worker's event loop, anew for each request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from app.observability.history import History
from app.observability.statistics import Statistics
from app.settings.enums import Language
from tables.model.events import Command
from tables.working_set import WorkingSet

__all__ = ["NotConfirmed", "WorkerState"]


class NotConfirmed(Exception):  # noqa: N818 - says it
    """What was to be sent may stand in Kafka, or not."""


class WorkerState(Protocol):
    """A worker."""

    @property
    def url(self) -> str:
        """Where other workers reach this one, such as `http://127.0.0.1:6066`."""

    @property
    def log_language(self) -> Language:
        """Of its log lines."""

    def live(self) -> bool:
        """Whether the worker is working."""

    def ready(self) -> bool:
        """Whether it is in the group, and its assignment, which may be empty, is recovered."""

    def exposition(self, accept: str | None) -> tuple[bytes, str]:
        """The metrics, in the format that an `Accept` header asks for, and their content type."""

    def working_sets(self) -> Mapping[int, WorkingSet]:
        """The batches of the partitions that are owned and recovered; empty before recovery."""

    def members(self) -> Mapping[str, frozenset[int]]:
        """The batches' partitions by the URL of the worker that owns them, as of the latest assignment.

        This worker is among them, and so are those without any; empty before the first assignment.
        """

    def partition_of(self, batch_id: str) -> int:
        """The partition in which a batch of this id lives, if there is one."""

    @property
    def statistics(self) -> Statistics:
        """What it has counted since its start."""

    @property
    def history(self) -> History:
        """Its last hour."""

    @property
    def batch_timeout(self) -> float:
        """Seconds that a batch like the one that closed last would be given, if it were opened now."""

    @property
    def max_batch_age(self) -> float:
        """Seconds after its opening beyond which no batch's deadline is moved."""

    async def send_command(self, command: Command) -> None:
        """Append an operator's command to the log of its batch; returns when that is confirmed.

        Raises:
            NotConfirmed: It was not.
        """
