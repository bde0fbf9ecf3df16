"""The tab and the wall: what is wrong is told by the title and the icon, and is read from four metres."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from app.web.access import Access
from tests.further import further
from tests.web.browser.axe import findings
from tests.web.browser.chromium import Desk
from tests.web.browser.scene import busy_worker
from tests.web.browser.served import served
from tests.web.fake_worker import FakeWorker
from tests.web.live_cluster import TOKEN

READER = "a-reader"
BOTH = Access(TOKEN, read_token=READER)


@pytest.fixture(scope="module")
def busy() -> Iterator[str]:
    """A busy worker's URL."""
    with served(busy_worker(), BOTH) as url:
        yield url


def icon_is(page: Page, level: str) -> None:
    expect(page.locator(f"link[rel=icon][data-level={level}]")).to_have_count(1)


def test_the_tab_says_what_is_wrong_and_calms_down(desk: Desk) -> None:
    worker = FakeWorker()
    with served(worker, BOTH) as url:
        page = desk.open(url, token=TOKEN)
        expect(page).to_have_title("Station batch aggregator")
        icon_is(page, "good")
        now = time.time()
        for number in range(2):
            worker.open(f"b{number}", ["A", "B"], at=now)
            worker.arrive(f"b{number}", {"A": ("r", "{}")}, at=now)
            worker.expire(f"b{number}", at=now)
        expect(page).to_have_title("2 partial · Station batch aggregator")
        icon_is(page, "fair")
        worker.topics.written[worker.settings.dead_letter_topic] = [now]
        expect(page).to_have_title("1 dead letter · 2 partial · Station batch aggregator")
        icon_is(page, "bad")
        page.goto(f"{url}/#/late")
        expect(page).to_have_title(re.compile("^1 dead letter"))
        worker.topics.written.clear()
        for number in range(2):
            worker.publish(f"b{number}")
            worker.forget(f"b{number}")
        expect(page).to_have_title("Station batch aggregator")
        icon_is(page, "good")
        page.close()


def test_a_lost_connection_is_told_by_the_head_the_title_and_the_icon(desk: Desk) -> None:
    with served(FakeWorker(), BOTH) as url:
        page = desk.open(url, token=TOKEN, language="zh-CN")
        icon_is(page, "good")
        page.route("**/*", lambda route: route.abort())
        expect(page.locator(".health strong")).to_have_text("连接已断开")
        expect(page.locator(".health")).not_to_contain_text("全部就绪")
        expect(page).to_have_title("连接已断开 · 场站批次聚合")
        icon_is(page, "bad")
        assert str(page.locator("link[rel=icon]").get_attribute("href")).startswith("data:image/svg+xml,")
        page.unroute("**/*")
        page.evaluate("dispatchEvent(new Event('online'))")
        expect(page).to_have_title("场站批次聚合")
        icon_is(page, "good")
        page.close()


@pytest.mark.parametrize("language", [*further("en-US"), "zh-CN"])
@pytest.mark.parametrize("size", [(1920, 1080), *further(of=[((3840, 2160),), ((1366, 768),)])])
def test_a_wall_has_large_tiles_and_no_buttons(size: tuple[int, int], language: str, busy: str, desk: Desk) -> None:
    page = desk.look(f"{busy}/?wall=1", token=TOKEN, language=language)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    expect(page.locator(".flying")).to_have_count(2)
    expect(page.locator(".recent tbody tr")).to_have_count(5)
    expect(page.locator(".troubles")).to_contain_text("4")
    assert page.locator("button:visible, input:visible, select:visible").count() == 0
    # 1/100 of the screen's width is 12 mm on one of 55 inches: what is legible at four metres.
    letters = page.locator("main :is(dt, dd, b, td, th, a, small, span):visible").evaluate_all(
        "all => all.filter(one => one.innerText.trim()).map(one => parseFloat(getComputedStyle(one).fontSize))"
    )
    assert min(letters) >= 0.01 * size[0]
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    assert page.evaluate("document.documentElement.scrollHeight") == size[1]
    assert (
        page.locator(".figures").evaluate(
            "all => new Set([...all.querySelectorAll('.figure')].map(one => one.offsetTop)).size"
        )
        == 1
    )
    assert findings(page) == []
    page.emulate_media(color_scheme="dark")
    assert findings(page) == []


def test_a_wall_logs_in_from_its_link_and_asks_when_the_token_is_wrong(busy: str, desk: Desk) -> None:
    page = desk.open(f"{busy}/?wall=1&token={READER}")
    expect(page.locator(".flying")).to_have_count(2)
    assert page.url == f"{busy}/?wall=1"
    assert READER not in page.content()
    other = desk.open(f"{busy}/?wall=1&token=wrong")
    other.get_by_role("textbox").fill(READER)
    other.get_by_role("button", name="Enter").click()
    expect(other.locator(".flying")).to_have_count(2)


def test_a_wall_without_trouble_says_so(desk: Desk) -> None:
    with served(FakeWorker(), BOTH) as url:
        page = desk.open(f"{url}/?wall=1", token=TOKEN)
        expect(page.get_by_text("All is well")).to_be_visible()
        page.close()


WATCH = """
    window.asked = [];
    window.AudioContext = class {
        destination = null; currentTime = 0;
        constructor() { asked.push("sound") }
        createOscillator() { return { frequency: {}, connect() {}, start() {}, stop() {} } }
    };
    window.Audio = window.AudioContext;
    window.Notification = class {
        static permission = "granted";
        static requestPermission() { asked.push("may I") }
        constructor(title, { body }) { asked.push(body) }
    };
"""


@pytest.mark.parametrize(
    ("address", "heard"),
    [
        *further(("/", []), ("/?wall=1&sound=1", ["sound"])),
        ("/?wall=1", []),
        ("/?sound=1&notify=1", ["may I", "sound", "1 dead letter · Station batch aggregator"]),
    ],
)
def test_a_sound_and_a_notification_come_only_to_whoever_has_asked_for_them(
    address: str, heard: list[str], desk: Desk
) -> None:
    worker = FakeWorker()
    with served(worker, BOTH) as url:
        page = desk.open(url + address, token=TOKEN, script=WATCH)
        expect(page.locator(".figure").first).to_be_visible()
        icon_is(page, "good")
        page.get_by_role("heading", level=1).click()
        for _ in range(2):
            worker.topics.written[worker.settings.dead_letter_topic] = [time.time()]
            icon_is(page, "bad")
            assert page.evaluate("asked") == heard
        page.reload()  # what was wrong before is no news
        icon_is(page, "bad")
        assert page.evaluate("asked") == []
        page.close()
