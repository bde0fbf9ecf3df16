"""Pages with a part that a program writes, between two markers."""

from __future__ import annotations


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
