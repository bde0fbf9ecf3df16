"""The search: one box, filters in the address, and addresses that hold any id, before a fake worker."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Locator, Page, expect

from app.web.access import Access
from tests.further import further
from tests.web.browser.axe import findings
from tests.web.browser.chromium import LATE_EFFECTS, Desk
from tests.web.browser.scene import LONG, MARKUP, OPEN, TOPIC, busy_worker
from tests.web.browser.served import served
from tests.web.fake_worker import FakeWorker
from tests.web.live_cluster import TOKEN

NASTY = [
    *(MARKUP, "?x=1&y#z", "%2F"),
    *further(
        "../x",
        "場" * 800,
        LONG,
        ".",
        "..",
        "a/b",
        "/",
        "//",
        "#/batches/x",
        "100%",
        "%",
        "\\",
        "a b",
        "a\nb",
        "javascript:alert(1)",
    ),
    *further("\"'<>`", "场站 一", "\u202eabc", "𐐷" * 600, "é", "e\u0301", "+", "a+b&c=d"),
]


@pytest.fixture(scope="module")
def busy() -> Iterator[str]:
    """A busy worker's URL."""
    with served(busy_worker(), Access(TOKEN)) as url:
        yield url


def found(page: Page) -> Locator:
    return page.locator(".found tbody tr")


def look_for(page: Page, text: str) -> None:
    page.get_by_role("searchbox", name="Batch, station or time").fill(text)
    page.keyboard.press("Enter")


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (OPEN, [OPEN]),
        ("realtime-data_17630856", [OPEN]),
        ("10:00", [OPEN]),
        *further(
            ("  1763085600 ", [OPEN]),
            ("2025-11-14T10:00", [OPEN]),
            ("2025-11-13T22", [f"{TOPIC}_1763043200"]),
        ),
    ],
)
def test_the_box_finds_batches_by_id_by_a_part_of_it_and_by_time(
    text: str, ids: list[str], busy: str, desk: Desk
) -> None:
    page = desk.look(busy, token=TOKEN)
    look_for(page, text)
    expect(found(page)).to_have_count(len(ids))
    expect(page.get_by_role("heading", name="Find batches and stations")).to_be_focused()
    assert [link.get_attribute("title") for link in found(page).get_by_role("link").all()] == ids
    other = desk.open(page.url, token=TOKEN)
    expect(found(other)).to_have_count(len(ids))
    expect(other.get_by_role("searchbox", name="Batch, station or time")).to_have_value(text.strip())


def test_what_is_typed_and_chosen_before_the_first_painting_stays(busy: str, desk: Desk) -> None:
    page = desk.open(f"{busy}/#/batches", token=TOKEN, script=LATE_EFFECTS)
    box = page.get_by_role("searchbox", name="Batch, station or time")
    box.fill("DUN00")
    expect(box).to_have_value("DUN00")
    page.get_by_label("Status").select_option("closed")
    page.get_by_label("Station", exact=True).fill("DUN01")
    expect(found(page)).to_have_count(26)
    expect(page.get_by_label("Status")).to_have_value("closed")
    expect(page.get_by_label("Station", exact=True)).to_have_value("DUN01")
    expect(box).to_have_value("DUN00")


def test_the_box_finds_a_station_and_leads_to_its_page_and_its_batches(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN)
    look_for(page, "DUN00")
    expect(page.locator(".hit")).to_contain_text("Arrived 16, missed 8")
    expect(page.get_by_text("No batch is like that.")).to_be_visible()
    page.get_by_role("link", name="Batches that expected a station DUN00").click()
    expect(found(page)).to_have_count(25)
    assert page.url.endswith("#/batches?station=DUN00")
    look_for(page, "DUN00")
    page.locator(".hit").get_by_role("link", name="DUN00", exact=True).click()
    expect(page.get_by_role("heading", name="DUN00")).to_be_focused()


def test_an_id_that_is_too_long_for_a_batch_is_a_stations(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN)
    look_for(page, LONG)
    expect(page.locator(".station-page h2")).to_be_focused()
    expect(page.locator(".strip a")).to_have_count(24)


def test_filters_make_an_address_that_another_reader_sees_the_same_at(busy: str, desk: Desk) -> None:
    page = desk.open(f"{busy}/#/batches", token=TOKEN)
    expect(found(page)).to_have_count(26)
    page.get_by_label("Status").select_option("closed")
    page.get_by_label("Closed by").select_option("timeout")
    page.get_by_label("Since").fill("1h")
    page.get_by_label("Station", exact=True).fill("DUN00")
    page.get_by_role("button", name="Filter").click()
    expect(found(page)).to_have_count(4)
    assert page.url.endswith("#/batches?station=DUN00&status=closed&completed_by=timeout&since=1h")
    other = desk.open(page.url, token=TOKEN, language="zh-CN")
    expect(found(other)).to_have_count(4)
    expect(other.get_by_label("关闭方式")).to_have_value("timeout")
    other.get_by_role("link", name="显示全部").click()
    expect(found(other)).to_have_count(26)
    page.get_by_label("Since").fill("yesterday")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("/batches can't be shown: since:")).to_be_visible()


@pytest.mark.parametrize("path", ["/#/batches?q=DUN00", *further("/#/batches", "/#/batches?q=nothing")])
@pytest.mark.parametrize("language", [*further("en-US"), "zh-CN"])
def test_the_search_is_for_everybody_and_for_a_phone(path: str, language: str, busy: str, desk: Desk) -> None:
    page = desk.look(busy + path, token=TOKEN, language=language, phone=True)
    expect(page.locator(".found").locator("table, .hit")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert findings(page) == []
    page.emulate_media(color_scheme="dark")
    assert findings(page) == []


def test_a_batch_that_is_not_open_any_more_leaves_the_list_of_open_ones(desk: Desk) -> None:
    worker = FakeWorker()
    now = time.time()
    for number in range(3):
        worker.open(f"b{number}", ["A"], at=now + number)
    with served(worker, Access(TOKEN)) as url:
        page = desk.open(f"{url}/#/batches?status=open", token=TOKEN)
        expect(found(page)).to_have_count(3)
        worker.arrive("b1", {"A": ("r", "{}")}, at=now + 4)
        page.evaluate("dispatchEvent(new Event('online'))")
        expect(found(page)).to_have_count(2)
        page.close()


def test_an_id_stands_behind_its_time_and_is_copied_alone(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN)
    link = page.locator(f".flying a[title='{OPEN}']")
    expect(link).to_have_text(re.compile(rf"^11-14 10:00 · {OPEN}$"))
    copied = page.evaluate(
        "link => { getSelection().selectAllChildren(link); return String(getSelection()) }", link.element_handle()
    )
    assert copied.strip() == OPEN
    link.click()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == OPEN


def test_an_id_of_today_stands_behind_its_second(desk: Desk) -> None:
    worker = FakeWorker()
    noon = int(time.time()) // 86400 * 86400 + 4 * 3600  # in Shanghai
    worker.open(f"T_{noon}", ["A"], at=time.time())
    with served(worker, Access(TOKEN)) as url:
        page = desk.open(url, token=TOKEN, script=f"{{ const of = Date.now; Date.now = () => {noon * 1000} }}")
        expect(page.locator(".flying a")).to_have_text(re.compile(r"^12:00:00 · T_\d+$"))
        page.close()


# -- ids in addresses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("station", NASTY)
def test_any_station_is_reached_by_links_and_by_its_address(station: str, desk: Desk) -> None:
    worker = FakeWorker()
    now = time.time()
    worker.open("b1", [station, "A"], at=now - 1)
    worker.arrive("b1", {station: ("f", MARKUP), "A": ("r", "{}")}, at=now)
    with served(worker, Access(TOKEN)) as url:
        page = desk.look(url, token=TOKEN)
        page.locator(".stations tbody tr").first.get_by_role("link").click()
        title = page.locator(".station-page h2")
        expect(page.locator(".strip .is-failed.cell")).to_have_count(1)
        assert title.text_content() == station
        page.reload()
        expect(page.locator(".strip .is-failed.cell")).to_have_count(1)
        page.get_by_role("link", name="All batches that expected it").click()
        expect(found(page)).to_have_count(1)
        page.go_back()
        expect(page.locator(".strip .is-failed.cell")).to_have_count(1)
        assert page.locator("img[onerror], img[src='x']").count() == 0
        desk.leave(page)


def test_an_id_that_no_address_has_room_for_is_told(desk: Desk) -> None:
    worker, station = FakeWorker(), "場" * 1000  # 9,000 bytes in an address
    now = time.time()
    worker.open("b1", [station], at=now - 1)
    worker.arrive("b1", {station: ("r", "{}")}, at=now)
    with served(worker, Access(TOKEN)) as url:
        page = desk.open(url, token=TOKEN)
        page.locator(".stations tbody a").first.click()
        expect(page.get_by_text("can't be shown: an address may have 8192 bytes at most")).to_be_visible()
        expect(page.locator(".station-page h2")).to_have_text(station)
        page.close()


PLACES = "import('/static/js/places.js')"


def test_no_id_breaks_an_address(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN)

    @example("\ud800")
    @example("%zz")
    @given(st.text(alphabet=st.characters(exclude_categories=[]), min_size=1))
    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    def holds(text: str) -> None:
        sent = json.dumps(text)
        whole, batch, station, lists, path, listed = page.evaluate(
            f"""async () => {{
                const places = await {PLACES};
                const id = {sent};
                const at = (hash) => new URL(hash, "http://h/p/");
                const link = places.stationPage(id, {{ batch: id }});
                const query = (at) => new URLSearchParams(at.slice(at.indexOf("?") + 1));
                return [
                    id.toWellFormed(),
                    [places.placeOf(at(places.pageOf(id)).hash), at(places.pageOf(id)).pathname],
                    [places.placeOf(at(link).hash), at(link).pathname],
                    query(places.placeOf(at(places.listPage("late", {{ station: id, q: "" }})).hash).query).toString(),
                    at(places.stationPath(id, {{ batches: 1 }})).href,
                    query(link).get("batch"),
                ];
            }}"""
        )
        assert batch == [{"view": "batch", "batchId": whole, "stationId": "", "query": ""}, "/p/"]
        assert (station[0]["view"], station[0]["stationId"], station[1]) == ("station", whole, "/p/")
        assert listed == whole
        assert lists.startswith("station=")
        assert "&" not in lists
        asked = urlsplit(path)
        assert (asked.netloc, asked.fragment) == ("h", "")
        if asked.path == "/p/stations/":
            assert asked.query.startswith("station=")
        else:
            assert (unquote(asked.path), asked.query) == (f"/p/stations/{whole}", "batches=1")

    holds()


@pytest.mark.parametrize(
    "address",
    [
        "#/stations/%",
        "#/stations/%zz?batches=x",
        "#/batches/%E5%9",
        "#//",
        "#/stations/",
        "#/nowhere?x",
        "#/batches?q=%",
    ],
)
def test_an_address_that_somebody_has_spoilt_shows_a_page(address: str, busy: str, desk: Desk) -> None:
    page = desk.look(f"{busy}/{address}", token=TOKEN)
    expect(page.locator("main h2").first).to_be_visible()


# -- a time as a filter ------------------------------------------------------------------------------------------------


TIMES = {
    "12:00": "1763092800",
    "9:05": "1763082300",
    "12:00:01": "1763092801",
    "2025-11-04": "1762185600",
    "2025-11-04T10:00": "1762221600",
    "2025-11-04 10:00:30": "1762221630",
    "1900-01-01": "0",
    **{same: same for same in ("15m", "1h30m", "1763085600", "25:00", "2025-13-01", "noon", "12", "")},
}


def test_a_time_of_the_readers_clock_may_begin_a_range(busy: str, desk: Desk) -> None:
    page = desk.look(busy, token=TOKEN, script="Date.now = () => 1763085600000")  # 2025-11-14 10:00 in Shanghai
    ask = "texts => import('/static/js/filters.js').then(({ momentAsked }) => texts.map(momentAsked))"
    assert dict(zip(TIMES, page.evaluate(ask, list(TIMES)), strict=True)) == TIMES


def test_what_a_station_did_since_noon_is_a_permalink(desk: Desk) -> None:
    worker = FakeWorker()
    noon = int(time.time()) // 86400 * 86400 + 4 * 3600 - 86400  # in Shanghai, yesterday
    for number in range(4):
        worker.add_closed(f"b{number}", at=noon - 3.5 + 2 * number)
    day = time.strftime("%Y-%m-%d", time.gmtime(noon))
    with served(worker, Access(TOKEN)) as url:
        page = desk.open(f"{url}/#/batches?station=A", token=TOKEN)
        expect(page.locator(".found tbody tr")).to_have_count(4)
        page.get_by_label("Since").fill(f"{day} 12:00")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator(".found tbody tr")).to_have_count(2)
        assert page.url.endswith(f"#/batches?station=A&since={noon}")
        expect(page.get_by_label("Since")).to_have_value(f"{day} 12:00:00")
        page.get_by_label("Station", exact=True).fill("B")
        page.get_by_role("button", name="Filter").click()
        expect(page).to_have_url(re.compile(rf"#/batches\?station=B&since={noon}$"))
        page.close()
