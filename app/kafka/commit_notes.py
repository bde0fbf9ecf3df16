"""The notes that stand beside the committed offsets of one topic; see `app.messages.start_note`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

from app.messages.start_note import StartNote

CALM_AFTER = 30.0  # seconds from a start


class CommitNotes:
    """Reads a note when a partition is taken over, and has one written with the partition's commits.

    Attributes:
        texts: what has to stand beside each commit of a partition; nothing where it is not named.
    """

    def __init__(self, commit: Callable[[Iterable[int]], Awaitable[object]], clock: Callable[[], float]) -> None:
        """No note is known yet.

        Args:
            commit: commits the offsets of partitions again, each with its text.
            clock: seconds, from any beginning.
        """
        self.texts: dict[int, str] = {}
        self._commit = commit
        self._clock = clock
        self._calm_at = 0.0
        self._suspects: dict[int, tuple[StartNote, int]] = {}
        self._started: set[int] = set()  # beside whose offset the note of a start may stand

    async def begin(self, backlog: Mapping[int, tuple[str, int]]) -> list[int]:
        """Note a start with partitions that have something to do: what stands beside their offset, and their end.

        Returns the partitions whose last owners have ended where they began.
        """
        found = {partition: StartNote.read(text) for partition, (text, _) in backlog.items()}
        notes = {partition: note.next_start() for partition, note in found.items()}
        self._suspects = {at: (notes[at], backlog[at][1]) for at, note in found.items() if note.suspects}
        self._started = set(notes)
        self._calm_at = self._clock() + CALM_AFTER
        self.texts = {partition: note.text for partition, note in notes.items()}
        if notes:
            await self._commit(notes)
        # Where nothing is suspected the next commit, which is progress, has no note.
        self.texts = {partition: text for partition, text in self.texts.items() if partition in self._suspects}
        return sorted(self._suspects)

    def suspicion(self, partition: int, offset: int) -> StartNote | None:
        """Return the note that this start goes by; None where all is well, or is again.

        It is for what stood there at the start, and for what comes soon after it: what a worker dies of at once can be
        split from its source message once more at each start, and come behind the end.
        """
        suspects = self._suspects.get(partition)
        if suspects is None:
            return None
        note, end = suspects
        if offset < end or self._clock() < self._calm_at:
            return note
        del self._suspects[partition]
        self.texts.pop(partition, None)  # the next commit has no note
        return None

    async def write(self, partition: int, note: StartNote) -> None:
        """Put a note beside the partition's committed offset; returns when it is there."""
        self.texts[partition] = note.text
        await self._commit([partition])

    async def end(self) -> None:
        """Take the notes away again: the partitions are given back, or the worker stops, and nothing has ended it."""
        started, self._started = self._started, set()
        self.texts.clear()
        self._suspects.clear()
        if started:
            await self._commit(started)
