"""Pages of a topic from its newest message to its oldest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.messages.message import InMessage
from app.web import backwards
from app.web.backwards import AT_ONCE, Page, Readings, newest_first, read_cursor
from app.web.errors import Refusal
from app.web.topics import NotReadable
from tests.web.fake_worker import MemoryTopic

pytestmark = pytest.mark.usefixtures("patient")

Logs = dict[int, list[InMessage]]
Place = tuple[int, int]


@pytest.fixture(scope="module")
def patient() -> Iterator[None]:
    """All the time that a page needs: a busy machine takes its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backwards, "SECONDS", 600.0)
        yield


def log_of(partition: int, gaps: Sequence[tuple[int, float]], size: int = 1) -> list[InMessage]:
    """Messages behind holes of so many offsets, at these times."""
    messages: list[InMessage] = []
    offset = -1
    for hole, at in gaps:
        offset += 1 + hole
        messages.append(InMessage("T", partition, offset, at, None, b"x" * size))
    return messages


LOGS = st.dictionaries(
    st.integers(0, 3), st.lists(st.tuples(st.integers(0, 90), st.floats(0, 1000)), max_size=40), max_size=4
).map(lambda logs: {partition: log_of(partition, gaps) for partition, gaps in logs.items()})


def page_of(logs: Mapping[int, Sequence[InMessage]], cursor: str | None, limit: int) -> Page[Place]:
    topic = MemoryTopic(logs)
    return asyncio.run(newest_first(topic, read_cursor(cursor), limit, lambda one: (one.partition, one.offset)))


def pages_of(
    logs: Logs, limit: int, between: Callable[[], None] = lambda: None, most: int = 10_000
) -> tuple[list[Place], int]:
    found: list[Place] = []
    cursor, count = None, 0
    while True:
        page = page_of(logs, cursor, limit)
        assert len(page.rows) <= limit
        found += page.rows
        count += 1
        assert count <= most, "the pages come to no end"
        if page.next is None:
            return found, count
        cursor = page.next
        between()


@given(LOGS, st.integers(1, 50))
def test_pages_have_every_message_once_each_partition_s_backwards(logs: Logs, limit: int) -> None:
    found, _ = pages_of(logs, limit)
    due = [(message.partition, message.offset) for log in logs.values() for message in log]
    assert sorted(found) == sorted(due)
    for partition in logs:
        own = [offset for number, offset in found if number == partition]
        assert own == sorted(own, reverse=True)


@given(LOGS)
def test_one_page_is_in_the_order_of_time_where_the_partitions_are(logs: Logs) -> None:
    ordered = {
        partition: [
            InMessage("T", partition, message.offset, at, None, b"")
            for message, at in zip(log, sorted(message.timestamp for message in log), strict=True)
        ]
        for partition, log in logs.items()
    }
    times = {(message.partition, message.offset): message.timestamp for log in ordered.values() for message in log}
    found = [times[place] for place in page_of(ordered, None, 10_000).rows]
    assert found == sorted(found, reverse=True)


@given(LOGS, st.integers(1, 5))
def test_what_arrives_between_two_pages_is_on_none_and_moves_nothing(logs: Logs, limit: int) -> None:
    due = [(message.partition, message.offset) for log in logs.values() for message in log]

    def append() -> None:
        for partition in range(5):
            log = logs.setdefault(partition, [])
            offset = log[-1].offset + 1 if log else 0
            log.append(InMessage("T", partition, offset, 2000.0, None, b""))

    found, _ = pages_of(logs, limit, append)
    assert sorted(found) == sorted(due)


@given(LOGS, st.integers(1, 5))
def test_what_the_broker_lets_go_of_between_two_pages_is_left_out(logs: Logs, limit: int) -> None:
    def drop() -> None:
        for log in logs.values():
            del log[:1]

    found, _ = pages_of(logs, limit, drop)
    assert len(found) == len(set(found))


def test_large_messages_are_read_in_small_windows_and_all_of_them() -> None:
    logs = {0: log_of(0, [(0, float(at)) for at in range(30)], size=1024 * 1024), 1: log_of(1, [(0, 5.5)])}
    found, _ = pages_of(logs, 100)
    assert len(found) == len(set(found)) == 31


def test_a_page_ends_at_its_bounds_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backwards, "MESSAGES", 10)
    logs = {0: log_of(0, [(0, float(at)) for at in range(35)])}
    found, count = pages_of(logs, 100)
    assert (len(found), count) == (35, 4)
    monkeypatch.setattr(backwards, "MESSAGES", 10_000)
    monkeypatch.setattr(backwards, "BYTES", 1)
    found, _ = pages_of(logs, 100)
    assert len(found) == 35


def test_a_page_whose_time_is_over_has_what_has_been_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backwards, "SECONDS", 0.0)
    logs = {0: log_of(0, [(0, float(at)) for at in range(500)])}
    found, count = pages_of(logs, 1000)
    assert len(found) == 500
    assert count > 1


def test_rows_that_are_not_asked_for_are_passed_over() -> None:
    topic = MemoryTopic({0: log_of(0, [(0, float(at)) for at in range(500)])})
    page = asyncio.run(newest_first(topic, None, 2, lambda one: one.offset if one.offset % 200 == 0 else None))
    assert page.rows == [400, 200]
    rest = asyncio.run(
        newest_first(topic, read_cursor(page.next), 2, lambda one: one.offset if one.offset == 0 else None)
    )
    assert (rest.rows, rest.next) == ([0], None)


@pytest.mark.parametrize(
    "text", ["", "x", "AAAA", "W10x", "e30", "W1swLC0xXV0", "W1swLDkyMjMzNzIwMzY4NTQ3NzU4MDhdXQ", "W1siMCIsMV1d", "é"]
)
def test_a_cursor_of_somebody_else_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        read_cursor(text)


# -- at once, and in time ----------------------------------------------------------------------------------------------


def test_a_few_are_read_at_once_and_who_waits_too_long_is_refused() -> None:
    async def test() -> None:
        readings, running, end = Readings(), 0, asyncio.Event()

        async def work() -> int:
            nonlocal running
            running += 1
            await end.wait()
            return 1

        asked = [asyncio.create_task(readings.within(600, work())) for _ in range(AT_ONCE)]
        while running < AT_ONCE:  # noqa: ASYNC110
            await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            await readings.within(0.01, work())
        assert (refused.value.status, refused.value.code, running) == (503, "broker-away", AT_ONCE)
        end.set()
        assert await asyncio.gather(*asked) == [1] * AT_ONCE
        assert await readings.within(600, work()) == 1

    asyncio.run(test())


def test_who_reads_is_not_waited_for_while_it_closes_its_clients() -> None:
    async def test() -> None:
        closed = asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await closed.wait()

        with pytest.raises(Refusal):
            await Readings().within(0.01, work())
        assert not closed.is_set()
        closed.set()

    asyncio.run(test())


def test_what_writes_goes_on_when_nobody_waits_any_more() -> None:
    async def test() -> None:
        go_on, done = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            await go_on.wait()
            done.set()

        with pytest.raises(Refusal) as refused:
            await Readings().within(0.01, work(), goes_on=True)
        assert refused.value.code == "not-confirmed"
        go_on.set()
        await done.wait()

    asyncio.run(test())


def test_a_topic_that_can_not_be_read_is_503_with_what_is_wrong() -> None:
    async def work() -> None:
        message = "no broker"
        raise NotReadable(message)

    with pytest.raises(Refusal, match="no broker") as refused:
        asyncio.run(Readings().within(600, work()))
    assert refused.value.status == 503
