"""The other workers of the group as this one knows them: where their settings and their clocks differ from its own.

A difference is told in the log when it is found and when it is over, not each time that it is seen.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from app.observability.log_lines import NAME_SHOWN, NAMES_SHOWN, Line, Shown, printable, tell
from app.observability.open_times import MOST_APART, OpenTime, OpenTimes
from app.settings import Settings
from app.settings.fingerprint import Fingerprint, differing, fingerprint, odd_ones

logger = logging.getLogger(__name__)

_AGREE_AGAIN: Final = 0.8  # seconds: who stands at the limit is not told again and again
_EXCHANGES: Final = 6  # the latest of a worker, whose offsets together are narrower than each


class Peer(NamedTuple):
    """Another worker of the group, as it told of itself when it joined."""

    url: str
    host: str
    settings: Fingerprint

    @property
    def shown(self) -> str:
        """Its name in a log line."""
        return printable(f"{self.url} ({self.host})", NAME_SHOWN)


class ClockOffset(NamedTuple):
    """Seconds by which another worker's clock is ahead of ours: surely between `low` and `high`."""

    low: float
    high: float

    @property
    def seconds(self) -> float:
        """The middle."""
        return (self.low + self.high) / 2

    @property
    def sure(self) -> float:
        """Seconds by which it is ahead at least; negative: behind at least; 0: the clocks may agree."""
        return max(self.low, 0.0) or min(self.high, 0.0)


def exchange(asked: float, told: float, answered: float) -> ClockOffset:
    """Return what one question tells: `told` is their clock's time, the others are ours (all Unix seconds).

    Their time was taken between question and answer. So a slow answer leaves the offset open by as much.
    """
    return ClockOffset(told - answered, told - asked)


class Exchanges:
    """The latest exchanges with one worker."""

    def __init__(self) -> None:
        self._latest: deque[ClockOffset] = deque(maxlen=_EXCHANGES)

    def add(self, offset: ClockOffset) -> None:
        """Take one more. One that contradicts those before means that a clock was set: they are void."""
        self._latest.append(offset)
        while self.offset.low > self.offset.high:
            self._latest.popleft()

    @property
    def offset(self) -> ClockOffset:
        """The offset that all of them allow; there is at least one."""
        return ClockOffset(max(one.low for one in self._latest), min(one.high for one in self._latest))


class Peers:
    """What this worker knows of the others. Used on the worker's loop only."""

    def __init__(self, settings: Settings) -> None:
        self.own = fingerprint(settings)
        self._app_id = settings.app_id
        self._language = settings.log_language
        self._others: Sequence[Peer] = ()
        self._differing: Mapping[str, Sequence[str]] = {}  # by the worker's name in a log line
        self._clocks: dict[str, Exchanges] = {}
        self._own_opens = OpenTimes()
        self._opens: dict[str, OpenTimes] = {}
        self._by_opens: dict[str, float] = {}  # offsets that these tell, where they differ
        self._apart: set[str] = set()  # URLs of workers whose clocks were told to differ

    # -- settings ----------------------------------------------------------------------------------------------------

    def joined(self, others: Sequence[Peer]) -> None:
        """Take the other workers of a new assignment, but those that tell nothing of their settings."""
        if others is self._others:
            return
        self._others = others
        now = {peer.shown: keys for peer in others if (keys := differing(self.own, peer.settings))}
        before, self._differing = self._differing, now
        if now == before:
            return
        if self._differing:
            which = _listed(f"{peer}: {', '.join(keys)}" for peer, keys in self._differing.items())
            tell(logger, logging.WARNING, self._language, Line.SETTINGS_DIFFER, app_id=self._app_id, which=which)
        else:
            tell(logger, logging.INFO, self._language, Line.SETTINGS_AGREE, app_id=self._app_id)

    @property
    def keys_that_differ(self) -> Collection[str]:
        """Keys whose values here differ from those of any other worker."""
        return {key for keys in self._differing.values() for key in keys}

    def odd_keys(self, own_url: str) -> Mapping[str, Sequence[str]]:
        """Return, by URL, the keys whose values at that worker differ from the others'; see `odd_ones`."""
        everyone = [(own_url, self.own), *((peer.url.rstrip("/"), peer.settings) for peer in self._others)]
        found: dict[str, list[str]] = {}
        for (url, _), keys in zip(everyone, odd_ones([settings for _, settings in everyone]), strict=True):
            there = found.setdefault(url, [])  # two workers may say that they have one URL
            there += [key for key in keys if key not in there]
        return found

    # -- clocks ------------------------------------------------------------------------------------------------------

    def exchanged(self, url: str, offset: ClockOffset) -> None:
        """Take what a question to a worker has told of its clock."""
        self._clocks.setdefault(url, Exchanges()).add(offset)
        self._tell_clocks()

    def opened(self, url: str, event: OpenTime, *, own: bool) -> None:
        """Take an `open` event of a worker's, or of our own.

        Only a worker that has never told its time is judged by them. Our own tell how long the way takes: while that is
        so long that they come late, those of others tell nothing.
        """
        if own:
            self._own_opens.take(event)
        elif url not in self._clocks:
            offset = self._opens.setdefault(url, OpenTimes()).take(event)
            if offset is None or (offset < 0.0 and self._own_opens.is_late):
                return
            if self._by_opens.pop(url, 0.0) or offset:
                if offset:
                    self._by_opens[url] = offset
                self._tell_clocks()

    def keep(self, urls: Collection[str]) -> None:
        """Forget the clocks of all workers but these: the others have left."""
        if not self._clocks.keys() | self._opens.keys() <= set(urls):
            self._clocks = {url: clock for url, clock in self._clocks.items() if url in urls}
            self._opens = {url: opens for url, opens in self._opens.items() if url in urls}
            self._by_opens = {url: offset for url, offset in self._by_opens.items() if url in urls}
            self._tell_clocks()

    def clock_offset(self, url: str) -> float | None:
        """Return the seconds by which a worker's clock is ahead of ours, as far as is known."""
        return clock.offset.seconds if (clock := self._clocks.get(url)) is not None else self._by_opens.get(url)

    def _sure_offsets(self) -> dict[str, float]:
        return self._by_opens | {url: clock.offset.sure for url, clock in self._clocks.items()}

    @property
    def clocks_apart(self) -> Collection[str]:
        """URLs of the workers whose clocks surely differ from ours by more than a second."""
        return sorted(self._apart)

    @property
    def largest_offset(self) -> float:
        """Seconds by which the clock that differs most is surely ahead of ours; negative: behind; 0: none differs."""
        return max(self._sure_offsets().values(), key=abs, default=0.0)

    def _tell_clocks(self) -> None:
        sure = self._sure_offsets()
        limits = {url: _AGREE_AGAIN if url in self._apart else MOST_APART for url in sure}
        before, self._apart = self._apart, {url for url, seconds in sure.items() if abs(seconds) > limits[url]}
        if self._apart == before:
            return
        if self._apart:
            which = _listed(f"{printable(url, NAME_SHOWN)} {sure[url]:+.1f} s" for url in self.clocks_apart)
            tell(logger, logging.WARNING, self._language, Line.CLOCKS_DIFFER, which=which)
        else:
            tell(logger, logging.INFO, self._language, Line.CLOCKS_AGREE)


def _listed(parts: Iterable[str]) -> Shown:
    """Join printable parts; after 13 of them say only how many more there are."""
    every = list(parts)
    more = len(every) - NAMES_SHOWN
    return Shown("; ".join([*islice(every, NAMES_SHOWN), *([f"… +{more}"] if more > 0 else [])]))
