"""Where reading of each partition begins: what the group has committed, held against topics and logs as they are.

A topic may have been deleted and made again since, its log may begin after what is committed or end before it, and
where nothing is committed AGG_START decides, as the topic was when the group began to read it. What the group knew when
it committed stands in the metadata of its commits; both are read and written here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, cast

from aiokafka.errors import KafkaError
from faust.types import TP, AppT

from app.kafka.assignor import AggregatorAssignor
from app.kafka.client import Application
from app.kafka.log_changes import LogChanges, TopicIds
from app.kafka.positions import (
    Base,
    Cause,
    base_of,
    changelog_end_in,
    changelog_text,
    first_partitions_in,
    first_partitions_text,
)
from app.kafka.topics import changelog_topic
from app.settings.enums import Start
from tables.faust_tables import BatchTable
from tables.storage.records import Table


class Logs(Protocol):
    """Where the logs of partitions begin and end; Faust's consumer tells."""

    app: AppT

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Return the first offsets that there are."""

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Return the offsets behind the last ones."""


class Brokers(Protocol):
    """What is asked of brokers; the consumer's thread does."""

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, bytes]:
        """Return the ids of topics; those that are not there are left out."""

    async def commit_texts(self, topics: Collection[str]) -> Mapping[str, Mapping[int, str | None]]:
        """Return the metadata of the group's commits, by topic and partition; None for a partition without a commit."""


class Bases:
    """Finds them.

    Attributes:
        moved: partitions whose bases are not what is committed, and have not been committed yet: they are found again.
    """

    def __init__(self, logs: Logs, brokers: Brokers, changes: LogChanges) -> None:
        """Nothing is known yet.

        Args:
            logs: where the logs of partitions begin and end.
            brokers: who is asked.
            changes: says what is not as it was.
        """
        self.moved: dict[TP, Base] = {}
        self._logs = logs
        self._brokers = brokers
        self._changes = changes
        self._ids = TopicIds()
        self._first_partitions: dict[str, int] = {}  # topics with AGG_START -> how many they had when they were new
        self._owned: frozenset[TP] = frozenset()  # partitions that bases were found for last

    @property
    def _application(self) -> Application:
        return cast(Application, self._logs.app)

    @property
    def topics_again(self) -> Mapping[str, bytes]:
        """Topics that have been made again, with their ids; nobody has started them over yet."""
        return self._ids.again

    async def find(
        self,
        tps: Sequence[TP],
        committed: Mapping[TP, int | None],
        own: Mapping[TP, int | None],
        read: Mapping[TP, int],
    ) -> dict[TP, Base]:
        """Find where to read each partition from, and say where that is not what was committed.

        Args:
            tps: the partitions.
            committed: what the group's coordinator tells of them.
            own: what this worker has committed itself, for what the coordinator does not know.
            read: up to where this worker has read them.
        """
        first, end = await self._logs.earliest_offsets(*tps), await self._logs.highwaters(*tps)
        await self.look_at_topics()
        await self._look_at_commits(tps)
        self.read_from_their_beginning()
        bases: dict[TP, Base] = {}
        for tp in tps:
            if tp in self.moved and tp.topic not in self._ids.again:
                bases[tp] = self.moved[tp]
                continue
            told = committed.get(tp)
            base = bases[tp] = base_of(
                own.get(tp) if told is None else told,
                first[tp],
                end[tp],
                made_again=tp.topic in self._ids.again,
                from_end=tp.partition < self._first_partitions.get(tp.topic, 0),
            )
            self._changes.started(tp, committed.get(tp) or read.get(tp, 0), end[tp], base)
        # A worker that dies before its first commit must not begin somewhere else the next time.
        commits = {Cause.FRESH} if self._application.settings.start is Start.LATEST else set[Cause]()
        commits |= {Cause.GONE, Cause.SHORTER, Cause.MADE_AGAIN}
        self.moved = {tp: base for tp, base in bases.items() if base.cause in commits}
        self.settle_topics()
        return bases

    def keep(self, tps: Collection[TP]) -> None:
        """Forget the bases of all other partitions: they are read by other workers, who have their own."""
        self.moved = {tp: base for tp, base in self.moved.items() if tp in tps}

    def stored(self, bases: Mapping[TP, Base]) -> None:
        """Take bases for committed."""
        self.moved = {tp: base for tp, base in self.moved.items() if bases.get(tp) is not base}

    # -- topics --------------------------------------------------------------------------------------------------------

    async def look_at_topics(self) -> None:
        """Note which topics have been made again since they were read, and say which are gone."""
        settings = self._application.settings
        changelogs = self._logs.app.tables.changelog_topics
        names = {*settings.foreign_topics, settings.station_events_topic, settings.batch_events_topic, *changelogs}
        try:
            gone = self._ids.look(await self._brokers.topic_ids(names))
        except KafkaError:
            return  # the next look will tell
        except Exception as error:  # noqa: BLE001 - an answer that aiokafka can't take apart may raise anything
            self._changes.not_seen(error)
            return
        for topic in gone:
            self._changes.topic_gone(topic)

    def read_from_their_beginning(self) -> None:
        """Have AGG_START not hold for topics that have been made again: all of such a topic is new."""
        self._first_partitions |= dict.fromkeys(self._ids.again, 0)

    def settle_topics(self) -> None:
        """Forget that topics were made again, but for those that the group does not read yet: nobody has seen them."""
        assignor = cast(AggregatorAssignor, self._logs.app.assignor)
        read = {topic for topic in self._ids.again if any(assignor.members(topic).values())}
        self._ids.settle(read | self._logs.app.tables.changelog_topics)

    # -- what commits say ----------------------------------------------------------------------------------------------

    def text(self, tp: TP) -> str:
        """Return what a commit says of a partition, beside its offset. Called in the consumer's thread."""
        if tp.topic == self._application.settings.batch_events_topic:
            table = cast(BatchTable, self._logs.app.tables[Table.BATCHES.value])
            offset = table.store.persisted_offset(self._changelog_of(tp))
            return "" if offset is None else changelog_text(offset + 1)
        count = self._first_partitions.get(tp.topic)
        return "" if count is None else first_partitions_text(count)

    async def _look_at_commits(self, tps: Sequence[TP]) -> None:
        """Take from the metadata of the group's commits what it knew when it made them."""
        settings = self._application.settings
        started = settings.started_topics if settings.start is Start.LATEST else []
        new = [topic for topic in started if topic not in self._first_partitions]
        texts = await self._brokers.commit_texts([*new, settings.batch_events_topic])
        for topic in new:
            told = [text for text in texts[topic].values() if text is not None]
            self._first_partitions[topic] = first_partitions_in(told, len(texts[topic]))
        events = texts[settings.batch_events_topic]
        owned, self._owned = self._owned, frozenset(tps)
        await self._look_at_changelogs(
            {
                self._changelog_of(tp): changelog_end_in(text)
                for tp in self._owned - owned
                if tp.topic == settings.batch_events_topic and (text := events.get(tp.partition)) is not None
            }
        )

    async def _look_at_changelogs(self, written: Mapping[TP, int]) -> None:
        """Say which changelogs end before what had been written to them when events were committed."""
        ends = await self._logs.highwaters(*written) if written else {}
        for tp, end in written.items():
            if ends[tp] < end:
                self._changes.state_lost(tp, ends[tp])

    def _changelog_of(self, tp: TP) -> TP:
        """Return the changelog of the batches of a partition of the events."""
        return TP(changelog_topic(self._application.settings.app_id, Table.BATCHES), tp.partition)
