"""Forms in which a test proves its rule once more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

__all__ = ["further"]


def further(*rows: Any, of: Iterable[Any] = ()) -> list[Any]:
    """Return rows of `parametrize` that `make chaos` runs, and `make test` does not.

    Args:
        rows: each a value, or a tuple of the values of several parameters.
        of: more of them.
    """
    return [pytest.param(*(row if isinstance(row, tuple) else (row,)), marks=pytest.mark.chaos) for row in (*rows, *of)]
