"""What requests may carry in their address, and the words in which it is described."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import Path, Query
from pydantic import BeforeValidator, Field

from app.web.errors import Refusal
from app.web.listing import Cursor, Shown, decode_cursor

__all__ = ["LIMIT", "BatchId", "CursorQuery", "LimitQuery", "LocalQuery", "ShownQuery", "after"]

LIMIT: Final = 100  # rows of a page, unless asked otherwise


def _given(value: object) -> object:
    """None for `key=` without a value: as if the key were not there."""
    return None if value == "" else value


BatchId = Annotated[str, Path(description="As the output names it")]
ShownQuery = Annotated[Shown | None, BeforeValidator(_given), Query(description="Only these; both without it")]
LimitQuery = Annotated[
    Annotated[int, Field(ge=1, le=1000)] | None,
    BeforeValidator(_given),
    Query(description=f"Rows of a page, 1 to 1000; {LIMIT} without it"),
]
CursorQuery = Annotated[str | None, BeforeValidator(_given), Query(description="`next` of the page before")]
LocalQuery = Annotated[
    bool | None,
    BeforeValidator(_given),
    Query(description="`true`: only what the worker that is asked has itself; without it the whole cluster"),
]


def after(cursor: str | None) -> Cursor | None:
    """The last row of the page before.

    Raises:
        Refusal: It is no cursor of ours.
    """
    try:
        return None if cursor is None else decode_cursor(cursor)
    except ValueError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad-request", f"cursor: {error}") from None
