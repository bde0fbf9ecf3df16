"""What members of a group tell of themselves when they join."""

from __future__ import annotations

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata

from app.kafka.members import urls_of


def member(user_data: bytes | None) -> bytes:
    return bytes(ConsumerProtocolMemberMetadata(2, ["T"], user_data).encode())


def test_each_url_is_had_once_and_in_the_order_of_the_members() -> None:
    told = [
        member(b'{"url":"http://b:1/","worker":{}}'),
        member(b'{"url":"http://a:1"}'),
        member(b'{"url":"http://b:1"}'),
    ]
    assert urls_of(told) == ["http://b:1", "http://a:1"]


@pytest.mark.parametrize(
    "metadata",
    [
        *(b"", b"\x00", b"anything"),
        *map(member, (b"", None, b"[]", b"7", b"{}", b'{"url":""}', b'{"url":7}', b"\xff")),
    ],
)
def test_who_is_no_worker_of_ours_has_none(metadata: bytes) -> None:
    assert urls_of([metadata, member(b'{"url":"http://a:1"}')]) == ["http://a:1"]
