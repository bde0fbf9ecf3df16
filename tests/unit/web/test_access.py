"""Under which URL other workers reach this one, and how they learn it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from faust.assignor.client_assignment import ClientAssignment

from app.kafka.assignor import AggregatorAssignor
from app.settings import Settings
from app.web.access import advertised_url

LISTENS = "http://0.0.0.0:6066"


def settings(**given: Any) -> Settings:
    return Settings(**{"web_token": "t", **given})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.0.0.1", "w.lan"])
def test_it_is_where_the_server_listens(host: str) -> None:
    url = f"http://{host}:6066"
    assert advertised_url(settings(web_host=host), url) == url


def test_it_is_what_is_set() -> None:
    url = "https://w.lan:443"
    assert advertised_url(settings(web_host="0.0.0.0", web_advertised_url=url), LISTENS) == url  # noqa: S104


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104
def test_on_all_addresses_it_is_the_one_that_the_broker_sees(host: str) -> None:
    own = settings(web_host=host, broker="kafka://127.0.0.1:9092")
    assert advertised_url(own, LISTENS) == "http://127.0.0.1:6066"


def test_with_no_broker_to_be_found_it_is_the_machines_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "machine")
    own = settings(web_host="0.0.0.0", broker="kafka://nowhere.invalid:9092")  # noqa: S104
    assert advertised_url(own, LISTENS) == "http://machine:6066"


# -- how they learn it -------------------------------------------------------------------------------------------------


def assignor(members: dict[str, str]) -> AggregatorAssignor:
    tables = SimpleNamespace(changelog_topics={"changelog"})
    app = SimpleNamespace(tables=tables, url="http://a:1", settings=settings())
    made = AggregatorAssignor(app)  # type: ignore[arg-type]
    made._member_urls = dict(members)
    return made


def assigned(*partitions: int) -> ClientAssignment:
    actives = {"events": list(partitions), "changelog": list(partitions)} if partitions else {}
    return ClientAssignment(actives=actives, standbys={})


def test_each_worker_learns_the_partitions_of_all() -> None:
    leader = assignor({"1": "http://a:1", "2": "http://b:1/", "3": "http://c:1"})
    distribution = leader._get_external_topic_distribution({"1": assigned(0, 2), "2": assigned(1), "3": assigned()})
    leader.external_topic_distribution = distribution
    expected = {"http://a:1": frozenset({0, 2}), "http://b:1": frozenset({1}), "http://c:1": frozenset()}
    assert leader.members("events") == expected
    assert not any("changelog" in topics for topics in distribution.values())


def test_of_two_workers_with_one_url_nothing_is_forgotten_and_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    leader = assignor({"1": "http://a:1", "2": "http://a:1"})
    leader.external_topic_distribution = leader._get_external_topic_distribution({"1": assigned(0), "2": assigned(1)})
    assert leader.members("events") == {"http://a:1": frozenset({0, 1})}
    assert "give each its own AGG_WEB_ADVERTISED_URL" in caplog.text


def test_its_own_url_is_the_webs() -> None:
    assert str(assignor({})._url) == "http://a:1"
