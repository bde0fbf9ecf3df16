"""The worker as its web sees it: read on the worker's event loop, anew for each request."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol

from app.messages.replays import Replay
from app.observability.counters import Statistics
from app.observability.peers import Peers
from app.settings import Settings
from app.web.topics import OpenTopic, Topics
from tables.model.events import Command
from tables.working_set import WorkingSet


class NotConfirmed(Exception):  # noqa: N818 - says it
    """A command that was to be sent may stand in Kafka, or not."""


class Standing(NamedTuple):
    """A partition that this worker reads, and how far it is.

    Attributes:
        topic: The topic.
        partition: Its number.
        committed: The offset up to which the group's progress is stored; None: not known yet.
        end: The offset behind the last message; None: not known yet.
        lag: Messages that are not done; None: not known yet.
        oldest_unacknowledged_at: Time of the oldest message that has been read and is not done, Unix seconds.
    """

    topic: str
    partition: int
    committed: int | None
    end: int | None
    lag: int | None
    oldest_unacknowledged_at: float | None


class WorkerState(Protocol):
    """The worker as far as its web needs it; `WorkerStatus` (app/worker/status.py) implements it.

    Attributes:
        settings: The worker's.
        statistics: Since its start.
        peers: The other workers.
    """

    settings: Settings
    statistics: Statistics
    peers: Peers

    @property
    def topics(self) -> Topics:
        """Return what looks into topics."""

    @property
    def url(self) -> str:
        """URL at which other workers reach this one, such as `http://127.0.0.1:6066`."""

    def live(self) -> bool:
        """Say whether the worker works at all."""

    def ready(self) -> bool:
        """Say whether it is in the group, and its assignment, which may be empty, is recovered."""

    def exposition(self, accept: str | None) -> tuple[bytes, str]:
        """Return the metrics, in the format that an `Accept` header asks for, and their content type."""

    def working_sets(self) -> Mapping[int, WorkingSet]:
        """Return the batches of the partitions that are owned and recovered; empty before recovery."""

    def members(self) -> Mapping[str, frozenset[int]]:
        """Return the batches' partitions by the URL of the worker that owns them, as of the latest assignment.

        This worker is among them, and so are workers without partitions; empty before the first assignment.
        """

    def partition_of(self, batch_id: str) -> int:
        """Return the partition of a batch of this id, if there is one."""

    def callbacks(self) -> tuple[int, int]:
        """Return how many stations' callbacks run, and how many wait for theirs."""

    def context_of(self, station_id: str) -> Mapping[str, Any] | None:
        """Return a station's context by topic (`shown_context`), None where this worker does not keep it."""

    def batch_timeout(self) -> float:
        """Return the seconds that a batch like the one that closed last would be given, if it were opened now."""

    async def send_command(self, command: Command) -> None:
        """Append an operator's command to the log of its batch; returns when that is confirmed.

        Raises:
            NotConfirmed: It was not.
        """

    def standings(self) -> Sequence[Standing]:
        """Return the partitions of all topics that are assigned to this worker, changelogs left out."""

    def open_topic(
        self, topic: str, *, since: float | None = None, partitions: Collection[int] | None = None
    ) -> AbstractAsyncContextManager[OpenTopic]:
        """Open a topic for reading, all of it or what was appended from `since` (Unix seconds) on.

        `partitions` None are all.

        Raises:
            NotReadable: There is no broker, no such topic, or no right to read it.
        """

    async def replay(
        self, places: Sequence[tuple[int, int]], *, operator: str, dry_run: bool, again: bool
    ) -> Sequence[Replay]:
        """Send dead letters again, and return what has come of each, in the order of their places.

        Args:
            places: partition and offset of each letter.
            operator: who wants it.
            dry_run: only return what would be done.
            again: send also what has been replayed.

        Raises:
            NotReadable: Letters can't be read or sent now, or what was sent could not be remembered.
        """
