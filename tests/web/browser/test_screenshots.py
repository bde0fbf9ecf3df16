"""The pictures of the READMEs: `SCREENSHOTS=1 make test ARGS=tests/web/browser/test_screenshots.py`.

They show two workers on a real Kafka after some minutes with the stations of the sample data, whose callbacks take
their time, fail, have no result or are late as in life. `pngquant` (`apt-get install pngquant`) makes them small.
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.integration.support.cluster import Cluster
from tests.integration.support.web import TOKEN, ask
from tests.integration.support.worker import REPOSITORY
from tests.shared_brokers import SharedBroker
from tests.web.browser.chromium import Desk
from tests.web.browser.plant import STATIONS, Plant
from tests.web.browser.plant_model import Mood

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="SCREENSHOTS is not set: the READMEs keep theirs"),
    pytest.mark.timeout(900),
]

FOLDER = REPOSITORY / "docs" / "screenshots"
SECONDS = 240.0  # of life before the pictures are taken
BETWEEN = 3.0  # seconds from one batch to the next
TIMEOUT = 12.0
LARGEST = 150_000  # bytes
FLAKY, BROKEN, CLOSED = STATIONS[4:7], STATIONS[20:22], STATIONS[28:31]


@pytest.fixture
def plant(browser: Browser, kafka_broker: SharedBroker, tmp_path: Path) -> Iterator[Plant]:
    """Two workers."""
    with Cluster(kafka_broker, tmp_path, partitions=8) as cluster:
        yield Plant(cluster, batch_timeout=str(TIMEOUT))


class Life:
    """Batch after batch, as the dice fall: the same each time."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._dice = random.Random(7)  # noqa: S311
        self._usual = {station: self._dice.uniform(0.1, 2.4) for station in STATIONS}

    def push(self) -> str:
        """One batch; its id."""
        dice = self._dice
        moods = dict.fromkeys(CLOSED, Mood.EMPTY)
        moods |= {station: Mood.FAILS for station in BROKEN if dice.random() < 0.3}
        delays = {station: usual * dice.uniform(0.5, 1.5) for station, usual in self._usual.items()}
        delays |= {station: TIMEOUT + 2.0 for station in FLAKY if dice.random() < 0.03}
        return self._plant.push(moods, timeout=TIMEOUT, delay=delays.__getitem__)

    def go_on(self) -> None:
        """Some minutes of it; an operator completes a batch and discards another."""
        end = time.monotonic() + SECONDS
        for number in itertools.count():
            due = time.monotonic()
            if due >= end:
                return
            batch_id = self.push()
            if number % 20 == 19:
                action = "discard" if number > 40 else "complete"
                ask(self._plant.first, f"/batches/{batch_id}/{action}", method="POST")
            time.sleep(max(0.0, due + BETWEEN - time.monotonic()))

    def some_in_flight(self, page: Page) -> None:
        """A few batches on their way, as the page shows them."""
        for _ in range(3):
            self.push()
            time.sleep(0.7)
        expect(page.locator(".flying").nth(1)).to_be_visible()


def take(page: Page, name: str, height: int | None = None) -> None:
    """Write a picture of the page, or of its upper part."""
    if height is not None:
        page.set_viewport_size({"width": page.evaluate("innerWidth"), "height": height})
    path = FOLDER / f"{name}.png"
    page.screenshot(path=path, full_page=height is None)
    subprocess.run(["pngquant", "--force", "--skip-if-larger", "--ext", ".png", "128", path], check=True)
    assert path.stat().st_size < LARGEST, path


def test_the_pictures_of_the_readmes(plant: Plant, desk: Desk) -> None:
    FOLDER.mkdir(exist_ok=True)
    life = Life(plant)
    life.go_on()
    url = plant.first.url
    overviews: list[tuple[str, int, Page]] = [
        ("overview", 1500, desk.open(url, token=TOKEN)),
        ("overview-zh", 1500, desk.open(url, token=TOKEN, dark=True, language="zh-CN")),
        ("phone", 844, desk.open(url, token=TOKEN, phone=True)),
    ]
    for name, height, page in overviews:
        expect(page.locator(".grid")).to_be_visible()
        life.some_in_flight(page)
        take(page, name, height)
    for language, name, waiting in (("en-US", "batch", STATIONS[0]), ("zh-CN", "batch-zh", STATIONS[1])):
        batch_id = plant.push({BROKEN[0]: Mood.FAILS, CLOSED[0]: Mood.EMPTY, waiting: Mood.WAITS})
        plant.wait_arrived(batch_id, len(STATIONS) - 1)
        batch = desk.open(f"{url}/#/batches/{batch_id}", token=TOKEN, language=language)
        expect(batch.locator(".tile.is-pending")).to_have_count(1)
        take(batch, name, 720)
        plant.let(waiting)
