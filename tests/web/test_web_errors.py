"""Health, errors, and what stands before every request and behind every answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest

from tables.working_set import WorkingSet
from tests.web.asking import ask, get
from tests.web.fake_worker import FakeWorker

SERVED = [
    "/stats",
    "/stations",
    "/history",
    "/heatmap",
    "/",
    "/healthz",
    "/readyz",
    "/batches",
    "/batches/{batch_id}",
    "/batches/{batch_id}/complete",
    "/batches/{batch_id}/discard",
    "/batches/{batch_id}/extend",
    "/batches/{batch_id}/output",
    "/batches/{batch_id}/timeline",
    "/stations/{station_id}",
    "/cluster",
    "/metrics",
    "/dead-letters",
    "/dead-letters/{letter_id}",
    "/dead-letters/replay",
    "/late",
    "/settings",
    "/sources",
    "/partitions",
]

# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "limit: Input should be greater than or equal to 1, got '0'"),
        ("limit=1001", "limit: Input should be less than or equal to 1000, got '1001'"),
        ("limit=-1", "limit: Input should be greater than or equal to 1, got '-1'"),
        ("status=partial", "status: Input should be 'open' or 'closed', got 'partial'"),
        ("cursor=x", "cursor: must be the `next` of an earlier answer"),
        ("cursor=W05hTiwiYSJd", "cursor: must be the `next` of an earlier answer"),  # [NaN,"a"]
        ("cursor=WzEsMl0", "cursor: must be the `next` of an earlier answer"),  # [1,2]
        ("cursor=%E5%9C%BA", "cursor: must be the `next` of an earlier answer"),
        ("since=soon", "since: must be Unix seconds, or a duration before now such as 15m or 1h30m, got 'soon'"),
        ("until=1w", "until: must be Unix seconds, or a duration before now such as 15m or 1h30m, got '1w'"),
        ("since=15m%0A", "since: must be Unix seconds, or a duration before now such as 15m or 1h30m, got '15m\\n'"),
    ],
)
def test_bad_input_is_400_and_says_what_is_allowed(query: str, message: str) -> None:
    answer = ask(FakeWorker(), f"/batches?{query}")
    assert answer.status_code == 400
    assert answer.json() == {"error": {"code": "bad-request", "message": message}}


@pytest.mark.parametrize("query", ["limit=ten", "limit=1.5", "limit=1&status=x"])
def test_other_bad_input_is_400_too(query: str) -> None:
    answer = ask(FakeWorker(), f"/batches?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad-request")


@pytest.mark.parametrize("path", ["/batches", "/stations", "/heatmap"])
def test_a_query_key_that_is_not_known_is_ignored(path: str) -> None:
    answer = ask(FakeWorker(), f"{path}?statuss=partial")
    assert (answer.status_code, answer.json()) == (200, ask(FakeWorker(), path).json())


def test_a_batch_that_is_not_known_is_404() -> None:
    answer = ask(FakeWorker(), "/batches/T_1")
    message = "batch T_1 is not known: never opened, or forgotten"
    assert answer.status_code == 404
    assert answer.json() == {"error": {"code": "unknown-batch", "message": message}}


@pytest.mark.parametrize(
    "path",
    ["/docs", "/redoc", "/table/", "/router", "/batches/", "/batches/a/b"],
)
def test_nothing_else_is_served(path: str) -> None:
    answer = ask(FakeWorker(), path)
    assert answer.status_code == 404
    assert answer.json() == {"error": {"code": "not-found", "message": f"there is nothing at {path}"}}


def test_another_method_is_405() -> None:
    answer = ask(FakeWorker(), "/batches", method="DELETE")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    message = "DELETE is not allowed on /batches; allowed: GET, HEAD"
    assert answer.json() == {"error": {"code": "method-not-allowed", "message": message}}


def test_a_405_names_the_methods_of_all_that_is_at_the_path() -> None:
    answer = ask(FakeWorker(), "/dead-letters/replay", method="PUT")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")


@pytest.mark.parametrize("path", ["/", "/healthz", "/batches", "/batches?limit=x", "/nothing", "/static/icon.svg"])
def test_head_is_answered_as_get_is_without_the_body(path: str) -> None:
    whole, head = ask(FakeWorker(), path), ask(FakeWorker(), path, method="HEAD")
    assert (head.status_code, head.content, dict(head.headers)) == (whole.status_code, b"", dict(whole.headers))
    assert whole.content != b""


class BrokenWorker(FakeWorker):
    def working_sets(self) -> Mapping[int, WorkingSet]:
        raise LookupError("a secret")


def test_a_bug_is_500_that_tells_the_log_and_not_the_asker(caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(BrokenWorker(), "/batches")
    assert answer.status_code == 500
    message = "this is a bug; the worker's log has the details"
    assert answer.json() == {"error": {"code": "internal-server-error", "message": message}}
    failures = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in failures] == ["GET /batches failed"]
    assert "a secret" in caplog.text


# -- health, guard, description ----------------------------------------------------------------------------------------


def test_a_worker_is_ready_once_its_assignment_is_recovered_and_live_before() -> None:
    worker = FakeWorker()
    assert (get(worker, "/healthz"), get(worker, "/readyz")) == ({"status": "ok"}, {"status": "ok"})
    worker.is_ready = False
    assert ask(worker, "/healthz").status_code == 200
    answer = ask(worker, "/readyz")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not-ready")
    worker.is_live = False
    answer = ask(worker, "/healthz")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not-live")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/batches?limit=x", 400),
        ("GET", "/nothing", 404),
        ("POST", "/batches", 405),
        ("GET", "/batches", 500),
    ],
)
def test_every_answer_has_the_headers_that_keep_browsers_in_check(method: str, path: str, status: int) -> None:
    answer = ask(BrokenWorker(), path, method=method)
    assert answer.status_code == status
    csp = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert answer.headers["content-security-policy"] == csp
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1:6066", "localhost:80", "LOCALHOST", "[::1]", "[::1]:6066"])
def test_a_host_that_is_loopback_is_served(host: str) -> None:
    assert ask(FakeWorker(), "/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:6066", "192.168.0.1", "10.0.0.1", "[::2]"),
        *("::1", "", "127.0.0.1:x", "a@127.0.0.1", "127.0.0.1 evil"),
    ],
)
def test_another_host_is_refused_because_its_name_may_have_been_rebound(host: str) -> None:
    answer = ask(FakeWorker(), "/healthz", headers={"host": host})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad-host")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_two_hosts_are_refused() -> None:
    headers = [("host", "127.0.0.1"), ("host", "evil.example")]
    assert ask(FakeWorker(), "/healthz", headers=headers).status_code == 400


def test_the_description_names_what_is_served_and_errors_as_they_are() -> None:
    description = get(FakeWorker(), "/openapi.json")
    assert sorted(description["paths"]) == sorted(SERVED)
    answers = description["paths"]["/batches"]["get"]["responses"]
    assert set(answers) == {"200", "400", "401", "413", "414", "429", "431", "500", "default"}
    for status in set(answers) - {"200"}:
        schema = answers[status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}


def test_a_method_that_is_far_too_long_is_shown_in_part() -> None:
    answer = ask(FakeWorker(), "/batches", method="M" * 10_000)
    assert answer.status_code == 405
    assert len(answer.json()["error"]["message"]) < 500
