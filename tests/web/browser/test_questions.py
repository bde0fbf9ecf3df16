"""An operator's six questions, answered by clicking: two workers on a real Kafka, of which one is killed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.integration.support.cluster import Cluster
from tests.integration.support.waiting import wait_for
from tests.integration.support.web import TOKEN, ask
from tests.shared_brokers import SharedBroker
from tests.web.browser.chromium import Desk
from tests.web.browser.plant import STATIONS, Plant
from tests.web.browser.plant_model import Mood

pytestmark = pytest.mark.kafka

SLOW, BROKEN, TARDY, *_ = STATIONS
FEW = STATIONS[:6]


@pytest.fixture
def cluster(browser: Browser, kafka_broker: SharedBroker, tmp_path: Path) -> Iterator[Cluster]:
    """Without a browser no worker need start."""
    with Cluster(kafka_broker, tmp_path) as own:
        yield own


class Day:
    """What has happened before the operator comes: batches of all kinds, and the death of a worker."""

    def __init__(self, plant: Plant, cluster: Cluster) -> None:
        self.plant = plant
        fine = plant.push(stations=FEW)
        assert plant.output(fine)["meta"]["status"] == "complete"
        # Of one station: no other can be late on a machine that has much to do.
        self.timed_out = plant.push({SLOW: Mood.WAITS}, timeout=5.0, stations=(SLOW,))
        tardy = plant.push({TARDY: Mood.WAITS}, timeout=5.0, stations=(TARDY,))
        for batch_id in (self.timed_out, tardy):
            assert plant.output(batch_id)["meta"]["completed_by"] == "timeout"
        plant.let(TARDY)
        wait_for(cluster.late_records, lambda: f"a late result\n{cluster.logs()}")
        self.completed = self._waiting()
        by = {"X-Operator": "zhang"}
        assert ask(plant.first, f"/batches/{self.completed}/complete", method="POST", headers=by).status_code == 202
        assert plant.output(self.completed)["meta"]["missing"] == [SLOW]
        self.open = self._waiting()
        plant.second.kill()

        def alone() -> bool:
            workers = ask(plant.first, "/cluster").json().get("workers", [])
            return [one["ready"] for one in workers if one["partitions"]] == [True]

        wait_for(alone, lambda: f"the first has all partitions\n{cluster.logs()}")

    def _waiting(self) -> str:
        batch_id = self.plant.push({SLOW: Mood.WAITS, BROKEN: Mood.FAILS}, stations=FEW)
        self.plant.wait_arrived(batch_id, len(FEW) - 1)
        return batch_id


def test_six_questions_are_answered_by_clicking(cluster: Cluster, desk: Desk) -> None:
    plant = Plant(cluster, own_session=True)
    day = Day(plant, cluster)
    page = desk.open(plant.first.url, token=TOKEN)
    expect(page.get_by_text("1 worker", exact=True)).to_be_visible()
    what_is_late_now(page, day)
    why_was_this_batch_partial(page, day)
    is_this_station_worse_and_since_when(page)
    what_did_we_publish(page, day, cluster)
    which_letters_can_be_sent_again(page)
    do_all_workers_run_the_same_settings(page, plant)
    page.get_by_role("link", name="Batches", exact=True).click()
    expect(page.locator(".marks li", has_text="rebalance").first).to_be_visible()
    expect(page.locator(".marks li", has_text=f"worker {plant.first.url} started")).to_have_count(1)
    expect(page.locator(".marks li", has_text="an operator completed")).to_have_count(1)
    plant.let(SLOW)
    expect(page.locator(".flying")).to_have_count(0)


def overview(page: Page) -> None:
    page.get_by_role("link", name="Batches", exact=True).click()


def what_is_late_now(page: Page, day: Day) -> None:
    """The batch in flight, whom it waits for, and what has come too late."""
    flying = page.locator(".flying")
    expect(flying).to_have_count(1)
    flying.locator(f"a[title='{day.open}']").click()
    page.get_by_role("button", name="pending 1").click()
    expect(page.locator(".tile")).to_have_count(1)
    expect(page.locator(".tile")).to_contain_text(SLOW)
    overview(page)
    tile = page.locator(".figure[data-name=late]")
    expect(tile.locator("b")).to_have_text(re.compile("^[1-9]"))  # whom the dead worker waited for may be late, too
    tile.get_by_role("link").click()
    expect(page.locator(".lates tbody tr", has_text=TARDY)).to_contain_text("batch-closed")


def why_was_this_batch_partial(page: Page, day: Day) -> None:
    """Its row leads to who was missing, and to the rule or the person that closed it."""
    overview(page)
    page.locator(f".recent a[title='{day.completed}']").click()
    expect(page.locator(".step.is-closed")).to_contain_text("closed: partial, by zhang")
    overview(page)
    row = page.locator(".recent tr", has=page.locator(f"a[title='{day.timed_out}']"))
    expect(row).to_contain_text("timeout")
    row.get_by_role("link").click()
    expect(page.locator(".step.is-closed")).to_contain_text("closed: partial, by timeout")
    expect(page.locator(".tile.is-missing")).to_have_count(1)


def is_this_station_worse_and_since_when(page: Page) -> None:
    """The missing station's name leads to its page."""
    page.locator(".tile.is-missing").get_by_role("link", name=SLOW).click()
    expect(page.get_by_role("heading", name=SLOW, level=2)).to_be_focused()
    expect(page.locator(".lately.is-bad")).to_have_text(
        re.compile(r"^No result in the last 2, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d; in 2 of 3 batches altogether\.$")
    )
    misses = page.locator(".fleet tbody tr", has_text="Misses")
    expect(misses.locator("td").first).to_have_text("67%")
    expect(misses.locator("td.is-many")).to_have_text("100%")  # worse than all others


def what_did_we_publish(page: Page, day: Day, cluster: Cluster) -> None:
    """A cell of the station's strip leads to the batch, and that to the message in Kafka."""
    page.locator(f".strip a[title*='{day.completed}']").click()
    page.get_by_role("button", name="Read it from Kafka").click()
    published = page.locator(".payload pre")
    expect(published).to_contain_text(f'"batch_id": "{day.completed}"')
    expect(published).to_contain_text('"status": "partial"')
    expect(page.locator(".payload")).to_contain_text(cluster.output)


def which_letters_can_be_sent_again(page: Page) -> None:
    """The tile leads to the letters; a dry run says of each what would come of it."""
    overview(page)
    page.locator(".figure[data-name=letters]").get_by_role("link").click()
    expect(page.locator(".letters tbody tr", has_text=BROKEN).nth(1)).to_be_visible()
    page.get_by_role("button", name=re.compile(r"^Choose the \d+ not sent again$")).click()
    page.get_by_role("button", name=re.compile(r"^Send \d+ again")).click()
    question = page.get_by_role("dialog")
    expect(question).to_contain_text("Nothing has been sent yet")
    expect(question.locator(".fate-send").nth(1)).to_be_visible()
    question.get_by_role("button", name="Cancel").click()


def do_all_workers_run_the_same_settings(page: Page, plant: Plant) -> None:
    """They do, until one comes that was started with others."""
    page.get_by_role("link", name="Workers and settings", exact=True).click()
    expect(page.get_by_text("All workers that answer run with the same settings.")).to_be_visible()
    other = plant.another(batch_timeout="999")
    expect(page.locator(".workers tbody tr", has_text=other.url)).to_contain_text("AGG_BATCH_TIMEOUT")
    expect(page.locator(".alerts")).to_contain_text("their results mix")
    page.get_by_role("button", name="Different: 1").click()
    expect(page.locator(".settings tbody tr")).to_have_count(1)
    expect(page.locator(".settings tbody tr")).to_contain_text(f"999 {other.url}")
