"""The system's Chromium, and the pages that a test opens in it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Playwright

__all__ = ["MISSING", "PATIENCE", "Desk", "find_chromium", "launch"]

MISSING = "no Chromium on PATH: `apt-get install chromium` (Debian, Ubuntu) or your system's package of it"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
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
_NOT_LOADED = "Failed to load resource"  # the page has to deal with it


def find_chromium() -> str | None:
    """Its path, None when there is none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def launch(playwright: Playwright, path: str) -> Browser:
    """Start it, headless."""
    return playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS), timeout=PATIENCE)


@dataclass
class Desk:
    """Opens pages, each for a reader of his own, and notes what no page may do.

    Attributes:
        problems: What was said by a console (a violation of the content security policy, too), thrown, or asked by a
            dialog of the browser's, which only a script that was smuggled in would open.
    """

    browser: Browser
    problems: list[str] = field(default_factory=list)
    _readers: list[BrowserContext] = field(default_factory=list)

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
        width, height = _PHONE if phone else _DESK
        reader = self.browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            locale=language,
            timezone_id="Asia/Shanghai",
            has_touch=phone,
            reduced_motion="reduce",
        )
        self._readers.append(reader)
        reader.set_default_timeout(PATIENCE)
        if token is not None:
            reader.add_init_script(f"sessionStorage.setItem('dashboard.token', {json.dumps(token)})")
        if script:
            reader.add_init_script(script)
        page = reader.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.problems.append(f"thrown: {error}"))
        page.on("dialog", self._asked)
        page.goto(url)
        return page

    def close(self) -> None:
        """Close all pages."""
        for reader in self._readers:
            reader.close()

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(_NOT_LOADED):
            self.problems.append(f"{message.type}: {message.text}")

    def _asked(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()
