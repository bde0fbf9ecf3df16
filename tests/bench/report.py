"""The tables of the benchmark: what was measured, and how a terminal and a page show it. Pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.bench.loads import WINDOW, WINDOW_GUNS, Kind, Load
from tests.bench.programs import APPLICATION, Program, Promise
from tests.marked_pages import with_section

SECTION: Final = "bench"
NOTHING: Final = "–"


@dataclass(frozen=True, slots=True)
class Cost:
    """One measurement of a program with a load.

    Attributes:
        cpu: microseconds of CPU a record, user and system, of the program's processes.
        broker: the same of the broker meanwhile.
        rate: records a second, from the append of the first message to that of the last output.
        resident: bytes of memory of the program afterwards.
    """

    cpu: float
    broker: float
    rate: float
    resident: float


def median(costs: Sequence[Cost]) -> Cost:
    """Return the median of each figure."""
    return Cost(*[statistics.median(figures) for figures in zip(*map(_figures, costs), strict=True)])


def _figures(cost: Cost) -> tuple[float, ...]:
    return (cost.cpu, cost.broker, cost.rate, cost.resident)


@dataclass(slots=True)
class Results:
    """What a run has measured, round by round.

    Attributes:
        programs: all that were to be measured, in the order of the columns.
        loads: in the order of the rows.
        costs: those of each round, by program's name and load.
        left_out: why a program is not measured, or no longer, by its name.
    """

    programs: Sequence[Program]
    loads: Sequence[Load]
    costs: dict[tuple[str, Load], list[Cost]] = field(default_factory=lambda: defaultdict(list))
    left_out: dict[str, str] = field(default_factory=dict)

    def cost(self, program: Program, load: Load) -> Cost | None:
        """Return the medians of the rounds; None where nothing was measured."""
        costs = self.costs.get((program.name, load))
        return median(costs) if costs else None


@dataclass(frozen=True, slots=True)
class Words:
    """What the tables say, in one language."""

    load: str
    kinds: Mapping[Kind, str]
    cpu: str
    broker: str
    rate: str
    resident: str
    promises: str
    promise: Mapping[Promise, str]
    left_out: str
    flat: str
    share: str


ENGLISH: Final = Words(
    "stations a batch",
    {
        Kind.PLAIN: "{stations:,}, no guns",
        Kind.GUNS: "{stations:,}",
        Kind.WINDOW: f"{{stations:,}} × {WINDOW} records × {WINDOW_GUNS} guns",
    },
    "µs of CPU a record, of the program's processes (in brackets: application = 1)",
    "µs of CPU a record, of the broker meanwhile",
    "records a second (in brackets: application = 1)",
    "MiB resident",
    "promises",
    {
        Promise.SURVIVES: "`kill -9` loses nothing",
        Promise.DEADLINE: "out at the deadline",
        Promise.EXPECTED: "missing stations named",
        Promise.ONCE: "one output after a crash",
        Promise.ORDER: "stations spread, each in order",
        Promise.WAITS: "waiting callbacks side by side",
    },
    "{name} is left out: {why}",
    "The dearest size against the cheapest, CPU a record, {kind}: {ratio:.2f}",
    "{name} was given the first {share:.0%} of the messages.",
)
CHINESE: Final = Words(
    "每批场站数",
    {
        Kind.PLAIN: "{stations:,}，无枪",
        Kind.GUNS: "{stations:,}",
        Kind.WINDOW: f"{{stations:,}} × {WINDOW} 条记录 × {WINDOW_GUNS} 枪",
    },
    "每条记录的 CPU 微秒数，程序的各进程（括号内：本应用 = 1）",
    "每条记录的 CPU 微秒数，同时的 Kafka",
    "每秒记录数（括号内：本应用 = 1）",
    "常驻内存 MiB",
    "承诺",
    {
        Promise.SURVIVES: "`kill -9` 不丢失",
        Promise.DEADLINE: "到期即输出",
        Promise.EXPECTED: "列出缺失场站",
        Promise.ONCE: "崩溃后输出不重复",
        Promise.ORDER: "场站分散，各自有序",
        Promise.WAITS: "等待型回调并行",
    },
    "未测 {name}：{why}",
    "最贵与最省的批次大小之比（每条记录 CPU，{kind}）：{ratio:.2f}",
    "{name} 只处理前 {share:.0%} 的消息。",
)
_KINDS: Final = {
    False: {Kind.PLAIN: "no guns", Kind.GUNS: "with guns", Kind.WINDOW: "windows"},
    True: {Kind.PLAIN: "无枪", Kind.GUNS: "有枪", Kind.WINDOW: "窗口"},
}


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: its title, the heads of its columns, its rows."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def markdown(self) -> str:
        """The table as a page has it; the title is the first head's."""
        head, *heads = self.heads
        lines = [[f"{self.title}: {head}" if self.title else head, *heads], ["---", *["---:"] * len(heads)], *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def grids(results: Results, *, chinese: bool = False) -> list[Grid]:
    """Return the tables: CPU, the broker's CPU, records a second, memory; a row for each load."""
    words = CHINESE if chinese else ENGLISH
    shown: list[tuple[str, Callable[[Cost], float], str, bool]] = [
        (words.cpu, lambda cost: cost.cpu, ".1f", True),
        (words.broker, lambda cost: cost.broker, ".1f", False),
        (words.rate, lambda cost: cost.rate, ",.0f", True),
        (words.resident, lambda cost: cost.resident / 2**20, ",.0f", False),
    ]
    measured = [program for program in results.programs if any(results.cost(program, load) for load in results.loads)]
    heads = [words.load, *(program.name for program in measured)]
    return [
        Grid(
            title,
            heads,
            [
                [
                    words.kinds[load.kind].format(stations=load.stations),
                    *(_cell(results, program, load, value, form, compared=compared) for program in measured),
                ]
                for load in results.loads
            ],
        )
        for title, value, form, compared in shown
    ]


def _cell(
    results: Results, program: Program, load: Load, value: Callable[[Cost], float], form: str, *, compared: bool
) -> str:
    cost = results.cost(program, load)
    if cost is None:
        return NOTHING
    text = format(value(cost), form)
    own = results.cost(APPLICATION, load)
    if not compared or program is APPLICATION or own is None:
        return text
    return f"{text} ({value(cost) / value(own):.2f})"


def promises(programs: Iterable[Program], *, chinese: bool = False) -> Grid:
    """Return the table of what each program promises."""
    words = CHINESE if chinese else ENGLISH
    programs = list(programs)
    return Grid(
        "",
        [words.promises, *(program.name for program in programs)],
        [
            [words.promise[promise], *("✓" if promise in program.promises else NOTHING for program in programs)]
            for promise in Promise
        ],
    )


def remarks(results: Results, *, chinese: bool = False) -> list[str]:
    """Return a sentence for each kind of load (how flat its cost is), each share, and each program left out."""
    words = CHINESE if chinese else ENGLISH
    lines = [
        words.flat.format(kind=_KINDS[chinese][kind], ratio=ratio)
        for kind in (Kind.PLAIN, Kind.GUNS)
        if (ratio := flatness(results, kind)) is not None
    ]
    lines += [
        words.share.format(name=program.name, share=program.share)
        for program in results.programs
        if program.share < 1 and program.name not in results.left_out
    ]
    return lines + [words.left_out.format(name=name, why=why) for name, why in results.left_out.items()]


def flatness(results: Results, kind: Kind) -> float | None:
    """Return the application's cost of a record at its dearest size, against the cheapest.

    The median of the rounds' ratios, because the machine's speed varies; None where fewer than two sizes were measured.
    """
    rounds = [results.costs[APPLICATION.name, load] for load in results.loads if load.kind is kind]
    complete = [costs for costs in zip(*rounds, strict=False) if len(costs) > 1]
    ratios = [max(cost.cpu for cost in costs) / min(cost.cpu for cost in costs) for costs in complete]
    return statistics.median(ratios) if ratios else None


def with_results(page: str, results: Results, measured_on: str, *, chinese: bool) -> str:
    """Return the page with what was measured between its markers.

    Raises:
        ValueError: there is not exactly one pair of markers.
    """
    tables = [grid.markdown for grid in grids(results, chinese=chinese)]
    lines = "\n".join(f"- {line}" for line in [measured_on, *remarks(results, chinese=chinese)])
    return with_section(
        page, SECTION, "\n\n".join([*tables, promises(results.programs, chinese=chinese).markdown, lines])
    )
