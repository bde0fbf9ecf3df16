"""Every page by keyboard only: what can be pressed or filled in is reached by Tab, and is seen to be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from app.web.access import Access
from tests.further import further
from tests.web.browser.axe import findings
from tests.web.browser.chromium import Desk
from tests.web.browser.scene import PAGES, busy_worker
from tests.web.browser.served import served
from tests.web.live_cluster import TOKEN

MARK = """() => {
    const all = [...document.querySelectorAll("a[href], button, input, select, textarea, [tabindex='0']")]
        .filter(one => !one.disabled && one.checkVisibility());
    all.forEach((one, place) => { one.dataset.place = place; });
    return all.length;
}"""
FOCUSED = """() => {
    const one = document.activeElement;
    const { outlineStyle, outlineWidth } = getComputedStyle(one);
    const seen = outlineStyle !== "none" && parseFloat(outlineWidth) > 0;
    return [one.dataset.place ?? "", seen || one === document.body ? "" : one.outerHTML.slice(0, 200)];
}"""

CUT = """() => [...document.querySelectorAll("main *")].filter(one =>
    one.getBoundingClientRect().right > 360.5 && !one.closest(".heatmap .scroll, .strip, pre, .id-text")
).map(one => one.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="module")
def busy() -> Iterator[str]:
    """A busy worker's URL."""
    with served(busy_worker(), Access(TOKEN)) as url:
        yield url


@pytest.mark.parametrize("path", PAGES)
def test_tab_reaches_everything_and_is_seen(path: str, busy: str, desk: Desk) -> None:
    page = desk.look(busy + path, token=TOKEN)
    expect(page.locator(PAGES[path]).first).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    count = page.evaluate(MARK)
    reached: set[str] = set()
    unseen: set[str] = set()
    for _ in range(count + 20):  # some may have come since
        page.keyboard.press("Tab")
        place, without_ring = page.evaluate(FOCUSED)
        reached.add(place)
        unseen.add(without_ring)
    missed = [
        page.evaluate("place => document.querySelector(`[data-place='${place}']`)?.outerHTML", str(place))
        for place in range(count)
        if str(place) not in reached
    ]
    assert [element for element in missed if element] == []
    assert unseen == {""}


@pytest.mark.parametrize("language", ["en-US", *further("zh-CN")])
@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_for_a_phone_and_without_a_finding(path: str, language: str, busy: str, desk: Desk) -> None:
    page = desk.look(busy + path, token=TOKEN, language=language, phone=True)
    expect(page.locator(PAGES[path]).first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate(CUT) == []
    assert findings(page) == []
