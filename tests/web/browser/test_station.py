"""A station's page, and the ways to it, before a fake worker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, Page, expect

from app.messages.message import InMessage
from app.web.access import Access
from tests.further import further
from tests.web.browser.axe import findings
from tests.web.browser.chromium import Desk
from tests.web.browser.scene import ERROR, LONG, MARKUP, OPEN, TOPIC, busy_worker
from tests.web.browser.served import served
from tests.web.fake_worker import FakeWorker
from tests.web.live_cluster import TOKEN

NUMBER = "12345678901234567890123"
NEWEST = f"{TOPIC}_{1763000000 + 23 * 3600}"


def worker_with_records() -> FakeWorker:
    """The busy one; DUN00 has a latest record with a long number, a context, and durations."""
    worker = busy_worker()
    record = f'{{"{OPEN}":[{{"stationId":"DUN00","sendTime":"2025-11-14 10:00:00","meter":{NUMBER},"v":1.50}}]}}'
    worker.topics.messages.append(InMessage(OPEN, 0, 0, 1763085600.0, None, record.encode()))
    worker.context["DUN00"] = {"WEATHER": {"note": [MARKUP]}}
    for number in range(24):
        batch_id = f"{TOPIC}_{1763000000 + number * 3600}"
        worker.statistics.times.add(batch_id, ("DUN00",), (0.0, 0.1 * (number + 1)), time.time())
    return worker


@pytest.fixture(scope="module")
def busy() -> Iterator[str]:
    """A busy worker's URL."""
    with served(worker_with_records(), Access(TOKEN)) as url:
        yield url


def page_of(station: str) -> str:
    return f"/#/stations/{quote(station, safe='')}"


def strip(page: Page) -> Locator:
    return page.locator(".strip a")


def test_a_station_shows_what_became_of_it_and_since_when(busy: str, desk: Desk) -> None:
    page = desk.open(busy + page_of("DUN00"), token=TOKEN)
    expect(strip(page)).to_have_count(24)
    kinds = ["missing" if number % 3 == 0 else "result" for number in range(24)]
    assert [name.split(", ")[1] for name in strip(page).evaluate_all("all => all.map(one => one.ariaLabel)")] == kinds
    expect(page.locator(".lately")).to_contain_text("No result in 8 of 24 batches, the last time at ")
    heights = page.locator(".strip .bar").evaluate_all("all => all.map(one => parseFloat(one.style.height))")
    assert heights == sorted(heights)
    assert heights[-1] == 100
    expect(strip(page).last).to_have_attribute("title", f"{strip(page).last.get_attribute('aria-label')}")
    expect(page.locator("#strip")).to_contain_text("the highest 2.4 s")
    expect(page.locator(".station-page .said")).to_have_count(8)
    page.get_by_label("Batches without its result").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=2)).to_have_text(f"{TOPIC}_{1763000000 + 21 * 3600}")


def test_a_station_that_fails_says_since_when_and_why(busy: str, desk: Desk) -> None:
    page = desk.open(busy + page_of(MARKUP), token=TOKEN)
    expect(page.locator(".lately.is-bad")).to_contain_text("No result in any of the last 24 batches, since ")
    expect(page.locator(".station-page td.said").first).to_have_text(ERROR)
    expect(page.locator(".station-page .step .what")).to_have_text(ERROR)
    page.get_by_role("link", name="Dead letters").last.click()
    expect(page.locator(".letters tbody tr")).to_have_count(1)


def test_a_station_is_compared_with_the_others(busy: str, desk: Desk) -> None:
    page = desk.open(busy + page_of("DUN00"), token=TOKEN)
    rows = page.locator(".fleet tbody tr")
    expect(rows.first).to_contain_text("97%")
    assert [cell.strip() for cell in rows.first.locator("td").all_inner_texts()] == ["33%", "0%", "97%"]
    expect(page.get_by_text("beside 31 other stations")).to_be_visible()
    expect(page.get_by_text("Arrived 16, missed 8")).to_be_visible()


def test_no_digit_of_the_latest_record_is_lost_and_markup_stays_text(busy: str, desk: Desk) -> None:
    page = desk.open(busy + page_of("DUN00"), token=TOKEN)
    expect(page.get_by_role("region", name="Latest record")).to_contain_text(f'"meter": {NUMBER}')
    expect(page.get_by_role("region", name="Context")).to_contain_text(MARKUP)
    assert page.locator("img[onerror], img[src='x']").count() == 0


def test_a_station_of_no_batch_is_said_to_be_unknown(busy: str, desk: Desk) -> None:
    page = desk.open(busy + page_of("nobody"), token=TOKEN)
    expect(page.get_by_text("Station nobody is in no batch that is remembered.")).to_be_visible()
    assert findings(page) == []


@pytest.mark.parametrize("station", [*further("DUN00", LONG), MARKUP])
@pytest.mark.parametrize("language", [*further("en-US"), "zh-CN"])
def test_the_page_is_for_everybody_and_for_a_phone(station: str, language: str, busy: str, desk: Desk) -> None:
    page = desk.look(busy + page_of(station), token=TOKEN, language=language, phone=True)
    expect(strip(page)).to_have_count(24)
    expect(page.locator(".fleet tbody tr")).to_have_count(4)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert findings(page) == []
    page.emulate_media(color_scheme="dark")
    assert findings(page) == []


def test_how_many_batches_are_shown_stands_in_the_address(desk: Desk) -> None:
    worker = FakeWorker()
    for number in range(70):
        worker.add_closed(f"b{number}", at=100.0 + number)
    with served(worker, Access(TOKEN)) as url:
        page = desk.open(url + page_of("A"), token=TOKEN)
        expect(strip(page)).to_have_count(50)
        page.get_by_role("button", name="200").click()
        expect(strip(page)).to_have_count(70)
        assert page.url.endswith("#/stations/A?batches=200")
        expect(page.get_by_text("It came with each of the last 70 batches.")).to_be_visible()
        page.reload()
        expect(strip(page)).to_have_count(70)
        page.close()


# -- the ways to it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "link"),
    [
        ("/", ".stations tbody a"),
        (f"/#/batches/{OPEN}", ".bar-name a"),
        ("/#/dead-letters", ".letters td a.to-station"),
        *further(
            ("/", ".grid tbody th a"),
            (f"/#/batches/{OPEN}", ".tile a"),
            ("/#/late", ".lates tbody th a"),
        ),
    ],
)
def test_a_stations_name_leads_to_its_page(path: str, link: str, busy: str, desk: Desk) -> None:
    page = desk.look(busy + path, token=TOKEN)
    first = page.locator(link).first
    station = first.get_attribute("title")
    first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".station-page h2")).to_be_focused()
    assert page.locator(".station-page h2").text_content() == station


def test_a_cell_of_the_heat_map_leads_to_its_station_with_its_batch_marked(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN)
    row = page.locator(".grid tbody tr", has=page.get_by_role("rowheader", name="DUN01"))
    cell = row.locator("td").nth(21)
    cell.hover()
    assert str(cell.get_attribute("title")).endswith(": missing")
    cell.click()
    expect(page.locator(".station-page h2")).to_have_text("DUN01")
    expect(page.locator(".strip [aria-current]")).to_have_attribute(
        "aria-label", f"{strip(page).nth(21).get_attribute('aria-label')}"
    )


def test_the_heat_map_uses_the_width(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN)
    expect(page.locator(".grid")).to_be_visible()
    for width in (1280, 1024, 2400):
        page.set_viewport_size({"width": width, "height": 900})
        grid, room = page.locator(".grid").bounding_box(), page.locator(".heatmap .scroll").bounding_box()
        assert grid is not None
        assert room is not None
        assert abs(grid["width"] - room["width"]) < 2, width
