"""Statistics of the cluster: of a range of time, and of its last hour in samples.

The figures come from what is durable: the closed batches that are remembered, and the offsets of topics by time. What
workers count by themselves ends with them. A sample is made as the figures of its ten seconds are.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from pydantic import BeforeValidator, Field, TypeAdapter

from app.observability.counters import MINUTE, SLOT, SLOTS, Histogram, oldest_open_age, open_batches
from app.web.cluster import INTERNAL, Cluster, Share, share_of
from app.web.errors import api_router
from app.web.figures import Figures, Seldom, Span, TopicCounts, Written, figures_of
from app.web.filters import Moment, SinceQuery, UntilQuery, moment_of, moment_text
from app.web.models import Answer
from app.web.paging import LocalQuery
from app.web.routers.lags import Lag, Lags
from app.web.slots import Slots
from app.web.state import WorkerState
from app.web.turns import Pace, Turns
from tables.model.enums import CompletedBy

_FIGURES: Final = "/figures"  # of the workers: an older one's of /stats are counted since its start
_HOUR: Final = 3600.0
_SAMPLES: Final = "/samples"  # of the workers: an older one's of /history are counted since its start
_RULES: Final = tuple(rule for rule in CompletedBy if rule is not CompletedBy.REVISION)  # of first closings
_SUMMED: Final = ("open_batches", "discarded")


def _pairs(durations: Any) -> Any:
    return durations.to_json() if isinstance(durations, Histogram) else durations


Pairs = Annotated[list[tuple[int, int]], BeforeValidator(_pairs)]  # a histogram as it travels


class Quantiles(Answer):
    """Seconds, right to 5 %; null while there is nothing."""

    p50: float | None
    p99: float | None


class _Counted(Answer):
    open_batches: int = Field(description="Now")
    oldest_open_age: float | None = Field(description="Seconds; null when none is open")
    completed_by: dict[CompletedBy, int] = Field(description="First closings in the range by the rule that closed")
    discarded: int = Field(description="Of these")


class Stats(_Counted):
    """The cluster in a range of time, as far as its closed batches are remembered (AGG_CLOSED_TTL, AGG_CLOSED_MAX)."""

    late: int | None = Field(
        description="Outcomes that came after their batch had closed; null while Kafka does not tell"
    )
    dead_letters: int | None = Field(description="Written in the range; null while Kafka does not tell")
    throughput: float = Field(
        description="Stations that arrived in the batches that closed in the last minute of the range, a second"
    )
    duration: Quantiles = Field(description="From the opening of a batch to its first closing in the range")
    timeout: float = Field(
        description="Seconds that a batch like the last one would be given now; the longest of all workers"
    )
    incomplete: list[str] = Field(description="URLs of workers that did not answer")


class _OwnStats(_Counted):
    late: int
    arrived: int
    durations: Pairs
    timeout: float


class HistorySample(Answer):
    """The seconds before `at`."""

    at: int = Field(description=f"Unix seconds, a multiple of {SLOT}")
    open_batches: int
    throughput: float = Field(description="Stations that arrived in batches closed meanwhile, a second")
    duration_p50: float | None = Field(description="Of the batches closed meanwhile, seconds; null when there was none")
    duration_p99: float | None
    lag: int | None = Field(description="Messages of the source topics that are not done; null: not known")
    internal_lag: int | None = Field(description="The same of the application's own topics")


class HistoryAnswer(Answer):
    """The last hour, oldest first, as far as closed batches are remembered."""

    samples: list[HistorySample]
    incomplete: list[str] = Field(description="URLs of workers that did not answer")


class _OwnSample(Answer):
    at: int
    open_batches: int
    arrived: int
    durations: Pairs


class _OwnHistory(Answer):
    samples: list[_OwnSample]
    begins: int | None = None  # of samples, the first one perhaps not over yet; an older version's share has none
    lags: list[Lag]


_STATS_SHARE: Final = TypeAdapter(Share[_OwnStats])
_HISTORY_SHARE: Final = TypeAdapter(Share[_OwnHistory])


def statistics_router(state: WorkerState, cluster: Cluster, lags: Lags, pace: Pace) -> APIRouter:
    """Serve `/stats` and `/history`, and the workers' shares of them."""
    router = api_router("statistics")

    figures, slots, counts = Seldom(figures_of, pace), Slots(state, pace), TopicCounts(state)

    @router.get("/stats")
    async def stats(since: SinceQuery = None, until: UntilQuery = None, local: LocalQuery = None) -> Stats:
        """Open batches now, and what became of the batches that closed in a range of time: without it, the last hour.

        A worker's start or death changes none of it. With `local` the batches are those of this worker's partitions;
        late outcomes that the late topic has and dead letters are the cluster's also then.
        """
        now = time.time()
        start, end = _range_of(since, until, now)
        asked = since or "", until or ""
        counting = asyncio.ensure_future(counts.of(asked, start, end))
        try:
            query = urlencode({"since": moment_text(start), "until": moment_text(end), "asked": " ".join(asked)})
            gathered = await cluster.gather(
                f"{_FIGURES}?{query}", own_stats(asked, start, end), _STATS_SHARE.validate_json, local=bool(local)
            )
            written = await counting
        finally:
            counting.cancel()
        return _add_up(gathered.shares, gathered.incomplete, written, seconds=end - start)

    @router.get("/history")
    async def history(local: LocalQuery = None) -> HistoryAnswer:
        """A sample every ten seconds of the last hour. A worker's start or death changes none of them.

        Lag is what was not done then; it is known since the first of the workers that run started.
        """
        until = int(time.time()) // SLOT * SLOT
        path = f"{_SAMPLES}?until={until}"
        gathered = await cluster.gather(path, own_history(until), _HISTORY_SHARE.validate_json, local=bool(local))
        samples = await _by_time(gathered.shares, until, Turns(pace))
        return HistoryAnswer(samples=samples, incomplete=gathered.incomplete)

    @router.get(INTERNAL + _FIGURES, include_in_schema=False)
    async def stats_share(
        since: Moment | None = None, until: Moment | None = None, asked: str = ""
    ) -> Share[_OwnStats]:
        return share_of(state, await own_stats((asked, ""), *_range_of(since, until, time.time())))

    @router.get(INTERNAL + _SAMPLES, include_in_schema=False)
    async def history_share(until: Annotated[int, Query(ge=SLOTS * SLOT)]) -> Share[_OwnHistory]:
        return share_of(state, await own_history(until // SLOT * SLOT))

    async def own_stats(asked: tuple[str, str], since: float, until: float) -> _OwnStats:
        found: Figures = await figures.of(state.working_sets(), Span(since, until, asked))
        sets = state.working_sets()
        return _OwnStats(
            open_batches=open_batches(sets),
            oldest_open_age=oldest_open_age(sets, time.time()),
            completed_by={rule: found.completed_by[rule] for rule in _RULES},
            discarded=found.discarded,
            late=found.late,
            arrived=found.arrived,
            durations=found.durations.to_json(),
            timeout=state.batch_timeout(),
        )

    async def own_history(until: int) -> _OwnHistory:
        found = await slots.of(until - SLOTS * SLOT, until)
        samples = [_OwnSample.model_validate(slot, from_attributes=True) for slot in found.slots]
        return _OwnHistory(samples=samples, begins=found.begins, lags=list(lags.samples()))

    return router


def _range_of(since: str | None, until: str | None, now: float) -> tuple[float, float]:
    """Return a range of time in Unix seconds: the last hour, as far as nothing else is asked for."""
    start, end = moment_of(since, now), moment_of(until, now)
    return now - _HOUR if start is None else start, now if end is None else end


def _add_up(shares: Sequence[_OwnStats], incomplete: list[str], written: Written, *, seconds: float) -> Stats:
    rules: Counter[CompletedBy] = Counter()
    for share in shares:
        rules.update(share.completed_by)
    kept = sum(share.late for share in shares)
    return Stats(
        **{name: sum(getattr(share, name) for share in shares) for name in _SUMMED},
        oldest_open_age=max((age for share in shares if (age := share.oldest_open_age) is not None), default=None),
        completed_by={rule: rules[rule] for rule in _RULES},
        late=None if written.late is None else written.late + kept,
        dead_letters=written.dead_letters,
        throughput=sum(share.arrived for share in shares) / max(1.0, min(float(MINUTE), seconds)),
        duration=_quantiles(share.durations for share in shares),
        timeout=max(share.timeout for share in shares),
        incomplete=incomplete,
    )


async def _by_time(shares: Sequence[_OwnHistory], until: int, turns: Turns) -> list[HistorySample]:
    slots: dict[int, list[_OwnSample]] = {}
    for sample in chain.from_iterable(share.samples for share in shares):
        slots.setdefault(sample.at, []).append(sample)
    lags = {lag.at: lag for share in shares for lag in share.lags if until - SLOTS * SLOT < lag.at <= until}
    begins = [share.begins for share in shares if share.begins is not None]
    first = min([*begins, *slots] or lags, default=until + SLOT)  # what is durable says where the history begins
    samples: list[HistorySample] = []
    for at in range(first, until + SLOT, SLOT):
        samples.append(_sum_of(at, slots.get(at, ()), lags.get(at)))
        await turns.rest()
    return samples


def _sum_of(at: int, samples: Sequence[_OwnSample], lag: Lag | None) -> HistorySample:
    duration = _quantiles(sample.durations for sample in samples)
    return HistorySample(
        at=at,
        open_batches=sum(sample.open_batches for sample in samples),
        throughput=sum(sample.arrived for sample in samples) / SLOT,
        duration_p50=duration.p50,
        duration_p99=duration.p99,
        lag=None if lag is None else lag.sources,
        internal_lag=None if lag is None else lag.internal,
    )


def _quantiles(histograms: Iterable[list[tuple[int, int]]]) -> Quantiles:
    whole = Histogram()
    for pairs in histograms:
        whole.merge(Histogram.from_json(pairs))
    return Quantiles(p50=whole.quantile(0.5), p99=whole.quantile(0.99))
