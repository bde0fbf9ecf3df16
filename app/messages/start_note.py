"""The note beside a partition's committed offset: what a start may have to know of those before it. Pure.

A callback that ends its process (`os._exit`, a crash in C code, memory) is run again by whoever has its partition
next, and ends that one too. Kafka keeps a text with each committed offset, and forgets it with the next commit: a note
that is found tells of starts that got no further than the offset it stands beside, and of what ran when they ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

import orjson

from tables.model.events import Source

Mark = str
"""A station's event, the same when its source message is split again; 12 characters."""

# Kafka takes 4,096 bytes beside an offset (offset.metadata.max.bytes).
GROUP = 64  # events that are noted together
_RUNNING = 128  # that are kept in mind, the newest of them
_CONDEMNED = 100


@dataclass(frozen=True, slots=True)
class StartNote:
    """What is noted.

    Attributes:
        starts: those in a row that found something to do here, and ended before it was done.
        running: the events that were begun together last.
        deaths: starts that have found just these events, and have ended while they ran again.
        condemned: events that have ended their worker twice while each ran alone.
    """

    starts: int = 0
    running: tuple[Mark, ...] = ()
    deaths: int = 0
    condemned: tuple[Mark, ...] = ()

    @classmethod
    def read(cls, text: str) -> StartNote:
        """Read a note; an empty one of a text that is none, such as one of another program's."""
        try:
            starts, running, deaths, condemned = orjson.loads(text)
            return cls(int(starts), _marks(running), int(deaths), _marks(condemned))
        except (ValueError, TypeError):
            return cls()

    @property
    def text(self) -> str:
        """The note as it stands beside the offset."""
        return orjson.dumps([self.starts, self.running, self.deaths, self.condemned[-_CONDEMNED:]]).decode()

    @property
    def suspects(self) -> bool:
        """Say whether what comes next has ended a worker at least twice, for all that is known."""
        return self.starts > 0 or bool(self.running or self.condemned)

    def next_start(self) -> StartNote:
        """Return what a start notes, and goes by, that has found this and has something to do."""
        condemned = self.condemned
        if len(self.running) == 1 and self.deaths > 0 and self.running[0] not in condemned:
            condemned = (*condemned, *self.running)
        return StartNote(self.starts + 1, self.running, self.deaths, condemned)

    def begun(self, events: tuple[Mark, ...]) -> StartNote:
        """Return what is noted before these events begin; `self` is what this start goes by."""
        deaths = self.deaths + 1 if events == self.running else 0
        return StartNote(running=events[-_RUNNING:], deaths=deaths, condemned=self.condemned)


def mark_of(source: Source, station_id: str) -> Mark:
    """Return the mark of a station's event of that source message."""
    text = f"{source.topic}\n{source.partition}\n{source.offset}\n{station_id}"
    return blake2b(text.encode(errors="surrogatepass"), digest_size=6).hexdigest()


def _marks(marks: Iterable[str]) -> tuple[Mark, ...]:
    if isinstance(marks, str):
        raise TypeError
    return tuple([str(mark) for mark in marks])
