"""The assignor of partitions, by which workers learn where the others' webs are, and which settings they have.

Beside Faust's fields in what a member tells when it joins, and in what the leader tells it with its assignment, are
ours. So everybody knows of everybody, whether their webs can be reached or not. A member that is older tells nothing
and takes no notice; as a leader it passes nothing on.

Overrides of Faust's:

    _url                      the group is told of Faust's web server, which does not run
    metadata, _perform_…      a member tells nothing of its settings
    _protocol_assignments     nor does the leader of those of the others
    on_assignment             a static member that comes back with another URL can't join
    _get_external_…           of two workers with the same URL the group is told of one
"""

from __future__ import annotations

import logging
import math
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, cast

import orjson
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from faust.assignor.client_assignment import ClientMetadata
from faust.assignor.partition_assignor import (
    ClientAssignmentMapping,
    MemberAssignmentMapping,
    MemberMetadataMapping,
    PartitionAssignor,
)
from faust.types import TP
from faust.types.assignor import HostToPartitionMap
from yarl import URL

from app.kafka.client import Application
from app.observability.log_lines import Line, tell
from app.observability.peers import Peer
from app.settings.fingerprint import fingerprint

logger = logging.getLogger(__name__)

_WORKER: Final = "worker"  # what a member tells of itself; the leader tells it back
_OTHERS: Final = "otherWorkers"


def peer_of(told: Any, url: str = "") -> Peer | None:
    """Return the worker that these JSON fields describe; None where they do not, as those of an older worker.

    `url` is its URL, unless the fields have it.
    """
    if not isinstance(told, dict) or not isinstance(told.get("settings"), dict):
        return None
    settings = {str(key): str(digest) for key, digest in told["settings"].items()}
    return Peer(str(told.get("url", url)), str(told.get("host", "")), settings)


class AggregatorAssignor(PartitionAssignor):
    """Tells each worker of the group where the others' web servers are, and the fingerprints of their settings.

    A member tells its URL when it joins. With its assignment the leader gives every member the whole distribution: URL
    to topics to partitions. So that is as new as the assignment.

    Attributes:
        others: the other workers, as of the latest assignment; replaced as a whole, in the consumer's thread.
        assigned_at: when that came, Unix seconds.
    """

    assigned_at = math.inf

    others: Sequence[Peer] = ()
    _known: Mapping[str, Peer] = {}  # of the leader: who has joined, by member id
    rejoin: Callable[[], None] | None = None
    """Has this worker join its group anew. Set by the consumer's thread."""
    _assigned_url: str | None = None  # while Faust looks at an assignment

    @property
    def _url(self) -> URL:
        return URL(self._assigned_url or cast(Application, self.app).url)

    @cached_property
    def _own(self) -> dict[str, Any]:
        return {"host": socket.gethostname(), "settings": fingerprint(cast(Application, self.app).settings)}

    def metadata(self, topics: set[str]) -> ConsumerProtocolMemberMetadata:
        """Return what this worker tells when it joins."""
        told = super().metadata(topics)
        fields = orjson.loads(told.user_data) | {_WORKER: self._own}
        return ConsumerProtocolMemberMetadata(told.version, told.subscription, orjson.dumps(fields))

    def _perform_assignment(
        self, cluster: ClusterMetadata, member_metadata: MemberMetadataMapping
    ) -> MemberAssignmentMapping:
        told = {member: orjson.loads(metadata.user_data) for member, metadata in member_metadata.items()}
        peers = {member: peer_of(fields.get(_WORKER), fields["url"]) for member, fields in told.items()}
        self._known = {member: peer for member, peer in peers.items() if peer is not None}
        return super()._perform_assignment(cluster, member_metadata)

    def _protocol_assignments(self, *args: Any, **kwargs: Any) -> MemberAssignmentMapping:
        assignments = super()._protocol_assignments(*args, **kwargs)
        for member, assigned in assignments.items():
            fields = orjson.loads(self._decompress(assigned.user_data))
            if (own := self._known.get(member)) is not None:
                fields[_WORKER] = own._asdict()
            fields[_OTHERS] = [peer._asdict() for other, peer in self._known.items() if other != member]
            told = self._compress(orjson.dumps(fields))
            assignments[member] = ConsumerProtocolMemberAssignment(assigned.version, assigned.assignment, told)
        return assignments

    def on_assignment(self, assignment: ConsumerProtocolMemberMetadata) -> None:
        """Take an assignment. A static member that comes back gets the one that it had, made for its old URL.

        Then the group has to be told of the new one, which a rebalance does; and likewise of other settings.
        """
        user_data = self._decompress(assignment.user_data)
        told = cast(ClientMetadata, ClientMetadata.loads(user_data))
        fields = orjson.loads(user_data)
        others = fields.get(_OTHERS)
        self.others = [peer for other in others if (peer := peer_of(other))] if isinstance(others, list) else ()
        own = peer_of(fields.get(_WORKER))
        self.assigned_at = time.time()
        self._assigned_url = told.url
        try:
            super().on_assignment(assignment)
        finally:
            self._assigned_url = None
        is_stale = told.url != str(self._url) or (own is not None and own.settings != self._own["settings"])
        if is_stale and self.rejoin is not None:
            self.rejoin()

    def owner_of(self, topic: str, partition: int) -> str | None:
        """Return the URL of the worker that owns a partition of a topic that is no changelog, if there is one."""
        url: str | None = self._external_tps_url.get(TP(topic, partition))
        return url and url.rstrip("/")

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
