"""Tables as files: whole, safe in a spreadsheet, and told when they are not all there is; before a fake worker."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Locator, Page, expect

from app.web.access import Access
from tests.further import further
from tests.web.browser.chromium import Desk
from tests.web.browser.scene import ERROR, LONG, MARKUP, OPEN, TOPIC, busy_worker
from tests.web.browser.served import served
from tests.web.fake_worker import FakeWorker
from tests.web.live_cluster import TOKEN

BOM = "\ufeff"
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "＝1", "|cmd", "%0A=1"]
CLOSED = f"{TOPIC}_1763000000"

TABLES = [
    ("/", ".recent", 24, {"batch_id", "status", "completed_by", "closed_at"}),
    ("/", ".stations", 32, {"station_id", "misses", "p99"}),
    ("/", ".plots", 10, {"at", "throughput"}),
    ("/", ".heatmap", 32, {"station_id", CLOSED}),
    ("/#/batches?status=closed", ".found", 24, {"batch_id", "expected_count"}),
    ("/#/dead-letters", ".letters", 4, {"id", "reason", "error", "replayed_at"}),
    ("/#/dead-letters?reason=bad-record", ".letters", 1, {"id", "reason"}),
    ("/#/late", ".lates", 3, {"batch_id", "station_id", "timestamp"}),
    ("/#/workers", ".workers", 1, {"url", "partitions", "version"}),
    ("/#/workers", ".settings", 50, {"key", "value", "differences"}),
    ("/#/partitions", ".partitions", 3, {"topic", "partition", "lag"}),
    ("/#/stations/DUN00", ".station-page section:nth-of-type(1)", 24, {"batch_id", "status", "duration"}),
    ("/#/stations/DUN00", ".station-page section:nth-of-type(2)", 4, {"measure", "own", "median"}),
    ("/#/stations/DUN00", ".station-page section:nth-of-type(3)", 8, {"batch_id", "status", "error"}),
    (f"/#/batches/{OPEN}", ".states", 32, {"batch_id", "station_id", "state", "error"}),
    (f"/#/batches/{OPEN}", ".course", 23, {"at", "event", "station_id"}),
]


@pytest.fixture(scope="module")
def busy() -> Iterator[str]:
    """A busy worker's URL."""
    with served(busy_worker(), Access(TOKEN)) as url:
        yield url


def saved(page: Page, within: Locator, form: str) -> str:
    """The file that a table's button saves."""
    with page.expect_download() as download:
        within.locator(".export").first.get_by_role("button", name=form).click()
    assert re.match(rf"^[a-z-]+-\d{{8}}-\d{{6}}\.{form.lower()}$", download.value.suggested_filename)
    return Path(download.value.path()).read_bytes().decode()


def read(text: str) -> list[dict[str, str]]:
    assert text.startswith(BOM)
    return list(csv.DictReader(io.StringIO(text.removeprefix(BOM), newline="")))


# One of each: of a list, of a list in pages, of a batch.
EACH = (".heatmap", ".letters", ".states")
FORMS = [table for table in TABLES if table[1] in EACH]


@pytest.mark.parametrize(
    "table_of",
    [*FORMS, *further(of=[(table,) for table in TABLES if table not in FORMS])],
    ids=lambda table: f"{table[0]} {table[1]}",
)
def test_every_table_is_saved_as_csv_and_as_json(
    table_of: tuple[str, str, int, set[str]], busy: str, desk: Desk
) -> None:
    path, place, least, keys = table_of
    page = desk.look(busy + path, token=TOKEN)
    table = page.locator(place)
    expect(table.locator(".export").first).to_be_visible()
    if place.endswith("(2)"):
        expect(table).to_contain_text("other stations")
    rows: list[dict[str, Any]] = json.loads(saved(page, table, "JSON"))
    lines = read(saved(page, table, "CSV"))
    for found in (rows, lines):
        assert len(found) >= least
        assert keys <= found[0].keys()
    if place not in {".plots", ".settings"}:
        assert len(rows) == len(lines) == least
    expect(table.locator(".export [role=status]").first).to_contain_text("rows saved.")


def test_all_pages_of_a_filtered_list_are_saved(desk: Desk) -> None:
    worker = FakeWorker()
    for number in range(2500):
        reason = "discarded" if number % 5 else "bad-record"
        worker.append(worker.settings.dead_letter_topic, b"", {"reason": reason}, at=float(1000 + number))
    with served(worker, Access(TOKEN)) as url:
        page = desk.open(f"{url}/#/dead-letters?reason=discarded", token=TOKEN)
        expect(page.locator(".letters tbody tr").first).to_be_visible()
        rows = json.loads(saved(page, page.locator(".letters"), "JSON"))
        assert len({row["id"] for row in rows}) == len(rows) == 2000
        assert {row["reason"] for row in rows} == {"discarded"}
        page.close()


def test_a_worker_that_asks_to_come_again_is_asked_again_and_one_that_fails_is_told(desk: Desk) -> None:
    worker = FakeWorker()
    worker.append(worker.settings.dead_letter_topic, b"", {"reason": "discarded"}, at=time.time())
    with served(worker, Access(TOKEN)) as url:
        page = desk.open(f"{url}/#/dead-letters", token=TOKEN)
        expect(page.locator(".letters tbody tr")).to_have_count(1)
        refused: list[str] = []

        def answer(route: Any) -> None:
            refused.append(route.request.url)
            if len(refused) > 1:
                route.fallback()
                return
            body = json.dumps({"error": {"code": "too-many-requests", "message": "again"}})
            route.fulfill(status=429, body=body, headers={"Retry-After": "1"})

        page.route("**/dead-letters?limit=1000*", answer)
        assert len(json.loads(saved(page, page.locator(".letters"), "JSON"))) == 1
        assert len(refused) == 2
        page.unroute("**/dead-letters?limit=1000*")
        page.route("**/dead-letters?limit=1000*", lambda route: route.abort())
        page.locator(".letters .export").get_by_role("button", name="CSV").click()
        expect(page.locator(".export [role=status]")).to_have_text("Not done: the worker does not answer")
        page.close()


def test_chinese_markup_and_errors_are_saved_as_they_are(busy: str, desk: Desk) -> None:
    page = desk.open(f"{busy}/#/dead-letters", token=TOKEN, language="zh-CN")
    expect(page.locator(".letters tbody tr")).to_have_count(4)
    rows = read(saved(page, page.locator(".letters"), "CSV"))
    assert {LONG, MARKUP} <= {row["station_id"] for row in rows}
    assert ERROR in {row["error"] for row in rows}
    assert all(re.match(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}$", row["failed_at"]) for row in rows)
    expect(page.locator(".export [role=status]")).to_have_text("已保存 4 行。")


def test_nothing_is_a_formula_for_a_spreadsheet_and_nothing_is_lost(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN)

    def kept(text: str) -> str:
        made = page.evaluate("text => import('/static/js/table_file.js').then(({ csv }) => csv([{ id: text }]))", text)
        (row,) = read(made)
        assert isinstance(row["id"], str)
        return row["id"]

    for text in FORMULAS:
        assert kept(text) == f"'{text}", text
    assert kept("1881540927845654529") == "'1881540927845654529"  # a spreadsheet keeps 15 digits
    assert kept("05") == "05"

    @example("\x1f=")
    @example("\x85\u200b+1")
    @example('a"b')
    @example("a\r\nb;c,d")
    @given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    def holds(text: str) -> None:
        found = kept(text)
        assert found.removeprefix("'") == text.removeprefix("'")
        assert found.lstrip()[:1] not in {"=", "+", "-", "@"}

    holds()


def test_numbers_lists_and_what_is_not_known_have_their_forms(busy: str, desk: Desk) -> None:
    page = desk.open(busy, token=TOKEN)
    rows = [{"n": -1.5, "at": 1763085600.25, "none": None, "yes": True, "list": ["a", 1]}, {"more": "x"}]
    made = page.evaluate("rows => import('/static/js/table_file.js').then(({ csv }) => csv(rows))", rows)
    assert made == (
        f'{BOM}"n","at","none","yes","list","more"\r\n-1.5,"2025-11-14 10:00:00.250",,true,"[""a"",1]",\r\n,,,,,"x"\r\n'
    )
