"""The faults, in one registry. Each draws its figures, says them, does it, and leaves things as they should be again.

The figures follow from the random numbers alone, never from how things stand, so a schedule can be run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.chaos.killer.proxy import Link, Way
from tests.chaos.killer.workers import PLACES
from tests.chaos.killer.world import Need, World

__all__ = ["FAULTS", "Fault", "faults_of"]

SESSION: Final = 6.0  # seconds after which the group counts a worker as dead
AN_HOUR: Final = 3600
GUEST: Final = PLACES - 1
DIES_WITHIN: Final = 20.0  # seconds from the full disk to the end of the broker
CLOCK_SEEN: Final = 2.0  # seconds until a worker has seen its clock's step

Act = Callable[[World, Random], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault: its name, what a table says of it in two languages, what it takes, and what does it."""

    name: str
    english: str
    chinese: str
    act: Act
    needs: Sequence[Need] = ()


FAULTS: Final[dict[str, Fault]] = {}


def faults_of(world: World, chosen: Sequence[str]) -> list[Fault]:
    """Return those of the chosen kinds that can be done there, in the registry's order."""
    return [one for one in FAULTS.values() if one.name in chosen and all(world.has(need) for need in one.needs)]


def _fault(name: str, english: str, chinese: str, *needs: Need) -> Callable[[Act], Act]:
    def register(act: Act) -> Act:
        FAULTS[name] = Fault(name, english, chinese, act, needs)
        return act

    return register


# -- workers -----------------------------------------------------------------------------------------------------------


@_fault("kill-one", "one worker is killed (`kill -9`), started again at once", "一个 worker 被 `kill -9`，立即重启")
def kill_one(world: World, random: Random) -> None:
    """Kill one; it is back at once."""
    place = random.choice(world.homes)
    world.say(f"worker {place}")
    world.workers.kill([place])
    world.workers.start(place)


@_fault("kill-away", "one is killed and stays away for up to 12 s", "一个被杀死，最多 12 秒后才回来")
def kill_away(world: World, random: Random) -> None:
    """Kill one; it is back after more or less than a session."""
    place, away = random.choice(world.homes), random.uniform(1, 2 * SESSION)
    world.say(f"worker {place}, for {away:.1f} s")
    world.workers.kill([place])
    time.sleep(away)
    world.workers.start(place)


@_fault("kill-all", "all workers are killed at once", "所有 worker 同时被杀死")
def kill_all(world: World, _random: Random) -> None:
    """Kill all; they are back at once."""
    world.say("")
    world.workers.kill(world.workers.places)
    _start_all(world)


@_fault("kill-recovering", "all are killed, and again while they recover", "所有被杀死，恢复期间再次被杀死")
def kill_recovering(world: World, random: Random) -> None:
    """Kill all, and again before or after they have begun to work."""
    pauses = [random.uniform(0.5, 6) for _ in range(random.randint(1, 3))]
    world.say(f"again after {', '.join(f'{pause:.1f}' for pause in pauses)} s")
    for pause in pauses:
        world.workers.kill(world.workers.places)
        _start_all(world)
        time.sleep(pause)
    world.workers.kill(world.workers.places)
    _start_all(world)


@_fault("stop-one", "one is stopped (SIGTERM) and started again", "一个被停止（SIGTERM）后重启")
def stop_one(world: World, random: Random) -> None:
    """Stop one, and start it again."""
    place, away = random.choice(world.homes), random.choice((0.0, random.uniform(0, 4)))
    world.say(f"worker {place}, for {away:.1f} s")
    world.workers.terminate(place)
    time.sleep(away)
    world.workers.start(place)


@_fault("rolling-restart", "all are stopped and started, one after the other", "逐个停止并重启（滚动重启）")
def rolling_restart(world: World, _random: Random) -> None:
    """Replace each, as an update does."""
    world.say("")
    for place in world.homes:
        world.workers.terminate(place)
        world.workers.start(place)
        world.wait_ready([place])


@_fault("stand-still", "one stands still for longer than the session (SIGSTOP)", "一个停顿超过会话（SIGSTOP）")
def stand_still(world: World, random: Random) -> None:
    """Make a zombie."""
    place, still = random.choice(world.homes), random.uniform(SESSION + 0.5, 2 * SESSION)
    world.say(f"worker {place}, for {still:.1f} s")
    world.workers.pause(place)
    time.sleep(still)
    world.workers.resume(place)


@_fault(
    "all-stand-still",
    "all stand still for longer than the session, go on, and are killed",
    "全部停顿超过会话，继续后被杀死",
)
def all_stand_still(world: World, random: Random) -> None:
    """Have the group forget all at once: each gets back partitions that it had, and another one soon has them."""
    still, lives = random.uniform(SESSION + 0.5, 2 * SESSION), random.uniform(0.5, 8)
    world.say(f"for {still:.1f} s, killed {lives:.1f} s after it")
    places = world.workers.places
    for place in places:
        world.workers.pause(place)
    time.sleep(still)
    for place in places:
        world.workers.resume(place)
    time.sleep(lives)
    world.workers.kill(places)
    _start_all(world)


@_fault("join-leave", "one more joins, works, and leaves", "另一个加入、工作、离开")
def join_leave(world: World, random: Random) -> None:
    """Have a guest for a while; it leaves by SIGTERM or dies."""
    stay, dies = random.uniform(0, 6), random.random() < 0.3
    world.say(f"for {stay:.1f} s, then {'dies' if dies else 'leaves'}")
    world.workers.start(GUEST)
    world.wait_ready([GUEST])
    time.sleep(stay)
    if dies:
        world.workers.kill([GUEST])
    else:
        world.workers.terminate(GUEST)


@_fault("clock", "the wall clock of one steps by an hour", "一个 worker 的时钟跳变一小时", Need.CLOCK)
def step_clock(world: World, random: Random) -> None:
    """Step the clock of the worker at the first place, and step it back."""
    ahead, wrong = random.choice((AN_HOUR, -AN_HOUR)), random.uniform(3, 10)
    world.say(f"worker 0, by {ahead:+d} s, for {wrong:.1f} s")
    assert world.clock is not None
    world.clock.step(ahead)
    time.sleep(wrong)
    world.clock.step(0)
    time.sleep(CLOCK_SEEN)


# -- networks ----------------------------------------------------------------------------------------------------------


@_fault("cut-worker", "one is cut off from the brokers", "一个 worker 与 broker 之间网络中断")
def cut_worker(world: World, random: Random) -> None:
    """Cut both ways, or one of them."""
    place, cut = random.choice(world.homes), random.uniform(1, 2.5 * SESSION)
    which = random.choice(("both ways", "there", "back"))
    world.say(f"worker {place}, {which}, for {cut:.1f} s")
    _cut(world, _ways(world.brokers.links_of(place), which), cut)


@_fault("slow-worker", "its network is slow (50 to 400 ms a piece)", "其网络变慢（每段 50 至 400 毫秒）")
def slow_worker(world: World, random: Random) -> None:
    """Let each piece of up to 64 KiB come late."""
    place, slow, delay = random.choice(world.homes), random.uniform(4, 12), random.uniform(0.05, 0.4)
    world.say(f"worker {place}, by {delay * 1000:.0f} ms, for {slow:.1f} s")
    for way in _ways(world.brokers.links_of(place), "both ways"):
        way.delay = delay
    time.sleep(slow)
    world.brokers.heal()


@_fault(
    "cut-broker",
    "one of three brokers is cut off from its peers",
    "三个 broker 之一与其他 broker 网络中断",
    Need.THREE_BROKERS,
)
def cut_broker(world: World, random: Random) -> None:
    """Cut a broker off from its peers, both ways or one; workers and the plant still reach it."""
    node, cut = random.randrange(world.brokers.count), random.uniform(2, 20)
    which = random.choice(("both ways", "its own requests", "its peers' requests"))
    world.say(f"broker {node + 1}, {which}, for {cut:.1f} s")
    own = [] if which == "its peers' requests" else world.brokers.links_from(node)
    peers = [] if which == "its own requests" else world.brokers.links_to(node)
    _cut(world, _ways([*own, *peers], "both ways"), cut)


# -- brokers -----------------------------------------------------------------------------------------------------------


@_fault("kill-broker", "the broker is killed, for 0.5 to 40 s", "broker 被杀死 0.5 至 40 秒", Need.ONE_BROKER)
def kill_broker(world: World, random: Random) -> None:
    """Kill the only broker."""
    _without_brokers(world, [0], _outage(random))


@_fault(
    "kill-leader",
    "one of three brokers is killed, for 0.5 to 40 s",
    "三个 broker 之一被杀死 0.5 至 40 秒",
    Need.THREE_BROKERS,
)
def kill_leader(world: World, random: Random) -> None:
    """Kill one of three, which leads a third of the partitions, and maybe the quorum."""
    _without_brokers(world, [random.randrange(world.brokers.count)], _outage(random))


@_fault(
    "kill-brokers", "all three are killed, for 0.5 to 40 s", "三个 broker 全部被杀死 0.5 至 40 秒", Need.THREE_BROKERS
)
def kill_brokers(world: World, random: Random) -> None:
    """Kill all brokers."""
    _without_brokers(world, range(world.brokers.count), _outage(random))


@_fault("kill-both", "a worker is killed while a broker is away", "broker 不可用时一个 worker 被杀死")
def kill_both(world: World, random: Random) -> None:
    """Kill a broker, then a worker, which starts while the broker is away or just back."""
    node, place, away = random.randrange(world.brokers.count), random.choice(world.homes), random.uniform(0.5, 5)
    world.say(f"broker {node + 1}, for {away:.1f} s, and worker {place}")
    world.brokers.kill([node])
    world.workers.kill([place])
    time.sleep(away)
    world.workers.start(place)
    world.brokers.start([node])


@_fault("disk-full", "the broker's disk is full until it ends", "broker 磁盘写满直至其退出", Need.DISK, Need.ONE_BROKER)
def fill_disk(world: World, _random: Random) -> None:
    """Fill the disk with all topics, the changelogs too; the broker ends, and is started when there is room again."""
    world.say("")
    assert world.disk is not None
    world.disk.fill()
    deadline = time.monotonic() + DIES_WITHIN
    while world.brokers.running(0) and time.monotonic() < deadline:
        time.sleep(0.1)
    world.brokers.kill([0])
    world.disk.free()
    world.brokers.start([0])


# -- the plant ---------------------------------------------------------------------------------------------------------


@_fault("kill-producer", "the producer is killed in the middle", "生产者在发送中被杀死")
def kill_producer(world: World, random: Random) -> None:
    """Kill the plant; it sends again what it does not know as acknowledged."""
    away = random.uniform(0, 2)
    world.say(f"for {away:.1f} s")
    world.plant.kill()
    time.sleep(away)
    world.plant.start()


def _start_all(world: World) -> None:
    for place in world.homes:
        world.workers.start(place)


def _outage(random: Random) -> float:
    """Return how long a broker is away: short and long ones alike."""
    return random.choice((random.uniform(0.5, 5), random.uniform(5, 40)))


def _without_brokers(world: World, nodes: Sequence[int], away: float) -> None:
    world.say(f"broker {', '.join(str(node + 1) for node in nodes)}, for {away:.1f} s")
    world.brokers.kill(nodes)
    time.sleep(away)
    world.brokers.start(nodes)


def _ways(links: Sequence[Link], which: str) -> list[Way]:
    there = [link.there for link in links] if which in ("both ways", "there") else []
    back = [link.back for link in links] if which in ("both ways", "back") else []
    return there + back


def _cut(world: World, ways: Sequence[Way], seconds: float) -> None:
    for way in ways:
        way.cut()
    time.sleep(seconds)
    world.brokers.heal()
