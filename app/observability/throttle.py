"""How often one thing may be said: once in so many seconds for each kind of it. Pure."""

from __future__ import annotations

from collections.abc import Hashable

__all__ = ["Throttle"]


class Throttle:
    """Lets one of a kind pass, and no other of that kind for a while.

    A kind is kept for ever once it has passed: kinds are lines, functions and places of code, not what comes in. Any
    thread may ask; of two that ask at one moment both may be told yes.
    """

    def __init__(self, seconds: float) -> None:
        """A throttle that nothing has passed.

        Args:
            seconds: from one that has passed to the next one of its kind.
        """
        self._seconds = seconds
        self._passed: dict[Hashable, float] = {}

    def passes(self, now: float, kind: Hashable = None) -> bool:
        """Whether one of this kind may pass now; if so, it counts as passed.

        Args:
            now: seconds, from any beginning, of one clock for all calls. One that was put back lets pass, too: else
                nothing might be heard for as long as it was put back by.
            kind: what is counted by itself.
        """
        passed = self._passed.get(kind)
        if passed is not None and 0.0 <= now - passed < self._seconds:
            return False
        self._passed[kind] = now
        return True
