"""What requests may carry in their address, and the words in which it is described."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import Path, Query
from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from app.web.errors import Refusal
from app.web.listing import Cursor, Shown, decode_cursor

__all__ = ["LIMIT", "BatchId", "CursorQuery", "LimitQuery", "LocalQuery", "MayBeEmpty", "ShownQuery", "after"]

LIMIT: Final = 100  # rows of a page, unless asked otherwise


class MayBeEmpty:
    """`key=` without a value is as if the key were not there, and is described so."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_given, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler(schema)
        choices = [choice for choice in described.pop("anyOf") if choice != {"type": "null"}]  # no address has a null
        return {"anyOf": [*choices, {"const": ""}], **described}


def _given(value: object) -> object:
    return None if value == "" else value


BatchId = Annotated[str, Path(description="As the output names it")]
ShownQuery = Annotated[Shown | None, MayBeEmpty(), Query(description="Only these; both without it")]
LimitQuery = Annotated[
    Annotated[int, Field(ge=1, le=1000)] | None,
    MayBeEmpty(),
    Query(description=f"Rows of a page, 1 to 1000; {LIMIT} without it"),
]
CursorQuery = Annotated[str | None, MayBeEmpty(), Query(description="`next` of the page before")]
LocalQuery = Annotated[
    bool | None,
    MayBeEmpty(),
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
