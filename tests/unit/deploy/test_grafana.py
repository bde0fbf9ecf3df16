"""The dashboard against Grafana's schema, as Grafana Labs' own SDK has it: no Grafana is to be had from a registry."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any, get_type_hints

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from pydantic import ConfigDict, TypeAdapter, ValidationError

from tests.unit.deploy.test_manifests import DASHBOARD

with warnings.catch_warnings():  # of a newer schema beside it; files for all Grafanas from 10 on are of this one
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.models.dashboard import Dashboard, DataTransformerConfig


@pytest.fixture(scope="module", autouse=True)
def plugins() -> None:
    """Have panels and queries read by the types of their plugins, and not as any JSON."""
    register_default_plugins()


def dashboard() -> Any:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def findings(given: Any) -> list[str]:
    """Return what Grafana would not know of a dashboard, or take for something else, each with its place."""
    read = Dashboard.from_json(given)
    return [*not_known(given, json.loads(JSONEncoder().encode(read)), ""), *of_other_types(read, "")]


def not_known(given: Any, read: Any, place: str) -> Iterator[str]:
    """Yield what has been read and is not written again, or written otherwise."""
    if isinstance(given, dict) and isinstance(read, dict):
        for key, value in given.items():
            if key in read:
                yield from not_known(value, read[key], f"{place}.{key}")
            else:
                yield f"{place}.{key}: not known"
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        for number, (one, other) in enumerate(zip(given, read, strict=True)):
            yield from not_known(one, other, f"{place}[{number}]")
    elif given != read:
        yield f"{place}: {given!r} is read as {read!r}"


def of_other_types(read: Any, place: str) -> Iterator[str]:
    """Yield the values that are not of the types that the schema gives them."""
    if isinstance(read, list):
        for number, one in enumerate(read):
            yield from of_other_types(one, f"{place}[{number}]")
    elif hasattr(read, "to_json"):
        for name, due in types_of(read.__class__).items():
            value = getattr(read, name)
            if name == "transformations" and value:  # the SDK leaves these as they are in the file
                value = [DataTransformerConfig.from_json(one) for one in value]
            try:
                due.validate_python(value)
            except ValidationError as error:
                yield f"{place}.{name}: {error.errors()[0]['msg']}"
            yield from of_other_types(value, f"{place}.{name}")


@cache
def types_of(model: type) -> dict[str, TypeAdapter[Any]]:
    config = ConfigDict(arbitrary_types_allowed=True)
    return {name: TypeAdapter(due, config=config) for name, due in get_type_hints(model).items()}


def test_grafana_knows_all_that_the_dashboard_says() -> None:
    assert findings(dashboard()) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["refresh_every"], "10s"),
        (["time"], {"since": "now-1h"}),
        (["panels", "stat", "gridPos"], {"x": 0, "y": 0, "w": "wide", "h": 4}),
        (["panels", "stat", "options", "graphMode"], "bars"),
        (["panels", "timeseries", "fieldConfig", "defaults", "custom", "drawStyle"], "columns"),
        (["panels", "timeseries", "fieldConfig", "defaults", "units"], "s"),
        (["panels", "timeseries", "targets", 0, "expression"], "up"),
        (["panels", "timeseries", "targets", 0, "instant"], "sometimes"),
        (["panels", "table", "options", "showHeader"], "never"),
        (["panels", "table", "transformations", 0, "id"], 7),
    ],
)
def test_what_grafana_does_not_know_is_found(path: list[str | int], value: Any) -> None:
    given = deepcopy(dashboard())
    part = given
    *folders, last = path
    for key in folders:
        part = next(one for one in part if one["type"] == key) if key in {"stat", "timeseries", "table"} else part[key]
    part[last] = value
    assert findings(given)
