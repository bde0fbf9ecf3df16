"""Pages with a part that a program writes, between two markers, and tables for it. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a table, of whose rows the first has the heads; all columns but the first are figures."""
    head, *rest = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "| --- |" + " ---: |" * (len(rows[0]) - 1), *rest])


def with_section(page: str, name: str, text: str) -> str:
    """Return the page with the text between `<!-- NAME:begin -->` and `<!-- NAME:end -->`.

    Raises:
        ValueError: there is not exactly one pair of markers.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(end) < page.index(begin):
        message = f"the page has to have one {begin} and one {end}"
        raise ValueError(message)
    return f"{page.partition(begin)[0]}{begin}\n{text}\n{end}{page.partition(end)[2]}"
