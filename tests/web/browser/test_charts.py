"""The charts: values under the cursor, one crosshair, zoom and pan, and what happened, before a fake worker."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import FloatRect, Page, expect

from app.web.access import Access
from tests.further import further
from tests.web.browser.axe import findings
from tests.web.browser.chromium import Desk
from tests.web.browser.scene import busy_worker
from tests.web.browser.served import served
from tests.web.live_cluster import TOKEN

CLOCK = re.compile(r"^\d\d:\d\d:\d\d$")
WHOLE = re.compile("^Whole$")


@pytest.fixture(scope="module")
def busy() -> Iterator[str]:
    """A busy worker's URL."""
    with served(busy_worker(), Access(TOKEN)) as url:
        yield url


def charts(desk: Desk, url: str, *, language: str = "en-US", phone: bool = False) -> Page:
    page = desk.open(url, token=TOKEN, language=language, phone=phone)
    expect(page.locator(".plots canvas")).to_have_count(4)
    return page


def area(page: Page, number: int = 0) -> FloatRect:
    plot = page.locator(".plots .u-over").nth(number)
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    return box


def look(page: Page, share: float, number: int = 0) -> None:
    box = area(page, number)
    page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2, steps=3)


def draw_over(page: Page, start: float, end: float) -> None:
    look(page, start)
    page.mouse.down()
    look(page, end)
    page.mouse.up()


def seconds_of(time_of_day: str) -> int:
    hours, minutes, seconds = map(int, time_of_day.strip().split(":"))
    return hours * 3600 + minutes * 60 + seconds


def samples_shown(page: Page) -> int:
    return int(page.locator(".plot-tools input").get_attribute("max") or 0) + 1


def test_all_charts_show_the_values_of_the_time_under_the_cursor(busy: str, desk: Desk) -> None:
    page = charts(desk, busy)
    expect(page.locator(".plots figcaption time")).to_have_count(0)
    look(page, 0.4)
    times = page.locator(".plots figcaption time")
    expect(times).to_have_count(4)
    (one,) = {text.strip() for text in times.all_inner_texts()}
    assert CLOCK.match(one)
    lines = page.locator(".plots .u-cursor-x")
    expect(lines).to_have_count(4)
    assert not any("-10px" in (line.get_attribute("style") or "") for line in lines.all())
    look(page, 0.8, 3)
    expect(times.first).not_to_have_text(one)
    assert len({text.strip() for text in times.all_inner_texts()}) == 1
    page.mouse.move(1, 1)
    expect(times).to_have_count(0)


def test_a_part_is_drawn_over_moved_and_left_again(busy: str, desk: Desk) -> None:
    page = charts(desk, busy)
    whole = samples_shown(page)
    expect(page.get_by_role("button", name=WHOLE)).to_be_disabled()
    draw_over(page, 0.3, 0.6)
    expect(page.get_by_role("button", name=WHOLE)).to_be_enabled()
    part = samples_shown(page)
    assert whole * 0.2 < part < whole * 0.4
    look(page, 0.5)
    before = page.locator(".plots figcaption time").first.inner_text()
    page.keyboard.down("Shift")
    page.mouse.down()
    look(page, 0.9)
    page.mouse.up()
    page.keyboard.up("Shift")
    look(page, 0.5)
    expect(page.locator(".plots figcaption time").first).not_to_have_text(before)
    earlier = seconds_of(before) - seconds_of(page.locator(".plots figcaption time").first.inner_text())
    assert 0 < earlier % 86_400 < 3600, "within the hour, whatever the day"
    assert abs(samples_shown(page) - part) <= 1
    box = area(page)
    page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.get_by_role("button", name=WHOLE)).to_be_disabled()


@pytest.mark.parametrize("phone", [*further(False), True])
def test_keyboard_and_finger_can_do_all_that_the_mouse_can(phone: bool, busy: str, desk: Desk) -> None:
    page = charts(desk, busy, phone=phone)
    slider = page.get_by_role("slider", name="Values at a time")
    expect(slider).to_have_attribute("aria-valuetext", "now")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute(
        "aria-valuetext", re.compile(r"^\d\d:\d\d:\d\d: Stations a second .+Duration p50 .+Lag")
    )
    expect(page.locator(".plots figcaption time")).to_have_count(4)
    whole = samples_shown(page)
    for name in ("Closer", "Closer", "Earlier"):
        page.get_by_role("button", name=name).press("Enter")
    assert samples_shown(page) < whole / 3
    page.get_by_role("button", name="Wider").press("Enter")
    page.get_by_role("button", name=WHOLE).press("Enter")
    expect(page.get_by_role("button", name=WHOLE)).to_be_disabled()
    # One more for each ten seconds that it took: as many as there are.
    samples = next_history(page, "dispatchEvent(new Event('online'))")["samples"]
    shown = [sample for sample in samples if sample["at"] > samples[-1]["at"] - 3600]
    expect(page.locator(".plot-tools input")).to_have_attribute("max", str(len(shown) - 1))
    assert findings(page, ".plots") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("innerWidth")


def next_history(page: Page, then: str = "") -> Any:
    """The page's next answer about all samples; `then` is what is done while it is waited for."""
    with page.expect_response(lambda answer: answer.url.endswith("/history")) as got:
        page.evaluate(then)
    return got.value.json()


def test_the_time_and_the_span_that_are_looked_at_stay_when_new_samples_come(desk: Desk) -> None:
    worker = busy_worker()
    with served(worker, Access(TOKEN)) as url:
        page = charts(desk, url)
        draw_over(page, 0.3, 0.6)
        expect(page.get_by_role("button", name=WHOLE)).to_be_enabled()
        part = samples_shown(page)
        slider = page.get_by_role("slider", name="Values at a time")
        slider.focus()
        for _ in range(4):
            page.keyboard.press("ArrowLeft")
        shown = page.locator(".plots figcaption time")
        expect(shown).to_have_count(4)
        before = shown.first.inner_text()
        ends: set[float] = set()
        while len(ends) < 2:  # a sample is of ten seconds, and they are asked for as often
            ends.add(next_history(page)["samples"][-1]["at"])
        next_history(page, "dispatchEvent(new Event('online'))")  # the one before has been drawn by now
        assert set(shown.all_inner_texts()) == {before}
        assert samples_shown(page) == part
        page.get_by_role("button", name="last 15 min").click()
        expect(page.get_by_role("button", name=WHOLE)).to_be_disabled()
        page.close()


@pytest.mark.parametrize(
    ("language", "done", "started"),
    [*further(("en-US", "an operator completed", "started")), ("zh-CN", "操作员提前完成", "启动")],
)
def test_what_happened_is_marked_and_leads_to_it(language: str, done: str, started: str, desk: Desk) -> None:
    worker = busy_worker()
    worker.statistics.started_at = time.time() - 300
    with served(worker, Access(TOKEN)) as url:
        page = charts(desk, url, language=language)
        marks = page.locator(".marks li")
        expect(marks.filter(has_text=started)).to_have_count(1)
        expect(marks.filter(has_text=done).first).to_be_visible()
        marks.filter(has_text=done).first.get_by_role("link").click()
        expect(page.locator(".headline")).to_be_visible()
        page.close()


def test_a_rebalance_that_is_seen_is_marked(desk: Desk) -> None:
    worker = busy_worker()
    with served(worker, Access(TOKEN)) as url:
        page = charts(desk, url)
        other = "http://127.0.0.1:9"
        expect(page.locator(".marks .mark-rebalance")).to_have_count(0)
        worker.others = {other: frozenset({5})}
        page.evaluate("dispatchEvent(new Event('online'))")
        expect(page.locator(".marks li", has_text=f"rebalance: {other}")).to_have_count(1)
        page.close()
