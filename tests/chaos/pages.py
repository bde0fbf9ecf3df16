"""Tables on pages: written between two markers, so that they can be written again. Pure."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["between", "markdown"]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a table, of whose rows the first has the heads; all columns but the first are figures."""
    head, *rest = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "| --- |" + " ---: |" * (len(rows[0]) - 1), *rest])


def between(page: str, begin: str, end: str, text: str) -> str:
    """Return the page with this text between its markers.

    Raises:
        ValueError: there is not exactly one pair of markers.
    """
    if page.count(begin) != 1 or page.count(end) != 1:
        message = f"the page has to have one {begin} and one {end}"
        raise ValueError(message)
    return f"{page.partition(begin)[0]}{begin}\n{text}\n{end}{page.partition(end)[2]}"
