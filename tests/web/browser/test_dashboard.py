"""An operator at work: the dashboard of two workers on a real Kafka."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.integration.support.cluster import Cluster
from tests.integration.support.web import TOKEN
from tests.shared_brokers import SharedBroker
from tests.web.browser.chromium import Desk
from tests.web.browser.plant import STATIONS, Plant
from tests.web.browser.plant_model import Mood

pytestmark = pytest.mark.kafka

ALL = len(STATIONS)


@pytest.fixture(scope="module")
def workers(browser: Browser, kafka_broker: SharedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Two workers; without a browser they need not start."""
    folder: Path = tmp_path_factory.mktemp("plant")
    with Cluster(kafka_broker, folder) as cluster:
        yield Plant(cluster)


@pytest.fixture
def plant(workers: Plant) -> Iterator[Plant]:
    """The same, and nothing in flight whatever became of the test before."""
    yield workers
    workers.clear()


def row_of(page: Page, batch_id: str) -> Locator:
    """A batch in flight."""
    return page.locator(".flying", has=page.locator(f"a[title='{batch_id}']"))


def do(page: Page, action: str) -> None:
    """Press an action's button on a batch's page, and again in the question that comes."""
    page.locator("main").get_by_role("button", name=action).click()
    page.get_by_role("dialog").get_by_role("textbox", name="Your name").fill("张伟")
    page.get_by_role("dialog").get_by_role("button", name=action).click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_batch_in_flight_is_seen_opened_and_completed(plant: Plant, desk: Desk) -> None:
    batch_id = plant.push({STATIONS[0]: Mood.WAITS, STATIONS[1]: Mood.EMPTY, STATIONS[2]: Mood.FAILS})
    plant.wait_arrived(batch_id, ALL - 1)
    page = desk.open(plant.first.url)
    page.get_by_role("textbox").fill(TOKEN)
    page.keyboard.press("Enter")
    row = row_of(page, batch_id)
    bar = row.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", str(ALL - 1))
    expect(bar).to_have_attribute("aria-valuemax", str(ALL))
    expect(row.locator(".left")).to_contain_text("s")
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", name=batch_id)).to_be_focused()
    expect(page.locator(".tile")).to_have_count(ALL)
    states = {tile.locator(".station").inner_text(): tile for tile in page.locator(".tile").all()}
    for station, state in zip(STATIONS[:4], ("pending", "empty", "failed", "result"), strict=True):
        expect(states[station].locator(".state")).to_have_text(state)
    expect(states[STATIONS[2]]).to_contain_text("its meter must be broken")

    do(page, "Complete")
    expect(page.get_by_text(f"Sent: complete {batch_id}.")).to_be_visible()
    expect(page.locator(".headline")).to_contain_text("operator")
    expect(page.locator(".tile.is-missing")).to_have_text(f"–{STATIONS[0]}missing")
    expect(page.get_by_role("button", name="Complete")).to_have_count(0)
    meta = plant.output(batch_id)["meta"]
    assert (meta["completed_by"], meta["missing"], meta["empty"]) == ("operator", [STATIONS[0]], [STATIONS[1]])
    assert (meta["operator"]["action"], meta["operator"]["by"]) == ("complete", "张伟")
    page.get_by_role("link", name="Overview").click()
    expect(row).to_have_count(0)
    expect(page.locator(".recent tr", has_text=batch_id)).to_contain_text("operator")


def test_a_batch_is_extended_and_then_complete(plant: Plant, desk: Desk) -> None:
    batch_id = plant.push({STATIONS[3]: Mood.WAITS})
    plant.wait_arrived(batch_id, ALL - 1)
    before = plant.open_batch(batch_id)["deadline"]
    page = desk.open(f"{plant.second.url}/#/batches/{batch_id}", token=TOKEN)
    page.get_by_role("button", name="Extend").click()
    expect(page.get_by_role("textbox", name="Your name")).to_have_value("")
    seconds = page.get_by_role("dialog").get_by_role("spinbutton")
    expect(seconds).to_have_value("10")
    seconds.fill("20")
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"Sent: extend {batch_id} by 20 s.")).to_be_visible()
    plant.let(STATIONS[3])
    expect(page.locator(".headline")).to_contain_text(f"{ALL} / {ALL}")
    expect(page.locator(".headline")).to_contain_text("all")
    meta = plant.output(batch_id)["meta"]
    assert (meta["status"], meta["completed_by"]) == ("complete", "all")
    assert meta["deadline"] - before == pytest.approx(20.0)
    assert meta["operator"]["action"] == "extend"


def test_a_batch_is_discarded_only_after_the_question_was_answered(plant: Plant, desk: Desk) -> None:
    batch_id = plant.push({STATIONS[4]: Mood.WAITS})
    plant.wait_arrived(batch_id, ALL - 1)
    page = desk.open(plant.first.url, token=TOKEN)
    row = row_of(page, batch_id)
    row.get_by_role("button", name="Discard").click()
    question = page.get_by_role("dialog")
    expect(question).to_contain_text(f"Nothing is published. What has arrived goes to the dead-letter topic: {ALL - 1}")
    question.get_by_role("button", name="Cancel").click()
    expect(question).to_have_count(0)
    assert plant.open_batch(batch_id)["status"] == "open"

    row.get_by_role("button", name="Discard").click()
    question.get_by_role("button", name="Discard").click()
    expect(page.locator(".recent tr", has_text=batch_id)).to_contain_text("discarded")
    letter = plant.dead_letter(batch_id)
    assert letter.header("reason") == "discarded"
    assert (letter.json["meta"]["status"], letter.json["meta"]["missing"]) == ("discarded", [STATIONS[4]])
    assert letter.json["station_count"] == ALL - 1
    assert not plant.has_output(batch_id)


def test_the_batches_of_both_workers_are_shown_and_one_that_is_silent_is_named(plant: Plant, desk: Desk) -> None:
    batches: list[str] = []
    workers: set[str] = set()
    while len(batches) < 4 or len(workers) < 2:
        batches.append(batch_id := plant.push({STATIONS[5 + len(batches)]: Mood.WAITS}))
        workers.add(plant.open_batch(batch_id)["worker"])
    page = desk.open(plant.first.url, token=TOKEN)
    expect(page.locator(".flying")).to_have_count(len(batches))
    expect(page.get_by_text("2 workers")).to_be_visible()
    plant.second.pause()
    try:
        expect(page.get_by_text(f"no answer from {plant.second.url}")).to_be_visible()
        expect(page.get_by_text("1 not answering")).to_be_visible()
    finally:
        plant.second.resume()
    expect(page.get_by_text("no answer from")).to_have_count(0)
    expect(page.locator(".flying")).to_have_count(len(batches))
    for station in STATIONS[5 : 5 + len(batches)]:
        plant.let(station)
    expect(page.locator(".flying")).to_have_count(0)
    for batch_id in batches:
        assert plant.output(batch_id)["meta"]["status"] == "complete"


def test_stations_that_are_late_are_ranked_and_stand_in_the_heat_map(plant: Plant, desk: Desk) -> None:
    slow = STATIONS[-1]
    for _ in range(2):
        batch_id = plant.push({slow: Mood.WAITS}, timeout=5.0, stations=(slow,))  # nobody else can be late
        assert plant.output(batch_id)["meta"]["missing"] == [slow]
    page = desk.open(plant.second.url, token=TOKEN)
    first = page.locator(".stations tbody tr").first
    expect(first).to_contain_text(slow)
    expect(first.locator("td").first).to_have_text("2")
    head = page.locator(f".grid thead a[title*='{batch_id}']")
    expect(head).to_have_class("closed-timeout")
    cells = page.locator(".grid tbody tr", has=page.get_by_role("rowheader", name=slow)).locator("td")
    expect(cells.last).to_have_class("cell is-missing")


def test_a_batch_and_a_station_are_found_whichever_worker_is_asked(plant: Plant, desk: Desk) -> None:
    late = STATIONS[2]
    batch_id = plant.push({late: Mood.FAILS}, stations=STATIONS[:5])
    assert plant.output(batch_id)["meta"]["failed"]
    for worker in (plant.first, plant.second):
        page = desk.open(worker.url, token=TOKEN)
        box = page.get_by_role("searchbox", name="Batch, station or time")
        box.fill(batch_id[-8:])
        page.keyboard.press("Enter")
        expect(page.locator(f".found tbody a[title='{batch_id}']")).to_have_count(1)
        box.fill(late)
        page.keyboard.press("Enter")
        page.locator(".hit").get_by_role("link", name=late, exact=True).click()
        expect(page.get_by_role("heading", name=late, level=2)).to_be_focused()
        expect(page.locator(".lately.is-bad")).to_be_visible()
        expect(page.locator(f".strip a[title*='{batch_id}']")).to_have_attribute("aria-label", re.compile("failed"))
        expect(page.locator(".station-page td.said").first).to_contain_text("its meter must be broken")
        expect(page.locator(".station-page pre").first).to_contain_text('"mood": "fails"')
        expect(page.locator(".fleet tbody tr").first).to_contain_text("%")
        expect(page.locator(".station-page .step").first).to_contain_text("station-failed")
