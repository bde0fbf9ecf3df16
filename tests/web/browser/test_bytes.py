"""How much a reader's browser has to load for the first page, whose network may be a phone's."""

from __future__ import annotations

from playwright.sync_api import Response, expect

from app.web.access import Access
from tests.web.browser.chromium import Desk
from tests.web.browser.scene import busy_worker
from tests.web.browser.served import served
from tests.web.live_cluster import TOKEN

MOST = 250_000  # bytes, as they are on the wire: nothing is compressed


def test_the_first_page_is_small(desk: Desk) -> None:
    got: dict[str, Response] = {}
    with served(busy_worker(), Access(TOKEN)) as url:
        page = desk.open(f"{url}/healthz", token=TOKEN)
        page.on("response", lambda response: got.update({response.url: response}))
        page.goto(url)
        expect(page.locator(".plots canvas")).to_have_count(4)
        expect(page.locator(".heatmap .grid")).to_be_visible()
        page.wait_for_load_state("load")
        sizes = {at: len(one.body()) for at, one in got.items() if "/static/" in at or at == f"{url}/"}
        page.close()
    assert len(sizes) > 30
    assert sum(sizes.values()) <= MOST, sorted(sizes.items(), key=lambda one: one[1])


def test_a_page_without_charts_does_not_load_their_library(desk: Desk) -> None:
    got: list[str] = []
    with served(busy_worker(), Access(TOKEN)) as url:
        page = desk.open(f"{url}/healthz", token=TOKEN)
        page.on("response", lambda response: got.append(response.url))
        page.goto(f"{url}/#/late")
        expect(page.locator(".lates tbody tr")).to_have_count(3)
        page.close()
    assert any("late.js" in one for one in got)
    assert not any("uplot" in one and one.endswith(".js") for one in got)
