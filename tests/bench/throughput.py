"""What a record costs each program, and how many get through: one program after the other, the same messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from app.devbroker import DevBroker
from tests.bench.cluster import Following, Process, Taken, cpu_of, create_topics, producing
from tests.bench.loads import RESERVED, Kind, Load, numbered, time_of
from tests.bench.programs import Command, Place, Program
from tests.bench.report import Cost, Results

LEAST_MESSAGES = 8  # one a partition
KNOCK = Load(Kind.GUNS, 10)
WARM_UP = Load(Kind.GUNS, 100)
PATIENCE = 120.0  # for the outputs of a load
KNOCK_SECONDS = 10.0  # for the answers to the first messages, before others are sent
QUIET_LOOK, QUIET_SHARE, QUIET_WITHIN = 0.3, 0.1, 3.0  # seconds, of a core, seconds

Start = Callable[[Place], Command]


class Turns:
    """Measures programs by turns on one broker: in each round each of them once, in new topics.

    A program is started, given a message for each partition until it answers, warmed up with half as many records as a
    load has, and then given one load after the other. So starting, imports and a compiler's first work are
    no cost of a record; what follows an output (commits, a changelog) is one: a load ends when the program has become
    quiet.
    """

    def __init__(self, broker: DevBroker, folder: Path, starts: Mapping[Program, Start], total: int) -> None:
        self._broker = broker
        self._folder = folder
        self._starts = starts
        self._total = total

    async def round(self, number: int, results: Results, told: Callable[[str], None]) -> None:
        """Measure each program once; one that fails is left out from then on."""
        names = [*self._starts]
        first = number % len(names)
        for program in names[first:] + names[:first]:
            if program.name in results.left_out:
                continue
            try:
                costs = await self._turn(program, number, results.loads)
            except (RuntimeError, TimeoutError) as error:
                results.left_out[program.name] = " ".join(str(error).split())[-300:]
                told(f"{program.name}: {error}")
                continue
            for load, cost in costs.items():
                results.costs[program.name, load].append(cost)
            told(f"{program.name}: " + ", ".join(f"{cost.cpu:.1f}" for cost in costs.values()) + " µs of CPU a record")

    async def _turn(self, program: Program, number: int, loads: Sequence[Load]) -> dict[Load, Cost]:
        servers, name = self._broker.bootstrap, f"{program.name.lower().replace(' ', '-')}-{number}"
        folder = self._folder / name
        folder.mkdir()
        place = Place(servers, f"in-{name}", f"out-{name}", folder)
        await create_topics(servers, [place.source, place.output, *(place.source + name for name in program.topics)])
        command = self._starts[program](place)
        process = Process(command.args, command.env, self._folder / f"{name}.log")
        try:
            async with producing(servers) as producer, Following(servers, place.output) as outputs:
                passing = Passing(process, self._broker.pid, producer, outputs, place)
                (_, warm), *rest = numbered([WARM_UP, *loads], self._total, LEAST_MESSAGES)
                await passing.knock()
                await passing.cost(WARM_UP, program.share_of(warm[: len(warm) // 2]))
                return {
                    load: await passing.cost(load, program.share_of(numbers))
                    for load, numbers in rest
                    if load.kind in program.kinds
                }
        finally:
            await asyncio.to_thread(process.stop)
            await _delete_topics(servers)


class Passing:
    """Lets loads pass through a program that runs, one after the other."""

    def __init__(
        self, process: Process, broker: int, producer: AIOKafkaProducer, outputs: Following, place: Place
    ) -> None:
        self._process = process
        self._broker = broker
        self._producer = producer
        self._outputs = outputs
        self._topic = place.source

    async def knock(self) -> None:
        """Send a message to each partition until all are answered: then the program runs.

        More than once, because Faust may lose what comes while it starts (docs/faust.md).

        Raises:
            RuntimeError: the program has ended.
            TimeoutError: it does not answer.
        """
        rounds = range(RESERVED // LEAST_MESSAGES)
        for number in rounds:
            numbers = range(number * LEAST_MESSAGES, (number + 1) * LEAST_MESSAGES)
            await self._send([KNOCK.message(number) for number in numbers])
            try:
                await self._take(numbers, KNOCK_SECONDS)
            except TimeoutError:
                if number == rounds[-1]:
                    raise
            else:
                break
        await self._quiet()

    async def cost(self, load: Load, numbers: range) -> Cost:
        """Send a load's messages of these numbers, wait for their outputs, and return what they have cost.

        Raises:
            RuntimeError: the program has ended, or its outputs do not have all stations.
            TimeoutError: it takes too long.
        """
        messages = await asyncio.to_thread(lambda: [load.message(number) for number in numbers])
        cpu, broker = self._process.cpu(), cpu_of(self._broker)
        begun = await self._send(messages)
        taken = await self._take(numbers, PATIENCE)
        await self._quiet()
        cpu, broker = self._process.cpu() - cpu, cpu_of(self._broker) - broker
        if taken.stations != len(messages) * load.stations:
            message = f"its outputs have {taken.stations} stations of {len(messages) * load.stations}"
            raise RuntimeError(message)
        records = len(messages) * load.records
        seconds = max(0.001, taken.appended_at - begun)
        return Cost(cpu / records * 1e6, broker / records * 1e6, records / seconds, self._process.resident())

    async def _take(self, numbers: range, seconds: float) -> Taken:
        times = [time_of(number) for number in numbers]
        return await self._outputs.take(times, check=self._process.check, seconds=seconds)

    async def _send(self, messages: Sequence[bytes]) -> float:
        """Send them as fast as Kafka takes them, in turns to all partitions; return when the first was appended."""
        partitions = await self._producer.partitions_for(self._topic)
        sent = [
            await self._producer.send(self._topic, message, partition=number % len(partitions))
            for number, message in enumerate(messages)
        ]
        return float(min(one.timestamp for one in await asyncio.gather(*sent)) / 1000)

    async def _quiet(self) -> None:
        """Wait until the program takes hardly any CPU: what follows an output is done."""
        until = time.monotonic() + QUIET_WITHIN
        before, used = self._process.cpu(), QUIET_LOOK
        while used > QUIET_LOOK * QUIET_SHARE and time.monotonic() < until:
            await asyncio.sleep(QUIET_LOOK)
            now = self._process.cpu()
            before, used = now, now - before


async def _delete_topics(servers: str) -> None:
    """Delete all topics: what one program has written must not be another's work, nor fill the disk."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.delete_topics([topic for topic in await admin.list_topics() if not topic.startswith("__")])
    finally:
        await admin.close()
