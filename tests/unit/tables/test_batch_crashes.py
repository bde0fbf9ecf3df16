"""Whatever happens to its owners, at whatever point, a log leads to the same outputs."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.model.enums import LatePolicy
from tests.batch_model import draw_log, draw_rules
from tests.batch_world import World, straight_run
from tests.examples import examples

EXAMPLES = examples(800)
seeds = st.integers(0, 2**32 - 1).map(Random)


def crash(world: World) -> None:
    """Kill the owner now and then, until all is done."""
    random = world.random
    danger = random.choice([0.02, 0.05, 0.1])
    kills = 12
    life = world.assign()
    while not life.is_done:
        life.step()
        if kills and random.random() < danger:
            kills -= 1
            life = world.assign()


def haunt(world: World) -> None:
    """Let an owner that has lost its partition go on for a while beside its successor, which may be killed too."""
    random = world.random
    lives = [world.assign()]
    for _ in range(random.randint(10, 150)):
        life = random.choice(lives)
        if not life.is_done:
            life.step()
        if random.random() < 0.05:
            lives = [lives[-1], world.assign()]  # the owner until now is the zombie, an older one is dead
        if random.random() < 0.02:
            lives = [world.assign()]
    life = world.assign()
    while not life.is_done:
        life.step()


def check_crashes(random: Random, *, handler: bool) -> None:
    log = draw_log(random)
    rules = draw_rules(random, random.choice([LatePolicy.REVISE, None]))
    expected = straight_run(log, rules, handler=handler)
    world = World(log, rules, random, handler=handler)
    crash(world)
    assert sorted(world.outputs) == sorted(expected.outputs)
    assert world.told == expected.told
    assert not world.told_again, "told again although it was stored that it had been told"
    assert set(world.handled) == set(expected.handled)
    assert not len(world.end())


def check_zombies(random: Random, *, handler: bool) -> None:
    log = draw_log(random)
    rules = draw_rules(random, random.choice([LatePolicy.REVISE, None]))
    expected = straight_run(log, rules, handler=handler)
    world = World(log, rules, random, handler=handler)
    haunt(world)
    assert set(world.outputs) == set(expected.outputs)
    assert world.told == expected.told
    assert set(world.handled) == set(expected.handled)
    assert not len(world.end())


@pytest.mark.parametrize("handler", [False, True])
@given(random=seeds)
@EXAMPLES
def test_owners_that_are_killed_anywhere_lose_nothing_and_publish_once(random: Random, *, handler: bool) -> None:
    check_crashes(random, handler=handler)


@pytest.mark.parametrize("handler", [False, True])
@given(random=seeds)
@EXAMPLES
def test_an_owner_that_goes_on_beside_its_successor_changes_no_output(random: Random, *, handler: bool) -> None:
    check_zombies(random, handler=handler)
