"""What an operator can do to an open batch. Each action is an event of the batch's log, whoever is asked for it."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import unquote

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from app.web.errors import SHOWN_CHARACTERS, Refusal, described
from app.web.models import Answer, BatchRow
from app.web.queries import BatchId
from app.web.routers.batches import UNKNOWN, Batches
from app.web.state import NotConfirmed, WorkerState
from tables.model.enums import Action, Status
from tables.model.events import Command

# Annotations are looked at while the routes are made, among them a class that is made there: no `from __future__`.

__all__ = ["OPERATOR", "actions_router"]

OPERATOR: Final = "x-operator"  # header: who asks, by a name of his own
_NAME_CHARACTERS: Final = 64
_CONFIRMED_WITHIN: Final = 3.0  # seconds
_RESPONSES: Final = UNKNOWN | described(
    {
        403: "There are no actions: the workers have no AGG_WEB_TOKEN",
        409: "The batch is closed",
        503: "As for a batch that is asked for; or Kafka has not confirmed the action",
    }
)


class Accepted(Answer):
    """An action that stands in the batch's log, and will be carried out in its turn."""

    batch_id: str
    action: Action
    by: str = Field(description="The header X-Operator, else the address that asked")
    at: float = Field(description="Unix seconds")
    deadline: float = Field(description="Of the batch; after `extend`, where it will be moved to")


def actions_router(state: WorkerState, batches: Batches, *, enabled: bool) -> APIRouter:
    """The three actions; without `enabled` each is answered with 403."""

    class ActionRoute(APIRoute):
        """Refuses before it looks at anything, when there are no actions."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handle_if_enabled(request: Request) -> Response:
                if not enabled:
                    message = "actions need a token: set AGG_WEB_TOKEN for all workers"
                    raise Refusal(HTTPStatus.FORBIDDEN, "actions-disabled", message)
                return await handle(_with_json(request))

            return handle_if_enabled

    router = APIRouter(tags=["actions"], route_class=ActionRoute)

    class Extension(BaseModel):
        """How far the deadline is moved."""

        model_config = ConfigDict(extra="forbid")

        seconds: Annotated[float, Field(gt=0, le=state.settings.max_batch_age, allow_inf_nan=False, strict=True)]

    async def act(request: Request, batch_id: str, action: Action, seconds: float = 0.0) -> Accepted:
        by = _operator_of(request)
        row = await batches.row(batch_id)
        if row.status is not Status.OPEN:
            message = f"batch {batch_id[:SHOWN_CHARACTERS]} is closed: {row.status}, by {row.completed_by}"
            raise Refusal(HTTPStatus.CONFLICT, "batch-closed", message)
        command = Command(batch_id, action, time.time(), by, seconds)
        try:
            async with asyncio.timeout(_CONFIRMED_WITHIN):
                await state.send_command(command)
        except (TimeoutError, NotConfirmed) as error:
            message = "Kafka has not confirmed the action: it may be carried out all the same; look at the batch"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "not-confirmed", message) from error
        return Accepted(
            batch_id=batch_id,
            action=action,
            by=by,
            at=command.at,
            deadline=_deadline(row, seconds, state.settings.max_batch_age),
        )

    @router.post("/batches/{batch_id}/complete", status_code=HTTPStatus.ACCEPTED, responses=_RESPONSES)
    async def complete(request: Request, batch_id: BatchId) -> Accepted:
        """Publish an open batch with the results that have arrived."""
        return await act(request, batch_id, Action.COMPLETE)

    @router.post("/batches/{batch_id}/discard", status_code=HTTPStatus.ACCEPTED, responses=_RESPONSES)
    async def discard(request: Request, batch_id: BatchId) -> Accepted:
        """Close an open batch without publishing it: what has arrived goes to the dead-letter topic."""
        return await act(request, batch_id, Action.DISCARD)

    @router.post("/batches/{batch_id}/extend", status_code=HTTPStatus.ACCEPTED, responses=_RESPONSES)
    async def extend(request: Request, batch_id: BatchId, extension: Extension) -> Accepted:
        """Move the deadline of an open batch, at most to `AGG_MAX_BATCH_AGE` after its opening."""
        return await act(request, batch_id, Action.EXTEND, extension.seconds)

    return router


def _with_json(request: Request) -> Request:
    """A body can only be JSON, whatever `curl -d` calls it."""
    others = [header for header in request.scope["headers"] if header[0].lower() != b"content-type"]
    return Request({**request.scope, "headers": [*others, (b"content-type", b"application/json")]}, request.receive)


def _deadline(row: BatchRow, seconds: float, max_age: float) -> float:
    return max(row.deadline, min(row.deadline + seconds, row.opened_at + max_age)) if seconds else row.deadline


def _operator_of(request: Request) -> str:
    """Who asks: what he says, as UTF-8 or percent-encoded as browsers must, else where he asks from."""
    given = [value for name, value in request.scope["headers"] if name.lower() == OPERATOR.encode()]
    if not given:
        return request.client.host if request.client else "unknown"
    try:
        name = unquote(b", ".join(given).decode(), errors="strict").strip()
    except ValueError:
        name = ""
    if not name.isprintable() or not 1 <= len(name) <= _NAME_CHARACTERS:
        message = f"X-Operator: must be 1 to {_NAME_CHARACTERS} printable characters in UTF-8, or percent-encoded"
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad-request", message)
    return name
