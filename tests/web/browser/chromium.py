"""The system's Chromium, and the pages that a test opens in it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Playwright

__all__ = ["LATE_EFFECTS", "MISSING", "PATIENCE", "Desk", "Kept", "find_chromium", "launch"]

MISSING = "no Chromium on PATH: `apt-get install chromium-headless-shell` (Debian), or your system's `chromium`"
# First the one without windows: the same engine, but a reader of his own costs 0.8 s of CPU instead of 2.
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    "--no-sandbox",  # CI is root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",  # it looks up hosts of its maker's at every start otherwise
    "--disable-component-update",
    "--disable-sync",
)
_DESK = (1280, 900)
_PHONE = (360, 780)  # the narrowest that are in use
PATIENCE = 240_000.0  # milliseconds that a step may take: no measure of speed, a busy machine takes its time
_NOWHERE = "about:blank"
_NOT_LOADED = "Failed to load resource"  # the page has to deal with it


# Effects of Preact run after a frame has been painted, or 35 ms later where none is.
LATE_EFFECTS = """
    window.requestAnimationFrame = () => 0;
    const soon = window.setTimeout;
    window.setTimeout = (work, milliseconds, ...more) => soon(work, milliseconds === 35 ? 3000 : milliseconds, ...more);
"""


def find_chromium() -> str | None:
    """Its path, None when there is none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def launch(playwright: Playwright, path: str) -> Browser:
    """Start it, headless."""
    return playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS), timeout=PATIENCE)


@dataclass(frozen=True)
class _Looks:
    """What tells one reader from another: his token, his system, and what runs before the page's own scripts."""

    token: str | None
    dark: bool
    language: str
    phone: bool
    script: str


Kept = dict[_Looks, Page]


@dataclass
class Desk:
    """Opens pages, each for a reader of his own, and notes what no page may do.

    Attributes:
        kept: Tabs that the tests of a module share, see `look`.
        problems: What was said by a console (a violation of the content security policy, too), thrown, or asked by a
            dialog of the browser's, which only a script that was smuggled in would open.
    """

    browser: Browser
    kept: Kept = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _readers: list[BrowserContext] = field(default_factory=list)
    _lent: list[Page] = field(default_factory=list)

    def open(
        self,
        url: str,
        *,
        token: str | None = None,
        dark: bool = False,
        language: str = "en-US",
        phone: bool = False,
        script: str = "",
    ) -> Page:
        """The page at this address for a reader whose system is set so; with a token, he has given it before.

        `script` runs before the page's own.
        """
        reader = self._reader(_Looks(token, dark, language, phone, script))
        self._readers.append(reader)
        return self._loaded(reader.new_page(), url)

    def look(
        self, url: str, *, token: str | None = None, language: str = "en-US", phone: bool = False, script: str = ""
    ) -> Page:
        """As `open`, loaded anew too, but in the tab of the module's last test that asked for the same reader.

        For tests that look at many pages in the same way: a reader of his own costs more than all else that they do.
        """
        looks = _Looks(token, dark=False, language=language, phone=phone, script=script)
        page = self.kept.get(looks)
        if page is None:
            page = self.kept[looks] = self._reader(looks).new_page()
        self._lent.append(page)
        return self._loaded(page, url)

    def leave(self, page: Page) -> None:
        """Leave nothing in a tab that is kept; for tests whose server ends before they do."""
        page.evaluate("sessionStorage.clear(); localStorage.clear()")
        for event, hear in self._events():  # what gives the token finds no storage there, and says so
            page.remove_listener(event, hear)
        page.goto(_NOWHERE)

    def close(self) -> None:
        """Close all pages, and leave nothing in those that are kept."""
        for page in self._lent:
            if page.url != _NOWHERE:
                self.leave(page)
            page.emulate_media(color_scheme="light")
            width, height = _PHONE if page.evaluate("navigator.maxTouchPoints > 0") else _DESK
            page.set_viewport_size({"width": width, "height": height})
            page.mouse.move(0, 0)
        for reader in self._readers:
            reader.close()

    def _reader(self, looks: _Looks) -> BrowserContext:
        width, height = _PHONE if looks.phone else _DESK
        reader = self.browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if looks.dark else "light",
            locale=looks.language,
            timezone_id="Asia/Shanghai",
            has_touch=looks.phone,
            reduced_motion="reduce",
        )
        reader.set_default_timeout(PATIENCE)
        if looks.token is not None:
            reader.add_init_script(f"sessionStorage.setItem('dashboard.token', {json.dumps(looks.token)})")
        if looks.script:
            reader.add_init_script(looks.script)
        return reader

    def _loaded(self, page: Page, url: str) -> Page:
        for event, hear in self._events():
            page.on(event, hear)
        page.goto(url)
        return page

    def _events(self) -> list[tuple[Any, Any]]:
        return [("console", self._heard), ("pageerror", self._thrown), ("dialog", self._asked)]

    def _thrown(self, error: object) -> None:
        self.problems.append(f"thrown: {error}")

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(_NOT_LOADED):
            self.problems.append(f"{message.type}: {message.text}")

    def _asked(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()
