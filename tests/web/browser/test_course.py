"""A batch's page: its course, and what was published."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import orjson
import pytest
from playwright.sync_api import expect

from app.web.access import Access
from tests.further import further
from tests.web.browser.axe import findings
from tests.web.browser.chromium import Desk
from tests.web.browser.scene import MARKUP, TOPIC
from tests.web.browser.served import served
from tests.web.fake_worker import FakeWorker
from tests.web.live_cluster import TOKEN

BATCH = f"{TOPIC}_1763085600"
AT = 1763085601.0


def worker_with_an_output() -> FakeWorker:
    """A batch that missed C, with an output and a late result."""
    worker = FakeWorker()
    worker.open(BATCH, ["A", MARKUP, "C"], at=AT)
    worker.arrive(BATCH, {"A": ("r", "{}"), MARKUP: ("f", "ValueError: no")}, at=AT + 2)
    worker.expire(BATCH, at=AT + 5)
    worker.publish(BATCH)
    worker.arrive(BATCH, {"C": ("r", "{}")}, at=AT + 7)
    worker.statistics.times.add(BATCH, ("A",), (0.0, 1.5), AT + 1.75)
    worker.topics.publish(BATCH, orjson.dumps({"batch_id": BATCH, "note": MARKUP}), at=AT + 5)
    return worker


@pytest.mark.parametrize(("language", "read"), [*further(("en-US", "Read it from Kafka")), ("zh-CN", "从 Kafka 读取")])
def test_a_batch_shows_its_course_and_what_was_published(language: str, read: str, desk: Desk) -> None:
    with served(worker_with_an_output(), Access(TOKEN)) as url:
        page = desk.open(f"{url}/#/batches/{quote(BATCH, safe='')}", token=TOKEN, language=language)
        kinds = ["opened", "closed", "published", "late"]
        expect(page.locator(".step")).to_have_count(len(kinds))
        assert [page.locator(f".step.is-{kind}").count() for kind in kinds] == [1] * len(kinds)
        expect(page.locator(".step.is-published")).to_contain_text("OUT[0] @ 0")
        expect(page.locator(".bar")).to_have_count(3)
        expect(page.locator(".bars li").first).to_contain_text("1.5 s")
        expect(page.locator(".bar-name", has_text=MARKUP)).to_be_visible()
        page.get_by_role("button", name=read).click()
        expect(page.locator(".payload pre")).to_contain_text(MARKUP)
        with page.expect_download() as saved:
            page.locator(".payload button").last.click()
        assert orjson.loads(Path(saved.value.path()).read_bytes())["note"] == MARKUP
        assert page.locator("img[onerror], img[src='x']").count() == 0
        assert findings(page, "html") == []
