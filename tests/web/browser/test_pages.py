"""The pages beside the overview, before a fake worker: dead letters, late results, workers and settings, partitions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from app.observability.peers import Peer
from app.settings import Settings
from app.settings.fingerprint import fingerprint
from app.web.access import Access
from tests.further import further
from tests.web.browser.axe import findings
from tests.web.browser.chromium import Desk
from tests.web.browser.scene import ERROR, LONG, MARKUP, OPEN, busy_worker
from tests.web.browser.served import served
from tests.web.fake_worker import FakeWorker
from tests.web.live_cluster import TOKEN

READER = "a-reader's-token+/%"
BOTH = Access(TOKEN, read_token=READER)


@pytest.fixture(scope="module")
def busy() -> Iterator[str]:
    """A busy worker's URL."""
    with served(busy_worker(), BOTH) as url:
        yield url


def rows(page: Page, place: str) -> Callable[[int], None]:
    def are(count: int) -> None:
        expect(page.locator(f"{place} tbody tr")).to_have_count(count)

    return are


def letters_shown(page: Page) -> None:
    rows(page, ".letters")(4)


def late_shown(page: Page) -> None:
    rows(page, ".lates")(3)


def workers_shown(page: Page) -> None:
    rows(page, ".workers")(1)
    rows(page, ".settings")(len(Settings.model_fields))


def partitions_shown(page: Page) -> None:
    rows(page, ".partitions")(3)


def letter_opened(page: Page) -> None:
    letters_shown(page)
    page.get_by_role("button", name="0@0", exact=True).click()
    expect(page.locator(".letter pre").first).to_contain_text("Traceback")


def replay_asked(page: Page) -> None:
    letters_shown(page)
    page.get_by_role("checkbox").nth(1).check()
    page.locator(".letters .tools button").last.click()
    expect(page.locator(".fates li")).to_have_count(1)


VIEWS: dict[str, tuple[str, Callable[[Page], object]]] = {
    "dead letters": ("/#/dead-letters", letters_shown),
    "one letter": ("/#/dead-letters", letter_opened),
    "question before a replay": ("/#/dead-letters", replay_asked),
    "late": ("/#/late", late_shown),
    "workers": ("/#/workers", workers_shown),
    "partitions": ("/#/partitions", partitions_shown),
}


# The others are looked at by test_keyboard.py too.
OPENED = ("one letter", "question before a replay")
PAGES = [view for view in VIEWS if view not in OPENED]


@pytest.mark.parametrize("view", [*OPENED, *further(of=PAGES)])
def test_axe_has_no_finding_in_light_or_dark(view: str, busy: str, desk: Desk) -> None:
    path, come = VIEWS[view]
    page = desk.look(busy + path, token=TOKEN)
    come(page)
    looked_at = "dialog[open]" if view.startswith("question") else "html"
    assert findings(page, looked_at) == []
    page.emulate_media(color_scheme="dark")
    assert findings(page, looked_at) == []


@pytest.mark.parametrize("language", [*further("en-US"), "zh-CN"])
@pytest.mark.parametrize("view", [*OPENED, *further(of=PAGES)])
def test_nothing_is_wider_than_a_phone(view: str, language: str, busy: str, desk: Desk) -> None:
    path, come = VIEWS[view]
    page = desk.look(busy + path, token=TOKEN, language=language, phone=True)
    come(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_markup_in_letters_and_late_results_stays_text(busy: str, desk: Desk) -> None:
    page = desk.open(f"{busy}/#/dead-letters", token=TOKEN)
    letter_opened(page)
    expect(page.locator(".letters td", has_text=ERROR).first).to_be_visible()
    expect(page.locator(".letter pre").last).to_contain_text(MARKUP)
    page.goto(f"{busy}/#/late")
    expect(page.locator(".lates th", has_text=MARKUP)).to_be_visible()
    expect(page.locator(".lates th", has_text=LONG)).to_be_visible()
    page.goto(f"{busy}/#/dead-letters?station=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    rows(page, ".letters")(1)
    assert page.locator("img[onerror], img[src='x']").count() == 0


def test_letters_are_filtered_and_the_address_is_a_permalink(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN)
    page.get_by_role("link", name="Dead letters", exact=True).click()
    letters_shown(page)
    expect(page.get_by_role("heading", name="Dead letters")).to_be_focused()
    expect(page.locator(".pages [aria-current]")).to_have_text(re.compile("Dead letters"))
    page.get_by_label("Reason").select_option("bad-record")
    page.get_by_label("Since").fill("2h")
    page.get_by_role("button", name="Filter").click()
    rows(page, ".letters")(1)
    assert page.url.endswith("#/dead-letters?reason=bad-record&since=2h")
    other = desk.open(page.url, token=TOKEN)
    rows(other, ".letters")(1)
    expect(other.get_by_label("Reason")).to_have_value("bad-record")
    expect(other.locator(".letters tbody tr td.time").last).to_contain_text(":")
    other.get_by_role("link", name="Show all").click()
    letters_shown(other)
    other.get_by_label("Since").fill("yesterday")
    other.get_by_role("button", name="Filter").click()
    expect(other.get_by_text("/dead-letters can't be shown: since:")).to_be_visible()
    other.get_by_role("link", name="Show all").click()
    letters_shown(other)


def test_a_value_that_is_no_text_is_marked(busy: str, desk: Desk) -> None:
    page = desk.open(f"{busy}/#/dead-letters?reason=bad-message", token=TOKEN)
    page.get_by_role("button", name="0@3").click()
    expect(page.locator(".letter pre").last).to_have_text("/wA=")
    expect(page.get_by_text("base64")).to_be_visible()


def test_letters_are_sent_again_after_a_dry_run_was_looked_at(desk: Desk) -> None:
    worker = busy_worker()
    with served(worker, BOTH) as url:
        page = desk.open(f"{url}/#/dead-letters", token=TOKEN)
        letters_shown(page)
        page.get_by_role("button", name="Choose the 3 not sent again").click()
        page.get_by_role("button", name="Send 3 again").click()
        question = page.get_by_role("dialog")
        expect(question.locator(".fates li")).to_have_count(3)
        expect(question).to_contain_text("Nothing has been sent yet")
        expect(question).to_contain_text("will be sent → T")
        assert [dry for _, _, dry, _ in worker.replays] == [True]
        question.get_by_role("textbox", name="Your name").fill("张伟")
        question.get_by_role("button", name="Send 3 now").click()
        expect(page.get_by_text("Sent again: 3.")).to_be_visible()
        expect(question).to_contain_text("sent → T")
        ((_, _, _, _), (places, operator, dry_run, again)) = worker.replays
        assert (sorted(places), operator, dry_run, again) == ([(0, 0), (0, 2), (0, 3)], "张伟", False, False)
        question.get_by_role("button", name="Close").click()
        expect(question).to_have_count(0)
        page.close()


def test_without_kafka_the_page_says_so_and_goes_on_by_itself(desk: Desk) -> None:
    worker = busy_worker()
    worker.unreadable = "x"
    with served(worker, BOTH) as url:
        page = desk.open(f"{url}/#/dead-letters", token=TOKEN)
        expect(page.get_by_text("/dead-letters can't be shown: Kafka does not answer")).to_be_visible()
        page.evaluate(
            """() => {
                window.lost = false;
                new MutationObserver(() => { window.lost ||= document.body.innerText.includes("Connection lost.") })
                    .observe(document.body, { childList: true, subtree: true, characterData: true });
            }"""
        )
        for _ in range(3):  # alone, since the workers are asked for less often
            with page.expect_response(lambda answer: "dead-letters" in answer.url):
                pass
        assert not page.evaluate("window.lost")
        worker.unreadable = None
        page.evaluate("dispatchEvent(new Event('online'))")
        letters_shown(page)
        page.close()


def test_older_letters_are_looked_for_page_by_page(desk: Desk) -> None:
    worker = FakeWorker()
    for number in range(250):
        worker.append(worker.settings.dead_letter_topic, b"", {"reason": "discarded"}, at=float(1000 + number))
    with served(worker, BOTH) as url:
        page = desk.open(f"{url}/#/dead-letters", token=TOKEN)
        for count in (100, 200, 250):
            rows(page, ".letters")(count)
            older = page.get_by_role("button", name="Look for older ones")
            if count < 250:
                older.click()
            else:
                expect(older).to_have_count(0)
        page.close()


def test_settings_that_differ_are_marked(desk: Desk) -> None:
    worker, other = busy_worker(), FakeWorker(1)
    other.settings = Settings(max_batch_age=60.0, batch_timeout=7.0, concurrency=8)
    with served(other, BOTH) as other_url, served(worker, BOTH) as url:
        worker.others = {other_url: frozenset({1})}
        like_ours = Peer("http://127.0.0.1:9", "host", worker.peers.own)
        worker.peers.joined([Peer(other_url, "host", fingerprint(other.settings)), like_ours])
        page = desk.open(f"{url}/#/workers", token=TOKEN)
        rows(page, ".workers")(2)
        expect(page.get_by_text("2 settings with other values on some workers.")).to_be_visible()
        page.get_by_role("button", name="Different: 2").click()
        rows(page, ".settings")(2)
        wrong = page.locator(".settings tr", has_text="AGG_BATCH_TIMEOUT")
        expect(wrong).to_contain_text("results mix")
        expect(wrong).to_contain_text(f"7 {other_url}")
        expect(page.locator(".settings tr", has_text="AGG_CONCURRENCY")).not_to_contain_text("mix")
        assert findings(page) == []
        page.close()


def test_partitions_are_shown_with_who_is_behind(busy: str, desk: Desk) -> None:
    page = desk.open(f"{busy}/#/partitions", token=TOKEN)
    partitions_shown(page)
    page.get_by_role("button", name="Behind").click()
    rows(page, ".partitions")(1)
    expect(page.locator(".partitions tbody tr")).to_contain_text("250")


# -- the read token ----------------------------------------------------------------------------------------------------


def test_who_only_looks_is_told_so_and_has_no_buttons(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=READER)
    expect(page.locator(".flying")).to_have_count(2)
    expect(page.get_by_text("read only", exact=True)).to_be_visible()
    for action in ("Complete", "Extend", "Discard"):
        expect(page.get_by_role("button", name=action)).to_have_count(0)
    page.get_by_role("link", name="Dead letters", exact=True).click()
    letters_shown(page)
    expect(page.get_by_role("checkbox")).to_have_count(0)
    expect(page.get_by_role("button", name="again")).to_have_count(0)
    operator = desk.open(busy, token=TOKEN)
    expect(operator.get_by_text("operator", exact=True)).to_be_visible()
    expect(operator.get_by_role("button", name="Complete").first).to_be_visible()


@pytest.mark.parametrize(
    ("link", "left"),
    [
        ("/?token={}", "/"),
        ("/?wall=1&token={}&x=%20", "/?wall=1&x=%20"),
        ("/#token={}", "/"),
        ("/?wall=1#/dead-letters?token={}&reason=discarded", "/?wall=1#/dead-letters?reason=discarded"),
        ("/#/late?token={}", "/#/late"),
    ],
)
def test_a_link_with_a_token_logs_in_and_the_token_leaves_the_address(
    link: str, left: str, busy: str, desk: Desk
) -> None:
    page = desk.open(busy + link.format("a-reader's-token+%2F%25"))
    expect(page.get_by_text("read only", exact=True)).to_be_visible()
    assert page.url == busy + left
    page.reload()
    expect(page.get_by_text("read only", exact=True)).to_be_visible()
    assert page.evaluate("history.length") <= 2


def test_a_link_with_a_token_works_in_an_open_page_too(busy: str, desk: Desk) -> None:
    page = desk.open(busy)
    expect(page.get_by_role("dialog")).to_be_visible()
    page.evaluate("token => { location.hash = `token=${encodeURIComponent(token)}` }", READER)
    expect(page.get_by_text("read only", exact=True)).to_be_visible()
    assert page.url.rstrip("#/") == busy


def test_a_link_with_a_wrong_token_asks_for_the_right_one(busy: str, desk: Desk) -> None:
    page = desk.open(f"{busy}/?token=wrong")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.url == f"{busy}/"


# -- every view is a permalink -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "choice", "address"),
    [
        ("/", "By slowness", "/#/?order=slowness"),
        *further(
            ("/#/partitions", "Behind", "/#/partitions?show=behind"),
            ("/#/workers", "Different: 0", "/#/workers?show=different"),
        ),
        (f"/#/batches/{OPEN}", "pending 10", f"/#/batches/{OPEN}?show=pending"),
    ],
)
def test_what_a_reader_has_chosen_stands_in_the_address(
    path: str, choice: str, address: str, busy: str, desk: Desk
) -> None:
    page = desk.look(busy + path, token=TOKEN)
    page.get_by_role("button", name=choice).click()
    expect(page.get_by_role("button", name=choice)).to_have_attribute("aria-pressed", "true")
    assert page.url == busy + address
    other = desk.open(page.url, token=TOKEN)
    expect(other.get_by_role("button", name=choice)).to_have_attribute("aria-pressed", "true")
    usual = other.get_by_role("group").filter(has=other.get_by_role("button", name=choice)).get_by_role("button").first
    usual.click()
    expect(usual).to_have_attribute("aria-pressed", "true")
    assert "?" not in other.url
    assert other.evaluate("history.length") <= 2


def test_a_station_that_is_looked_for_in_a_batch_stands_in_the_address(busy: str, desk: Desk) -> None:
    page = desk.open(f"{busy}/#/batches/{OPEN}?show=result", token=TOKEN)
    tiles = page.locator(".tile")
    expect(tiles).to_have_count(20)
    page.get_by_role("searchbox", name="Find a station").press_sequentially("dun1?&")
    expect(tiles).to_have_count(0)
    page.get_by_role("searchbox", name="Find a station").fill("dun1")
    expect(tiles).to_have_count(10)
    assert page.url == f"{busy}/#/batches/{OPEN}?show=result&find=dun1"
    expect(page.get_by_role("searchbox", name="Find a station")).to_be_focused()
    other = desk.open(page.url, token=TOKEN)
    expect(other.locator(".tile")).to_have_count(10)
