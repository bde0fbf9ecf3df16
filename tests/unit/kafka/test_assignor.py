"""What members of the group tell each other when they join: also beside older ones, and whoever leads."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from faust.assignor.partition_assignor import PartitionAssignor

from app.kafka.assignor import AggregatorAssignor
from app.observability.peers import Peer
from app.settings import Settings
from app.settings.fingerprint import fingerprint

TOPIC = "events"
CLUSTER: Any = SimpleNamespace(partitions_for_topic=lambda _: {0, 1, 2, 3})


def member(url: str, kind: type[PartitionAssignor] = AggregatorAssignor, **settings: Any) -> PartitionAssignor:
    """A worker's assignor; of Faust's own kind it is an older worker's."""
    app: Any = SimpleNamespace(
        tables=SimpleNamespace(changelog_topics=set(), data={}),
        url=url,
        settings=settings_of(**settings),
        conf=SimpleNamespace(canonical_url=url),
    )
    return kind(app)


def settings_of(**settings: Any) -> Settings:
    return Settings(**{"app_id": "app"} | settings)


def join(leader: PartitionAssignor, members: Mapping[str, PartitionAssignor]) -> dict[str, bytes]:
    """What the leader makes for each member, through the bytes that travel."""
    joined = {
        name: ConsumerProtocolMemberMetadata.decode(one.metadata({TOPIC}).encode()) for name, one in members.items()
    }
    return {name: made.encode() for name, made in leader._perform_assignment(CLUSTER, joined).items()}


def take(one: PartitionAssignor, assigned: bytes) -> None:
    one.on_assignment(ConsumerProtocolMemberAssignment.decode(assigned))


def others_of(one: Any) -> dict[str, Any]:
    return {peer.url: peer.settings for peer in one.others}


@pytest.mark.parametrize("leader", [0, 1])
def test_each_member_learns_the_settings_of_all_others_as_digests(leader: int) -> None:
    members = {"1": member("http://a:1"), "2": member("http://b:1", module="hidden"), "3": member("http://c:1")}
    assigned = join(list(members.values())[leader], members)
    for name, one in members.items():
        take(one, assigned[name])
    price, plain = fingerprint(settings_of(module="hidden")), fingerprint(settings_of())
    assert others_of(members["1"]) == {"http://b:1": price, "http://c:1": plain}
    assert others_of(members["2"]) == {"http://a:1": plain, "http://c:1": plain}
    assert all(peer.host for peer in members["1"].others)
    assert not any(b"hidden" in one.metadata({TOPIC}).user_data for one in members.values())


def test_of_two_members_with_one_url_each_learns_the_other() -> None:
    members = {"1": member("http://a:1"), "2": member("http://a:1", fill="linear")}
    assigned = join(members["1"], members)
    for name, one in members.items():
        take(one, assigned[name])
    assert others_of(members["1"]) == {"http://a:1": fingerprint(settings_of(fill="linear"))}
    assert others_of(members["2"]) == {"http://a:1": fingerprint(settings_of())}


@pytest.mark.parametrize("leader", ["new", "old"])
def test_beside_an_older_worker_everything_goes_on_and_nothing_is_known_of_it(leader: str) -> None:
    members = {"new": member("http://a:1"), "old": member("http://b:1", PartitionAssignor)}
    assigned = join(members[leader], members)
    for name, one in members.items():
        take(one, assigned[name])
    assert list(members["new"].others) == []
    assert sorted(len(one.assigned_actives()) for one in members.values()) == [2, 2]


@pytest.mark.parametrize(
    "nonsense",
    [None, 1, "x", [], [1], [{}], [{"settings": 1}], {"settings": {}}, [{"url": "http://b:1", "settings": [1]}]],
)
def test_what_is_no_description_of_a_worker_is_passed_over(nonsense: object) -> None:
    one = member("http://a:1")
    made = ConsumerProtocolMemberAssignment.decode(join(one, {"1": one})["1"])
    fields = orjson.loads(one._decompress(made.user_data)) | {"worker": nonsense, "otherWorkers": nonsense}
    told = one._compress(orjson.dumps(fields))
    one.on_assignment(ConsumerProtocolMemberAssignment(made.version, made.assignment, told))
    assert list(one.others) == []


def test_a_named_member_that_comes_back_with_other_settings_joins_anew_to_tell_them() -> None:
    before, leader = member("http://a:1"), member("http://b:1")
    assigned = join(leader, {"1": before, "2": leader})["1"]
    cases: list[tuple[dict[str, Any], int]] = [({}, 0), ({"batch_timeout": 9}, 1)]
    for settings, expected in cases:
        after: Any = member("http://a:1", **settings)
        rejoined: list[bool] = []
        after.rejoin = lambda rejoined=rejoined: rejoined.append(True)
        take(after, assigned)
        assert len(rejoined) == expected
        assert after.others == [Peer("http://b:1", leader._own["host"], leader._own["settings"])]


def test_an_older_leader_is_not_asked_again_and_again() -> None:
    one: Any = member("http://a:1")
    one.rejoin = lambda: pytest.fail("it joins anew")
    take(one, join(member("http://b:1", PartitionAssignor), {"1": one})["1"])
