"""What a worker's web says of itself: `/openapi.json`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from app.web.models import ErrorAnswer

_SCHEMAS: Final = "#/components/schemas/{model}"
_SCHEME: Final = "HTTPBearer"
_BEARER: Final = {
    "type": "http",
    "description": "AGG_WEB_TOKEN, or AGG_WEB_READ_TOKEN to look only; the same for all workers",
    "scheme": "bearer",
}


class DescribedWeb(FastAPI):
    """An application of the routers' own routes, and the description of what many of them share.

    `include_router` would make each route a second time, at the first request: its validators are what costs.
    """

    def __init__(self, *, free: Sequence[APIRouter], guarded: Sequence[APIRouter], tokens: bool) -> None:
        """Take the routes of all routers.

        Args:
            free: for everybody.
            guarded: for whom the guard lets pass.
            tokens: whether that is by a token.
        """
        super().__init__(
            title="Station batch aggregator",
            version="1",
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            routes=[route for router in chain(free, guarded) for route in router.routes],
        )
        routes = (route for router in guarded for route in router.routes) if tokens else ()
        self._secured = [route for route in routes if isinstance(route, APIRoute) and route.include_in_schema]

    def openapi(self) -> dict[str, Any]:
        """Return the description; made once."""
        if self.openapi_schema is None:
            schema = super().openapi()
            _, errors = models_json_schema([(ErrorAnswer, "serialization")], ref_template=_SCHEMAS)
            components = schema.setdefault("components", {})
            components.setdefault("schemas", {}).update(errors["$defs"])
            for route in self._secured:
                for method in route.methods or ():
                    schema["paths"][route.path_format][method.lower()]["security"] = [{_SCHEME: []}]
            if self._secured:
                components["securitySchemes"] = {_SCHEME: _BEARER}
        return super().openapi()
