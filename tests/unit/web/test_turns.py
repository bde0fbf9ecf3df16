"""The turns of looks: how much of the event loop's time they take, whatever the machine's speed."""

from __future__ import annotations

import heapq
from collections.abc import Generator
from itertools import count, pairwise

import pytest

from app.web.turns import LONGEST_REST, LONGEST_WAIT, RESTS, TURN, Pace, Turns

STEP = TURN / 4  # seconds of work between two chances to rest


class Loop:
    """An event loop whose clock moves by what is worked, and to the next one who wakes when nobody works."""

    def __init__(self) -> None:
        self.now = 100.0
        self.worked: list[tuple[float, float]] = []  # from and to
        self.pace = Pace(lambda: self.now, self._sleep)
        self._waking: list[tuple[float, int, Generator[float, None, None]]] = []
        self._order = count()

    def work(self, seconds: float) -> None:
        self.worked.append((self.now, self.now + seconds))
        self.now += seconds

    async def _sleep(self, seconds: float) -> None:
        await _Pause(seconds)

    def run(self, *looks: Generator[float, None, None]) -> None:
        for look in looks:
            self._wake(self.now, look)
        while self._waking:
            at, _, look = heapq.heappop(self._waking)
            self.now = max(self.now, at)
            try:
                pause = look.send(None)
            except StopIteration:
                continue
            self._wake(self.now + pause, look)

    def _wake(self, at: float, look: Generator[float, None, None]) -> None:
        heapq.heappush(self._waking, (at, next(self._order), look))


class _Pause:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __await__(self) -> Generator[float, None, None]:
        yield self.seconds


def look(loop: Loop, steps: int, step: float = STEP) -> Generator[float, None, None]:
    """A look that works so many steps."""

    async def looking() -> None:
        turns = Turns(loop.pace)
        for _ in range(steps):
            loop.work(step)
            await turns.rest()

    return looking().__await__()


def longest_without_rest(loop: Loop) -> float:
    longest = since = 0.0
    ended = -1.0
    for start, end in loop.worked:
        since = start if start > ended else since
        longest, ended = max(longest, end - since), end
    return longest


@pytest.mark.parametrize("looks", [1, 2, 7])
def test_looks_that_run_side_by_side_have_a_third_of_the_time_together(looks: int) -> None:
    loop = Loop()
    loop.run(*(look(loop, 400) for _ in range(looks)))
    worked = sum(end - start for start, end in loop.worked)
    assert worked == pytest.approx(looks * 400 * STEP)
    share = worked / (loop.now - loop.worked[0][0])
    assert share == pytest.approx(1 / (1 + RESTS), rel=0.15)


def test_after_the_first_turns_none_follows_another_at_once() -> None:
    """All begin when they are asked; then the pipeline waits for one turn, not for one of each."""
    loop = Loop()
    loop.run(*(look(loop, 100) for _ in range(5)))
    begun = loop.worked[0][0] + 5 * (TURN + STEP)
    loop.worked = [(start, end) for start, end in loop.worked if start > begun]
    assert longest_without_rest(loop) <= TURN + STEP + 1e-9


def test_a_long_turn_is_followed_by_a_long_rest_up_to_a_bound() -> None:
    for step, rest in ((2 * TURN, RESTS * 2 * TURN), (1.0, LONGEST_REST)):
        loop = Loop()
        loop.run(look(loop, 2, step))
        (_, end), (start, _) = loop.worked
        assert start - end == pytest.approx(rest)


def test_what_takes_less_than_a_turn_does_not_rest() -> None:
    loop = Loop()
    loop.run(look(loop, 3))
    assert loop.now == pytest.approx(100.0 + 3 * STEP)


def test_what_was_worked_is_told_without_the_rests() -> None:
    loop, told = Loop(), list[float]()

    async def looking() -> None:
        turns = Turns(loop.pace)
        for _ in range(50):
            loop.work(STEP)
            await turns.rest()
        told.append(turns.worked())

    loop.run(looking().__await__())
    assert told == [pytest.approx(50 * STEP)]


def times_let_in(requests: int) -> list[float]:
    """When requests that come together are let in."""
    loop, let_in = Loop(), list[float]()

    async def request() -> None:
        await loop.pace.enter()
        let_in.append(loop.now)

    loop.run(*(request().__await__() for _ in range(requests)))
    return let_in


def test_no_request_of_a_flood_waits_for_long() -> None:
    let_in = times_let_in(500)
    assert len(let_in) == 500
    assert max(let_in) - 100.0 <= LONGEST_WAIT + 1e-9


def test_requests_that_come_together_are_let_in_one_after_the_other() -> None:
    let_in = times_let_in(4)
    gaps = [later - earlier for earlier, later in pairwise(let_in)]
    assert let_in[0] == 100.0
    assert min(gaps) > 0.0
    assert max(gaps) == pytest.approx(min(gaps))
