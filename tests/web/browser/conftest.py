"""The browser. Without one its tests are skipped, but in CI, where they fail."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.web.browser.chromium import MISSING, PATIENCE, Desk, Kept, find_chromium, launch


# Of one module: while Playwright runs, no other test of its thread can use `asyncio.run`.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A running Chromium."""
    path = find_chromium()
    if path is None and os.environ.get("CI") == "true":
        pytest.fail(MISSING)
    if path is None:
        pytest.skip(MISSING)
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        running = launch(playwright, path)
        yield running
        running.close()


@pytest.fixture(scope="module")
def kept(browser: Browser) -> Kept:  # with the browser, and gone with it
    """Tabs that a module's tests share."""
    return {}


@pytest.fixture
def desk(browser: Browser, kept: Kept) -> Iterator[Desk]:
    """Opens pages for one test; none of them may have had a problem."""
    own = Desk(browser, kept)
    yield own
    own.close()
    assert own.problems == []
