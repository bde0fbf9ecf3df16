"""The API against its own description: whatever that allows is answered as it says, and what it does not is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from app.web import guard
from app.web.access import Access
from app.web.app import create_web
from tests.web.browser.scene import LETTER, LONG, MARKUP, OPEN, busy_worker
from tests.web.fake_worker import FakeWorker
from tests.web.live_cluster import TOKEN

Case = schemathesis.Case[Any]
HOST = "testserver"  # Schemathesis's
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
KNOWN = st.sampled_from([OPEN, "SCHEDULE-STATION-REALTIME-DATA_1763000000"])
STATIONS = st.sampled_from(["DUN00", "DUN05", MARKUP, LONG])
DESCRIPTION = create_web(FakeWorker(), Access(TOKEN)).openapi()
OPERATIONS = [(path, method) for path, methods in DESCRIPTION["paths"].items() for method in methods]


def can_be_violated(path: str, method: str) -> bool:
    """Whether the description forbids any input: a batch id may be any text."""
    operation = DESCRIPTION["paths"][path][method]
    return "requestBody" in operation or any(one["in"] == "query" for one in operation.get("parameters", ()))


@pytest.fixture(scope="module")
def described() -> Iterator[Any]:
    """The description of a busy worker; it may be asked far more often than any other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "_BURST", 1e9)
        patch.setattr(guard, "_WRONG_BURST", 1e9)
        web = create_web(busy_worker(), Access(TOKEN, names=frozenset({HOST})))
        yield schemathesis.openapi.from_asgi("/openapi.json", web, headers=RIGHT)


# Which Schemathesis does not take for a refusal.
TOO_LONG = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_URI_TOO_LONG)


def ask(case: Case) -> None:
    """Ask, and hold the answer against the description, all of whose statuses are named, and our headers."""
    answer = case.call(headers=RIGHT)
    if answer.status_code not in TOO_LONG:
        case.validate_response(answer, headers=RIGHT, transport_kwargs={"headers": RIGHT})
    assert str(answer.status_code) in case.operation.definition.raw["responses"] or answer.status_code == 405
    for name, value in guard.HEADERS:
        if name != b"cache-control":
            assert answer.headers[name.decode()] == [value.decode()]


def run(operation: Any, cases: st.SearchStrategy[Case]) -> None:
    settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))(given(cases)(ask))()


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_what_is_allowed_is_answered_as_described(path: str, method: str, described: Any) -> None:
    operation = described[path][method.upper()]

    @st.composite
    def cases(draw: st.DrawFn) -> Case:
        case: Case = draw(operation.as_strategy(GenerationMode.POSITIVE))
        if "cursor" in case.query:  # any text is none: one must have been given
            first = described[path]["GET"].Case(query={**case.query, "limit": 1, "cursor": ""})
            case.query["cursor"] = first.call(headers=RIGHT).json()["next"] or ""
        for name, known in (("batch_id", KNOWN), ("station_id", STATIONS), ("letter_id", st.just(LETTER))):
            if name in case.path_parameters and draw(st.booleans()):
                case.path_parameters[name] = draw(known)
        return case

    run(operation, cases())


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_who_has_no_token_is_answered_as_described(path: str, method: str, described: Any) -> None:
    known = dict.fromkeys(re.findall(r"{(\w+)}", path), OPEN)
    if "letter_id" in known:
        known["letter_id"] = LETTER
    case = described[path][method.upper()].Case(path_parameters=known)
    answer = case.call()
    assert answer.status_code == (200 if path in {"/", "/healthz", "/readyz"} else 401)
    case.validate_response(answer)


@pytest.mark.parametrize(("path", "method"), [one for one in OPERATIONS if can_be_violated(*one)])
def test_what_is_not_allowed_is_refused(path: str, method: str, described: Any) -> None:
    operation = described[path][method.upper()]
    run(operation, operation.as_strategy(GenerationMode.NEGATIVE, headers=RIGHT))
