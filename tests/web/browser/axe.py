"""axe: what in a page keeps people from using it."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.web.npm import Package, fetch

__all__ = ["findings"]

_AXE = Package(
    "axe-core",
    "4.14.1",
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
)
_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@cache
def _source() -> str:
    with tempfile.TemporaryDirectory() as folder:
        fetch(_AXE, Path(folder))
        return (Path(folder) / "package" / "axe.min.js").read_text()


def findings(page: Page, within: str = "html") -> list[str]:
    """Those of every level in an element, each with the element that it is about."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_source())
    run = "([within, tags]) => axe.run(within, {runOnly: {type: 'tag', values: tags}, resultTypes: ['violations']})"
    result: dict[str, Any] = page.evaluate(run, [within, _TAGS])
    return [
        f"{violation['id']} ({violation['impact']}): {node['html']} - {node['failureSummary']}"
        for violation in result["violations"]
        for node in violation["nodes"]
    ]
