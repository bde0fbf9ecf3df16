"""Faust's partition assignor, by which each worker of the group learns where the web of each other is.

A member tells its URL when it joins; the leader gives every member the whole distribution, URL to topics to partitions,
with its assignment. It is as new as the assignment is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import cast

from faust.assignor.partition_assignor import ClientAssignmentMapping, PartitionAssignor
from faust.types.assignor import HostToPartitionMap
from yarl import URL

from app.kafka.client import Application
from app.observability.log_lines import Line, tell

__all__ = ["AggregatorAssignor"]

logger = logging.getLogger(__name__)


class AggregatorAssignor(PartitionAssignor):
    """Tells the URL at which our own web server is, which Faust does not know."""

    @property
    def _application(self) -> Application:
        return cast(Application, self.app)

    @property
    def _url(self) -> URL:
        return URL(self._application.url)

    def members(self, topic: str) -> dict[str, frozenset[int]]:
        """The partitions of one topic by the URL of the worker that owns them, ours among them.

        Workers without a partition are in it; empty before the first assignment.
        """
        distribution = cast(Mapping[str, Mapping[str, list[int]]], self.external_topic_distribution)
        return {url.rstrip("/"): frozenset(topics.get(topic, ())) for url, topics in distribution.items()}

    def _get_external_topic_distribution(self, assignments: ClientAssignmentMapping) -> HostToPartitionMap:
        """Faust keeps one of two workers with the same URL; here it has the partitions of both."""
        distribution: HostToPartitionMap = {}
        tables = self._table_manager.changelog_topics
        for member, assignment in assignments.items():
            url = self._member_urls[member]
            if url in distribution:
                tell(logger, logging.WARNING, self._application.settings.log_language, Line.SAME_URL, url=url)
            topics = distribution.setdefault(url, {})
            for topic, partitions in assignment.actives.items():
                if topic not in tables:
                    topics.setdefault(topic, []).extend(partitions)
        return distribution
