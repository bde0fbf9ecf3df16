"""Partitions are those of every Kafka client: the values are those of `UtilsTest` of Kafka's Java client."""

from __future__ import annotations

import pytest
from aiokafka import partitioner as aiokafka_partitioner
from hypothesis import given
from hypothesis import strategies as st

from app.messages import partitioner as partitions
from app.messages.partitioner import Partitioner, murmur2, partition_of

VECTORS = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize("key", VECTORS)
def test_the_hash_is_that_of_the_java_client(key: str) -> None:
    assert murmur2(key.encode()) == VECTORS[key] & 0xFFFFFFFF


@given(st.binary(max_size=300))
def test_the_hash_is_that_of_aiokafka_for_any_key(key: bytes) -> None:
    assert murmur2(key) == aiokafka_partitioner.murmur2(key) & 0xFFFFFFFF


@pytest.mark.parametrize("count", [1, 2, 8, 1000])
@pytest.mark.parametrize("key", VECTORS)
def test_the_partition_is_that_of_the_java_client(key: str, count: int) -> None:
    assert partition_of(key.encode(), count) == (VECTORS[key] & 0x7FFFFFFF) % count


@given(st.text(max_size=20), st.integers(1, 500))
def test_a_partitioner_answers_the_same_every_time(key: str, count: int) -> None:
    partitioner = Partitioner(count)
    first = partitioner(key)
    assert 0 <= first < count
    assert first == partitioner(key) == partition_of(key.encode(), count)


def test_what_a_partitioner_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "REMEMBERED_KEYS", 10)
    partitioner = Partitioner(8)
    for number in range(95):
        assert partitioner(str(number)) == partition_of(str(number).encode(), 8)
        assert len(partitioner._known) <= 10
