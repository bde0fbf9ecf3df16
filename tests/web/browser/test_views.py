"""Every view of the dashboard, before a fake worker that has all there is to show."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from app.observability.peers import Peer, exchange
from app.settings import Settings
from app.settings.fingerprint import fingerprint
from app.web.access import Access
from tests.further import further
from tests.web.browser.axe import findings
from tests.web.browser.chromium import LATE_EFFECTS, Desk
from tests.web.browser.scene import ERROR, LONG, MANY, MARKUP, OPEN, TOPIC, busy_worker
from tests.web.browser.served import served
from tests.web.fake_worker import FakeWorker
from tests.web.live_cluster import TOKEN

Step = Callable[[Page], object]


@pytest.fixture(scope="module")
def busy() -> Iterator[str]:
    """A busy worker's URL."""
    with served(busy_worker(), Access(TOKEN)) as url:
        yield url


def page_of(batch_id: str) -> str:
    return f"/#/batches/{quote(batch_id, safe='')}"


def shown(page: Page) -> None:
    expect(page.locator(".flying")).to_have_count(2)
    expect(page.locator(".heatmap .grid")).to_be_visible()
    expect(page.locator(".stations table")).to_be_visible()
    expect(page.locator(".plots canvas")).to_have_count(4)


def batch_shown(page: Page) -> None:
    expect(page.locator(".tile").first).to_be_visible()


def asked(action: str) -> Step:
    def ask(page: Page) -> None:
        page.locator(f".flying .action-{action}").first.click()
        expect(page.locator("dialog.ask[open]")).to_be_visible()

    return ask


def refused(page: Page) -> None:
    page.get_by_role("textbox").fill("wrong")
    page.get_by_role("button", name="Enter").click()
    expect(page.get_by_text("was not accepted")).to_be_visible()


VIEWS: dict[str, tuple[str, str | None, Step]] = {
    "overview": ("/", TOKEN, shown),
    "batch": (page_of(OPEN), TOKEN, batch_shown),
    "batch of 1,000 stations": (page_of(MANY), TOKEN, batch_shown),
    "unknown batch": (page_of(MARKUP), TOKEN, lambda page: expect(page.get_by_role("alert").nth(1)).to_be_visible()),
    "question before a completion": ("/", TOKEN, asked("complete")),
    "question before an extension": ("/", TOKEN, asked("extend")),
    "question before a discard": ("/", TOKEN, asked("discard")),
    "question for the token": ("/", None, refused),
}


def test_an_answer_that_is_quicker_than_the_first_painting_is_shown(busy: str, desk: Desk) -> None:
    refused(desk.open(busy, script=LATE_EFFECTS))


# What is not asked about is looked at by test_keyboard.py too, page by page.
QUESTIONS = [view for view in VIEWS if view.startswith("question")]
FIRST = ["question before an extension", "question for the token"]  # the others differ in words alone
PAGES = [view for view in VIEWS if view not in QUESTIONS]


@pytest.mark.parametrize("view", [*FIRST, *further(of=[view for view in VIEWS if view not in FIRST])])
def test_axe_has_no_finding_in_light_or_dark(view: str, busy: str, desk: Desk) -> None:
    path, token, come = VIEWS[view]
    page = desk.look(busy + path, token=token)
    come(page)
    looked_at = "dialog[open]" if view.startswith("question") else "html"
    assert findings(page, looked_at) == []
    page.emulate_media(color_scheme="dark")
    assert findings(page, looked_at) == []


@pytest.mark.parametrize(
    ("view", "language"),
    [
        ("question before a completion", "en-US"),
        ("question before a discard", "zh-CN"),
        *further(*((view, "en-US") for view in (*PAGES, "question before an extension", "question before a discard"))),
        *further(*((view, "zh-CN") for view in ("overview", "batch"))),
    ],
)
def test_nothing_is_wider_than_a_phone(view: str, language: str, busy: str, desk: Desk) -> None:
    path, token, come = VIEWS[view]
    page = desk.look(busy + path, token=token, language=language, phone=True)
    come(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    cut = page.evaluate(
        """() => [...document.querySelectorAll('main *, dialog[open] *')].filter(element =>
            element.getBoundingClientRect().right > 360 && !element.closest('.heatmap .scroll')
        ).map(element => element.outerHTML.slice(0, 200))"""
    )
    assert cut == []


def test_markup_in_ids_and_errors_stays_text(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN)
    shown(page)
    expect(page.locator(".grid th", has_text=MARKUP)).to_be_visible()
    page.goto(busy + page_of(OPEN))
    tile = page.locator(".tile", has_text=MARKUP).first
    expect(tile.locator(".station")).to_have_text(MARKUP)
    expect(tile.locator(".reason")).to_have_text(ERROR)
    expect(page.locator(".station", has_text=LONG)).to_be_visible()
    page.goto(busy + page_of(MARKUP))
    expect(page.get_by_role("heading", name=MARKUP)).to_be_visible()
    assert page.locator("img[onerror], img[src='x']").count() == 0


def test_the_stations_of_a_batch_are_filtered_and_searched(busy: str, desk: Desk) -> None:
    page = desk.open(busy + page_of(OPEN), token=TOKEN)
    tiles = page.locator(".tile")
    expect(tiles).to_have_count(32)
    assert [tiles.nth(place).get_attribute("class") for place in (0, 1, 31)] == [
        *("tile is-failed", "tile is-pending", "tile is-result")
    ]
    page.get_by_role("button", name="pending 10").click()
    expect(tiles).to_have_count(10)
    page.get_by_role("button", name="All 32").click()
    page.get_by_role("searchbox", name="Find a station").fill("dun1")
    expect(tiles).to_have_count(10)
    page.get_by_role("searchbox", name="Find a station").fill("nowhere")
    expect(page.get_by_text("No station is like that.")).to_be_visible()


def test_stations_are_ranked_by_misses_or_by_slowness(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN)
    rows = page.locator(".stations tbody tr")
    expect(rows.first).to_contain_text("DUN01")
    assert rows.first.locator("td").first.inner_text() == "8"
    page.get_by_role("button", name="By slowness").click()
    expect(page.locator(".stations th[aria-sort]")).to_have_text("p99")
    expect(rows.first).to_contain_text("DUN07")
    times = [text.replace(" s", "") for text in rows.locator("td:last-child").all_inner_texts() if text.endswith(" s")]
    assert times == sorted(times, key=float, reverse=True)


def test_the_heat_map_has_the_outcome_of_each_station_in_each_recent_batch(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN)
    shown(page)
    row = page.locator(".grid tbody tr", has=page.get_by_role("rowheader", name="DUN00"))
    cells = [text.split("\n")[-1] for text in row.locator("td .spoken").all_inner_texts()]
    assert cells == ["missing" if number % 3 == 0 else "result" for number in range(24)]
    page.locator(".grid thead a").first.click()
    expect(page.get_by_role("heading", level=2)).to_have_text("SCHEDULE-STATION-REALTIME-DATA_1763000000")


def test_language_and_colours_are_switched_and_remembered(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN)
    shown(page)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="中文").click()
    page.get_by_role("button", name="深色").click()
    for _ in range(2):
        expect(page.get_by_role("heading", name="进行中")).to_be_visible()
        expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        page.wait_for_function("light => getComputedStyle(document.body).backgroundColor !== light", arg=light)
        expect(page).to_have_title(re.compile("场站批次聚合$"))
        page.reload()
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="In flight")).to_be_visible()


def test_an_address_may_ask_for_language_and_colours(busy: str, desk: Desk) -> None:
    page = desk.open(f"{busy}/?lang=zh&theme=dark", token=TOKEN)
    expect(page.get_by_role("heading", name="进行中")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_view_that_can_not_be_loaded_says_so_and_is_loaded_again(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN)
    shown(page)
    page.route("**/letters.js", lambda route: route.abort())
    page.get_by_role("link", name="Dead letters", exact=True).click()
    expect(page.get_by_text("This page could not be loaded")).to_be_visible()
    assert findings(page) == []
    page.unroute("**/letters.js")
    page.get_by_role("button", name="Try now").click()
    expect(page.locator(".letters tbody tr")).to_have_count(4)


def test_the_browser_chooses_the_language_at_first(busy: str, desk: Desk) -> None:
    expect(desk.open(busy, token=TOKEN, language="zh-TW").get_by_text("进行中的批次").first).to_be_visible()
    expect(desk.open(busy, token=TOKEN, language="fr").get_by_text("Batches in flight").first).to_be_visible()


def test_nothing_is_shown_until_the_token_is_right(busy: str, desk: Desk) -> None:
    page = desk.open(busy)
    refused(page)
    assert "DUN" not in page.content()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("textbox").fill(TOKEN)
    page.keyboard.press("Enter")
    shown(page)
    page.get_by_role("button", name="Forget the token").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert "DUN" not in page.content()


def test_everything_is_reached_by_keyboard(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN)
    shown(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    for _ in range(page.locator(".figures").locator("a, button").count() + 1):
        page.keyboard.press("Tab")
    expect(page.locator(".flying a").first).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Discard").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Discard").first).to_be_focused()


def test_without_a_token_at_the_workers_the_page_says_why_there_are_no_actions(desk: Desk) -> None:
    with served(busy_worker(), Access()) as url:
        page = desk.open(url)
        shown(page)
        expect(page.get_by_text("Actions are off: the workers have no AGG_WEB_TOKEN.")).to_be_visible()
        for action in ("Complete", "Extend", "Discard"):
            for button in page.get_by_role("button", name=action).all():
                expect(button).to_be_disabled()
        assert findings(page) == []


def test_a_cluster_that_has_done_nothing_says_so(desk: Desk) -> None:
    with served(FakeWorker(), Access()) as url:
        page = desk.open(url)
        for text in ("No batch is open.", "No station has been seen yet.", "Nothing was measured yet."):
            expect(page.get_by_text(text)).to_be_visible()
        expect(page.get_by_text("No batch has been closed yet.")).to_have_count(2)
        assert findings(page) == []


def test_a_worker_that_is_gone_is_told_and_its_return_too(desk: Desk) -> None:
    with served(busy_worker(), Access()) as url:
        page = desk.open(url)
        shown(page)
        page.route("**/*", lambda route: route.abort())
        expect(page.get_by_text("Connection lost.")).to_be_visible()
        assert findings(page) == []
        page.get_by_role("button", name="Try now").click()
        expect(page.get_by_text("Connection lost.")).to_be_visible()
        page.unroute("**/*")
        page.evaluate("dispatchEvent(new Event('online'))")
        expect(page.get_by_text("Connection lost.")).to_have_count(0)
        page.close()


OTHER = "http://127.0.0.1:9"  # nobody answers there: what is known of it the group has told


@pytest.mark.parametrize(
    ("language", "settings", "clocks"),
    [
        (
            "en-US",
            f"their results mix: {OTHER}: AGG_MODULE, AGG_OUTPUT_TOPIC.",
            f"more than a second: {OTHER} (+30 s).",
        ),
        ("zh-CN", f"结果会混在一起：{OTHER}: AGG_MODULE, AGG_OUTPUT_TOPIC。", f"相差超过 1 秒：{OTHER} (+30 s)。"),
    ],
    ids=["en", "zh"],
)
def test_workers_whose_settings_or_clocks_differ_are_told_and_when_it_is_over(
    language: str, settings: str, clocks: str, desk: Desk
) -> None:
    worker = busy_worker()
    like_ours = [Peer(f"http://127.0.0.1:{port}", "host", worker.peers.own) for port in (10, 11)]
    other = fingerprint(Settings(app_id=worker.settings.app_id, module="price"))
    worker.others = dict.fromkeys([OTHER, *(peer.url for peer in like_ours)], frozenset())
    worker.peers.joined([Peer(OTHER, "host", other), *like_ours])
    worker.peers.exchanged(OTHER, exchange(100.0, 130.0, 100.0))
    with served(worker, Access()) as url:
        page = desk.open(url, language=language, phone=language == "zh-CN")
        alerts = page.locator(".alerts")
        expect(alerts).to_contain_text(settings)
        expect(alerts).to_contain_text(clocks)
        assert findings(page, ".alerts") == []
        assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("innerWidth")
        worker.peers.joined(like_ours)
        worker.peers.exchanged(OTHER, exchange(200.0, 200.0, 200.0))
        expect(alerts).not_to_contain_text("AGG_MODULE")
        expect(alerts).not_to_contain_text("+30 s")
        page.close()


def test_an_action_that_is_refused_is_told_in_the_readers_language(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN, language="zh-CN")
    answer = {"error": {"code": "batch-closed", "message": "batch is closed"}}
    page.route("**/discard", lambda route: route.fulfill(status=409, body=json.dumps(answer)))
    asked("discard")(page)
    page.get_by_role("dialog").get_by_role("button", name="丢弃").click()
    expect(page.get_by_text("未执行：该批次已经关闭")).to_be_visible()


def test_tiles_are_of_a_range_and_lead_to_what_they_count(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN)
    shown(page)
    tile = page.locator(".figure[data-name=timeouts]")
    before = tile.locator("b").inner_text()
    assert int(before) > 0
    links = page.locator(".figure a").evaluate_all("links => links.map((link) => link.getAttribute('href'))")
    assert links == [
        "#/batches?status=open",
        "#/batches?status=closed&since=1m",
        "#/batches?status=closed&since=1h",
        "#/batches?status=closed&since=1h&completed_by=timeout",
        "#/late?since=1h",
        "#/dead-letters?since=1h",
        "#/partitions",
    ]
    with page.expect_response("**/stats?since=15m") as answer:
        page.get_by_role("group", name="Range of time").get_by_text("last 15 min").click()
    within = answer.value.json()["completed_by"]["timeout"]
    assert within <= int(before)  # all closed ten minutes before this module began, so some may be too old by now
    expect(tile.locator("b")).to_have_text(str(within))
    expect(page.get_by_role("heading", name="The last 15 minutes")).to_be_visible()
    expect(page.locator(".figure[data-name=letters]")).to_contain_text("last 15 min")
    expect(page.locator(".stations .note")).to_contain_text("last 15 min")
    assert tile.locator("a").get_attribute("href") == "#/batches?status=closed&since=15m&completed_by=timeout"


def test_a_source_topic_that_is_overdue_is_told_with_its_usual_gap(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN)
    overdue = page.locator(".sources .is-overdue")
    expect(overdue).to_have_text(re.compile(rf"{TOPIC}: last message \d+ min \d+ s ago, usual are 1 min 0 s"))
