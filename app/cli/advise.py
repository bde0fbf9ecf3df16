"""The command `faust -A app advise`: what other timeouts would have done with the batches of the past."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import TYPE_CHECKING, Any, Final

import click
import orjson

from app.cli.advice import Advice, Prospect, Rules, StationPast, advise
from app.cli.base import (
    FAILED,
    PlainCommand,
    Seconds,
    command,
    complain,
    json_option,
    language,
    moment_option,
    option,
    say,
    shown_time,
    table_lines,
    terminal_width,
)
from app.cli.past_batches import History
from app.cli.published import NAME_SHOWN
from app.kafka.client import administering, reading
from app.kafka.reading import partitions_of, ranges_of, read_ranges
from app.kafka.topics import not_created, partition_counts
from app.messages.frames import FrameError, decode_events
from app.observability.log_lines import printable
from app.settings import Settings
from app.settings.enums import TimeoutMode
from app.words import joined, told, words
from tables.model.policies import PartialPolicy, ReleasePolicy

if TYPE_CHECKING:
    from app.worker.app import AggregatorApp

DAY: Final = 86_400.0
CANDIDATES: Final = (2.0, 3.0, 5.0, 8.0)
STATIONS: Final = 10
HEADINGS: Final = ("TIMEOUT", "COMPLETE", "PARTIAL", "DISCARDED", "UNSURE", "MISSING", "MEDIAN", "P95", "LATER")
STATION_HEADINGS: Final = ("STATION", "BATCHES", "LAST", "SOONER", "MISSED", "SKIPPED", "NEVER", "MEDIAN", "P95")
NONE: Final = "-"
LEAST: Final = 0.005  # seconds that are shown


@dataclass(frozen=True, slots=True)
class Request:
    """The command's options. `since` is Unix seconds, None for a day ago; timeouts are seconds, none for CANDIDATES."""

    since: float | None = None
    timeout: tuple[float, ...] = ()
    stations: int = STATIONS
    as_json: bool = False


def register_advise(app: AggregatorApp) -> None:
    """Make `advise` a command of `faust -A app`."""
    settings = app.settings
    candidates = ", ".join(f"{timeout:g}" for timeout in CANDIDATES)

    @command(
        app,
        moment_option(
            settings,
            "--since",
            words(
                "Batches from a time on (2025-11-14T10:00:00), or 2h; default 1d.",
                "某时刻以来的批次（2025-11-14T10:00:00），或 2h；默认 1d。",
            ),
        ),
        option(
            settings,
            "--timeout",
            type=Seconds(),
            multiple=True,
            help=words(
                "A timeout to try; may be repeated. Default {candidates}, and AGG_BATCH_TIMEOUT.",
                "要评估的超时，可重复；默认 {candidates} 和 AGG_BATCH_TIMEOUT。",
                candidates=candidates,
            ),
        ),
        option(
            settings,
            "--stations",
            type=click.IntRange(min=0),
            default=STATIONS,
            help=words("How many stations are named.", "列出多少个场站。"),
        ),
        json_option(
            settings,
            words("One JSON object, with all stations.", "一个 JSON 对象，含全部场站。"),
        ),
        zh="""说明其他超时会使过去的批次怎样。

        \b
        faust -A app advise --since 1d
        faust -A app advise --timeout 4 --timeout 10 --json

        批次日志记有每个场站的结果何时到达（按时或迟到）。据此对每个超时统计：多少批次会完整，缺失多少场站，批次耗时多长；
        并列出批次在等哪些场站。不做任何修改。

        退出码：没有可看的批次为 1，选项有误为 2，否则为 0。
        """,
    )
    def advise(self: PlainCommand, **given: Any) -> int:  # noqa: ARG001
        """Tell what other timeouts would have made of the batches of the past.

        \b
        faust -A app advise --since 1d
        faust -A app advise --timeout 4 --timeout 10 --json

        The log of the batches has when the outcome of each station came, in time or late. So for each timeout it is
        counted how many batches would have been complete, how many stations missing, and how long a batch would have
        taken; and it is told for which stations batches wait. Nothing is changed.

        The exit code is 1 when there is no batch to look at, 2 when an option is wrong, else 0.
        """  # noqa: D301 - `\b` is click's
        return asyncio.run(tell_advice(settings, Request(**given)))


async def tell_advice(settings: Settings, request: Request) -> int:
    """Print what the past says of timeouts, and return the command's exit code.

    Raises:
        CommandError: there is no log.
        KafkaError: there is no broker, or it refuses us.
    """
    now = time.time()
    since = now - DAY if request.since is None else request.since
    required = frozenset(settings.required_stations)
    rules = Rules(ReleasePolicy(settings.release_ratio, required), PartialPolicy(settings.partial_min_ratio, required))
    history = History(rules.release)
    unreadable = await _read(settings, since, history)
    timeouts = request.timeout or (*CANDIDATES, *_present(settings))
    advice = advise(history.batches(), rules, timeouts, now)
    if unreadable:
        complain(
            words(
                "{n:message} of {topic} left out: can't be read",
                "{topic} 中有 {n} 条消息无法读取，已略去",
                n=unreadable,
                topic=settings.batch_events_topic,
            )
        )
    if history.dropped:
        complain(
            words(
                "only the newest batches are kept, older ones left out: {n}; see --since",
                "只保留最新的批次，略去 {n} 个较早的；见 --since",
                n=history.dropped,
            )
        )
    if advice is None:
        complain(
            words(
                "no batch in {topic} since {since} is over",
                "{topic} 中自 {since} 起没有已结束的批次",
                topic=settings.batch_events_topic,
                since=shown_time(since, settings.timezone),
            )
        )
        return FAILED
    if request.as_json:
        click.echo(orjson.dumps(advice))
    else:
        for line in lines(advice, settings, request.stations):
            say(line)
    return 0


async def _read(settings: Settings, since: float, history: History) -> int:
    """Read the log of the batches from a time on (Unix seconds); returns how many messages could not be read."""
    topic, unreadable = settings.batch_events_topic, 0
    async with administering(settings) as admin:
        counts = await partition_counts(admin)
    if topic not in counts:
        raise not_created(settings, topic)
    async with reading(settings) as consumer:
        ranges = await ranges_of(consumer, partitions_of(topic, counts), since=since)
        async for message in read_ranges(consumer, ranges):
            try:
                events = decode_events(message.value)
            except FrameError:
                unreadable += 1
                continue
            for event in events:
                history.take(event)
    return unreadable


def _present(settings: Settings) -> Sequence[float]:
    """Return the timeout that holds now; none where each batch has its own."""
    return () if settings.timeout_mode is TimeoutMode.ADAPTIVE else (settings.batch_timeout,)


# -- telling -----------------------------------------------------------------------------------------------------------


def lines(advice: Advice, settings: Settings, stations: int) -> Iterator[str]:
    """Tell it in two tables, of the timeouts and of so many stations."""
    first, last = (shown_time(at, settings.timezone) for at in (advice.opened_from, advice.opened_until))
    yield words(
        "{n:batch}, opened from {first} to {last}",
        "{n} 个批次，建立于 {first} 至 {last}",
        n=advice.batches,
        first=first,
        last=last,
    )
    if advice.supplemented:
        yield words("left out: {n} that several messages made", "略去由多条消息组成的 {n} 个", n=advice.supplemented)
    if advice.under_way:
        yield words(
            "left out: {n} waited for and younger than the longest timeout",
            "略去仍在等待且不及最长超时的 {n} 个",
            n=advice.under_way,
        )
    yield ""
    yield from _table(HEADINGS, _timeout_rows(advice, settings))
    yield ""
    within = [
        words("{share:.0%} within {timeout:.2f} s", "{share:.0%} 在 {timeout:.2f} 秒内", share=share, timeout=timeout)
        for share, timeout in advice.needed
        if timeout is not None
    ]
    never = [words("of {n} not until now", "{n} 个至今未齐", n=advice.incomplete)] if advice.incomplete else []
    yield words(
        "All stations of the batches had come: {when}",
        "批次的场站全部到达所需时间：{when}",
        when=joined(", ", within + never),
    )
    shown = advice.stations[:stations]
    if not shown:
        return
    yield ""
    yield from _table(STATION_HEADINGS, [_station_cells(station) for station in shown])
    if more := len(advice.stations) - len(shown):
        yield words(
            "and {n:more station}: --stations {all} tells of all",
            "另有 {n} 个场站：--stations {all} 显示全部",
            n=more,
            all=len(advice.stations),
        )
    last = words("LAST: the others had come, and it was waited for", "LAST：其他场站已到，只等该场站")
    sooner = words("SOONER: the batch would have been complete without it", "SOONER：没有该场站时批次可提前完成的时间")
    if any(station.sooner is not None for station in shown):  # then it was the last to come
        yield words("{last}; {sooner}", "{last}；{sooner}", last=last, sooner=sooner)
    elif any(station.last for station in shown):
        yield last


def _timeout_rows(advice: Advice, settings: Settings) -> Iterator[Sequence[str]]:
    past, *candidates = advice.prospects
    present = _present(settings)
    # As it was is what the setting says, unless that has been changed, or messages have timeouts of their own.
    if not any(one.timeout in present and replace(one, timeout=None) == past for one in candidates):
        yield _timeout_cells(told(words("as it was", "实际"), language()), past, advice)
    for one in candidates:
        mark = " (AGG_BATCH_TIMEOUT)" if one.timeout in present else ""
        if one.timeout is not None and one.timeout > settings.max_batch_age:
            mark = " (over AGG_MAX_BATCH_AGE)"
        yield _timeout_cells(f"{one.timeout:g} s{mark}", one, advice)


def _timeout_cells(name: str, one: Prospect, advice: Advice) -> Sequence[str]:
    """Return the cells of a timeout under HEADINGS."""
    sure = one.missing - one.unsure_missing
    later = one.median - advice.prospects[0].median
    return (
        name,
        f"{one.complete} ({one.complete / advice.batches:.1%})",
        str(one.partial or NONE),
        str(one.discarded or NONE),
        str(one.unsure or NONE),
        f"{sure} to {one.missing}" if one.unsure_missing else str(one.missing or NONE),
        _seconds(one.median),
        _seconds(one.p95),
        f"{later:+.2f} s" if abs(later) >= LEAST else NONE,
    )


def _station_cells(station: StationPast) -> Sequence[str]:
    """Return the cells of a station under STATION_HEADINGS."""
    return (
        printable(station.station_id, NAME_SHOWN),
        str(station.batches),
        str(station.last or NONE),
        _seconds(station.sooner),
        str(station.missed or NONE),
        str(station.skipped or NONE),
        str(station.never or NONE),
        _seconds(station.median),
        _seconds(station.p95),
    )


def _seconds(seconds: float | None) -> str:
    return NONE if seconds is None else f"{seconds:.2f} s"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, without the columns in which nothing stands."""
    cells = list(rows)
    told = [any(row[column] != NONE for row in cells) for column in range(len(headings))]
    return table_lines(list(compress(headings, told)), [list(compress(row, told)) for row in cells], terminal_width())
