"""The effective settings, and where the workers' differ. No secret travels, from worker to worker neither."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from pydantic import Field, TypeAdapter

from app.settings.shown import PLACES, shown_settings
from app.web.cluster import INTERNAL, Cluster, Share, share_of
from app.web.errors import api_router
from app.web.models import Answer
from app.web.paging import LocalQuery
from app.web.state import WorkerState

_SETTINGS: Final = "/settings"


class SettingsShare(Answer):
    """A worker's share: its URL and its settings."""

    url: str
    settings: dict[str, Any]


class SettingsAnswer(Answer):
    """The settings of the worker that is asked, defaults too."""

    settings: dict[str, Any] = Field(description="By key; a secret that is set is `***`, what is not set is null")
    differences: dict[str, dict[str, Any]] = Field(
        description="The keys whose values are not the same at all workers, with the value of each worker by its URL; "
        "without those that say where a worker is found, such as AGG_WEB_PORT"
    )
    incomplete: list[str] = Field(description="URLs of workers that did not answer")


_SHARE: Final = TypeAdapter(Share[SettingsShare])


def settings_router(state: WorkerState, cluster: Cluster) -> APIRouter:
    """Serve `/settings`, and the workers' shares of it."""
    router = api_router("cluster")

    @router.get(_SETTINGS)
    async def settings(local: LocalQuery = None) -> SettingsAnswer:
        """The effective settings of this worker, and which of them differ between the workers."""
        gathered = await cluster.gather(_SETTINGS, own(), _SHARE.validate_json, local=bool(local))
        return SettingsAnswer(
            settings=gathered.shares[0].settings,
            differences=differences({share.url: share.settings for share in gathered.shares}),
            incomplete=gathered.incomplete,
        )

    @router.get(INTERNAL + _SETTINGS, include_in_schema=False)
    async def settings_share() -> Share[SettingsShare]:
        return share_of(state, await own())

    async def own() -> SettingsShare:
        return SettingsShare(url=state.url, settings=shown_settings(state.settings))

    return router


def differences(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the keys that have different values, with the value of each worker that knows the key.

    `settings` are the values by key, by the worker's URL. A worker of another version may know other keys.
    """
    found: dict[str, dict[str, Any]] = {}
    for key in dict.fromkeys(key for one in settings.values() for key in one):
        values = {url: one[key] for url, one in settings.items() if key in one}
        if key not in PLACES and any(value != next(iter(values.values())) for value in values.values()):
            found[key] = values
    return found
