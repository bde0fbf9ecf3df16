"""What stands on a page stays where it is while more comes: its cumulative layout shift."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from app.web.access import Access
from tests.further import further
from tests.web.browser.chromium import Desk
from tests.web.browser.scene import PAGES, busy_worker
from tests.web.browser.served import served
from tests.web.live_cluster import TOKEN

GOOD = 0.1  # https://web.dev/articles/cls
WALL = "/?wall=1"
LAST = PAGES | {WALL: ".recent tbody tr"}
TWICE = ("/", WALL)  # what shifts most on a phone

# Each answer comes when what was there before it has been painted, as over a slow network.
PAINTED_BETWEEN = """
    let asked = 0;
    const painted = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    const ask = window.fetch;
    window.fetch = async (...what) => {
        asked += 1;
        try {
            const answer = await ask(...what);
            await painted();
            return answer;
        } finally {
            asked -= 1;
        }
    };
    const shifts = [];
    const note = entries => shifts.push(...entries.filter(one => !one.hadRecentInput));
    const observer = new PerformanceObserver(list => note(list.getEntries()));
    observer.observe({ type: "layout-shift", buffered: true });
    window.shifted = async () => {
        do await painted(); while (asked > 0);
        note(observer.takeRecords());
        return shifts.map(({ value, sources }) => [value, sources.map(({ node }) => node?.className ?? "")]);
    };
"""


@pytest.fixture(scope="module")
def busy() -> Iterator[str]:
    """A busy worker's URL."""
    with served(busy_worker(), Access(TOKEN)) as url:
        yield url


@pytest.mark.parametrize(
    ("path", "phone"),
    [
        *((path, False) for path in LAST),
        *((path, True) for path in TWICE),
        *further(of=((path, True) for path in LAST if path not in TWICE)),
    ],
)
def test_what_comes_later_does_not_push_away_what_is_there(path: str, phone: bool, busy: str, desk: Desk) -> None:
    page = desk.look(busy + path, token=TOKEN, phone=phone, script=PAINTED_BETWEEN)
    expect(page.locator(LAST[path]).first).to_be_visible()
    shifts = page.evaluate("shifted()")
    assert sum(value for value, _ in shifts) <= GOOD, shifts
