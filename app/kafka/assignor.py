"""The assignor of partitions, by which workers learn where the others' webs are.

Overrides of Faust's:

    _url                      the group is told of Faust's web server, which does not run
    on_assignment             a static member that comes back with another URL can't join
    _get_external_…           of two workers with the same URL the group is told of one
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import cast

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor.client_assignment import ClientMetadata
from faust.assignor.partition_assignor import ClientAssignmentMapping, PartitionAssignor
from faust.types.assignor import HostToPartitionMap
from yarl import URL

from app.kafka.client import Application
from app.observability.log_lines import Line, tell

logger = logging.getLogger(__name__)


class AggregatorAssignor(PartitionAssignor):
    """Tells each worker of the group where the others' web servers are.

    A member tells its URL when it joins. With its assignment the leader gives every member the whole distribution: URL
    to topics to partitions. So that is as new as the assignment.
    """

    rejoin: Callable[[], None] | None = None
    """Has this worker join its group anew. Set by the consumer's thread."""
    _assigned_url: str | None = None  # while Faust looks at an assignment

    @property
    def _url(self) -> URL:
        return URL(self._assigned_url or cast(Application, self.app).url)

    def on_assignment(self, assignment: ConsumerProtocolMemberMetadata) -> None:
        """Take an assignment. A static member that comes back gets the one that it had, made for its old URL.

        Then the group has to be told of the new one, which a rebalance does.
        """
        told = cast(ClientMetadata, ClientMetadata.loads(self._decompress(assignment.user_data)))
        self._assigned_url = told.url
        try:
            super().on_assignment(assignment)
        finally:
            self._assigned_url = None
        if told.url != str(self._url) and self.rejoin is not None:
            self.rejoin()

    def members(self, topic: str) -> dict[str, frozenset[int]]:
        """The partitions of one topic by the URL of the worker that owns them, ours among them.

        Workers without a partition are in it; empty before the first assignment.
        """
        distribution = cast(Mapping[str, Mapping[str, list[int]]], self.external_topic_distribution)
        return {url.rstrip("/"): frozenset(topics.get(topic, ())) for url, topics in distribution.items()}

    def _get_external_topic_distribution(self, assignments: ClientAssignmentMapping) -> HostToPartitionMap:
        """Give a URL that two workers have the partitions of both: Faust keeps one of them."""
        distribution: HostToPartitionMap = {}
        language = cast(Application, self.app).settings.log_language
        tables = self._table_manager.changelog_topics
        for member, assignment in assignments.items():
            url = self._member_urls[member]
            if url in distribution:
                tell(logger, logging.WARNING, language, Line.SAME_URL, url=url)
            topics = distribution.setdefault(url, {})
            for topic, partitions in assignment.actives.items():
                if topic not in tables:
                    topics.setdefault(topic, []).extend(partitions)
        return distribution
