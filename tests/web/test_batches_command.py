"""`faust -A app batches`, with workers that are fake and servers that are real."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import orjson
import pytest
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError

from app.cli.base import CommandError, table_lines
from app.cli.batches import _IN_CHINESE, HEADINGS, Request, _address, _run, _url, _WorkerWeb, full, row_cells
from app.settings import Settings
from app.words import told
from tests.integration.support.worker import PATIENT, clean_environment
from tests.ports import own_port
from tests.web.fake_worker import FakeWorker
from tests.web.live_cluster import PATIENCE, TOKEN, Live, on_cluster

SHANGHAI = ZoneInfo("Asia/Shanghai")
SETTINGS = Settings(web_token=TOKEN)
OPTIONS: dict[str, Any] = dict.fromkeys(("batch_id", "seconds", "status", "limit", "operator")) | {"as_json": False}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes its time."""
    monkeypatch.setattr("app.cli.batches.SECONDS", PATIENCE)
    monkeypatch.setattr("app.cli.batches.PROBE_SECONDS", PATIENCE)


def commanded(
    workers: list[FakeWorker], *commands: tuple[dict[str, Any], int], settings: Settings = SETTINGS
) -> Callable[[list[Live]], Awaitable[None]]:
    """A test that gives the first worker these commands, each with its options and its exit code."""

    async def test(live: list[Live]) -> None:
        for options, code in commands:
            assert await _run(settings, workers[0].url, Request(**OPTIONS | options)) == code

    return test


def two() -> list[FakeWorker]:
    first, second = FakeWorker(0), FakeWorker(1)
    first.add_closed("T_1", at=1_763_085_601.0)
    second.open("T_2", ["A", "B\x1b[31m"], at=1_763_085_602.0, partition=1)
    second.arrive("T_2", {"A": ("f", "ValueError: no\nreason")}, partition=1)
    first.home = 1
    return [first, second]


def test_a_list_is_a_table_of_the_whole_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    workers = two()
    on_cluster(workers, commanded(workers, ({"action": "list"}, 0)))
    head, second, first = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["BATCH", "STATUS", "BY", "ARRIVED"]
    assert second.split()[:6] == ["T_2", "open", "-", "1/2", "1", "-"]
    assert second.split()[6:10] == ["2025-11-14", "10:00:02", "2025-11-14", "10:00:07"]
    assert second.endswith(f" s  {workers[1].url}")
    assert first.split()[:6] == ["T_1", "complete", "all", "1/1", "-", "-"]
    assert first.split()[-2:] == ["-", workers[0].url]


def test_a_list_goes_through_pages_and_says_that_there_are_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cli.batches.PAGE", 3)
    workers = [FakeWorker(0)]
    for number in range(8):
        workers[0].open(f"T_{number}", ["A"], at=float(number))
    commands = [({"action": "list", "limit": limit, "as_json": True, "status": "open"}, 0) for limit in (7, 8)]
    on_cluster(workers, commanded(workers, *commands))
    shown = capsys.readouterr()
    ids = [orjson.loads(line)["batch_id"] for line in shown.out.splitlines()]
    assert ids == [f"T_{number}" for number in (7, 6, 5, 4, 3, 2, 1)] + [f"T_{number}" for number in reversed(range(8))]
    assert shown.err == "only the newest 7 batches listed; --limit takes more\n"


def test_a_list_that_is_not_complete_is_a_failure_and_names_who_did_not_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    workers = two()
    workers[1].is_ready = False
    on_cluster(workers, commanded(workers, ({"action": "list"}, 1)))
    assert capsys.readouterr().err == (
        f"not complete: the worker at {workers[1].url} did not answer, or does not take the token of the one asked\n"
    )


def test_no_batches_are_said_to_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    workers = [FakeWorker(0)]
    on_cluster(workers, commanded(workers, ({"action": "list"}, 0)))
    assert capsys.readouterr().out == "no batches\n"


def test_one_batch_is_shown_with_its_stations(capsys: pytest.CaptureFixture[str]) -> None:
    workers = two()
    on_cluster(workers, commanded(workers, ({"action": "show", "batch_id": "T_2"}, 0)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["batch_id:     T_2", "status:       open"]
    assert lines[-5:] == [
        "arrived:      1 of 2",
        "missing (1):",
        "    B\\x1b[31m",
        "failed (1):",
        "    A: ValueError: no\\nreason",
    ]


def test_stations_that_were_skipped_are_told_from_those_that_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    worker = FakeWorker()
    worker.open("T_1", ["A", "B", "C", "D"], at=100.0)
    worker.arrive("T_1", {"A": ("r", '{"station_id":"A"}')}, at=101.0)
    worker.arrive("T_1", {"B": ("s", "out of time")}, at=105.0)
    worker.expire("T_1", at=105.0)
    worker.publish("T_1")
    worker.arrive("T_1", {"D": ("s", "out of time")}, at=106.0)
    on_cluster([worker], commanded([worker], ({"action": "show", "batch_id": "T_1"}, 0)))
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-6:] == [
        "arrived:      1 of 4",
        "missing (1):",
        "    C",
        "skipped (2):",
        "    B",
        "    D",
    ]
    assert shown.err == ""


def test_a_batch_is_shown_also_where_its_course_can_not_be_had(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = _WorkerWeb.ask

    async def without_timeline(self: _WorkerWeb, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        if path.endswith("/timeline"):
            raise CommandError("broker away")
        return await ask(self, method, path, body)

    monkeypatch.setattr(_WorkerWeb, "ask", without_timeline)
    workers = two()
    on_cluster(workers, commanded(workers, ({"action": "show", "batch_id": "T_2"}, 0)))
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-4] == "missing (1):"
    assert shown.err == "which of the missing stations were skipped is not known: broker away\n"


def test_actions_are_commands_by_who_asks(capsys: pytest.CaptureFixture[str]) -> None:
    workers = two()
    extend = {"action": "extend", "batch_id": "T_2", "seconds": 10.0, "operator": "张 伟"}
    discard = {"action": "discard", "batch_id": "T_2", "operator": "w", "as_json": True}
    on_cluster(workers, commanded(workers, (extend, 0), (discard, 0)))
    said, answer = capsys.readouterr().out.splitlines()
    assert said == "extend of T_2 by 张 伟 is accepted; deadline 2025-11-14 10:00:17"
    assert orjson.loads(answer)["action"] == "discard"
    assert [(command.by, command.seconds) for command in workers[0].commands] == [("张 伟", 10.0), ("w", 0.0)]


@pytest.mark.parametrize(
    ("options", "settings", "message"),
    [
        ({"action": "complete", "batch_id": "no"}, SETTINGS, "batch no is not known"),
        ({"action": "complete", "batch_id": "T_0"}, SETTINGS, "batch T_0 is closed: complete, by all"),
        ({"action": "extend", "batch_id": "T_9", "seconds": -1.0}, SETTINGS, "seconds: Input should be greater than 0"),
        ({"action": "list"}, Settings(), "no token was given"),
        ({"action": "complete", "batch_id": "no"}, Settings(web_token="no"), "the token is wrong: "),  # noqa: S106
    ],
)
def test_a_refusal_is_said_as_the_worker_says_it(options: dict[str, Any], settings: Settings, message: str) -> None:
    workers = [FakeWorker(0)]
    workers[0].add_closed("T_0", at=1.0)
    with pytest.raises(CommandError, match=message):
        on_cluster(workers, commanded(workers, (options, 0), settings=settings))


@pytest.mark.parametrize(
    ("options", "settings", "message"),
    [
        ({"action": "show", "batch_id": "no"}, SETTINGS, "没有这个批次：从未建立，或已被遗忘"),
        ({"action": "complete", "batch_id": "T_0"}, SETTINGS, "该批次已关闭；"),
        ({"action": "list"}, Settings(), "令牌未给出或有误："),
        ({"action": "list"}, Settings(web_token="no"), "令牌未给出或有误："),  # noqa: S106
        ({"action": "extend", "batch_id": "T_9", "seconds": -1.0}, SETTINGS, "seconds: Input should be greater than 0"),
    ],
)
def test_a_refusal_is_said_in_chinese_by_its_code(options: dict[str, Any], settings: Settings, message: str) -> None:
    workers = [FakeWorker(0)]
    workers[0].add_closed("T_0", at=1.0)
    with pytest.raises(CommandError) as refused:
        on_cluster(workers, commanded(workers, (options, 0), settings=settings))
    assert told(refused.value, "zh").startswith(message)


def test_every_refusal_of_a_batch_has_its_chinese() -> None:
    web = Path(__file__).parents[2] / "app" / "web"
    source = "".join((web / name).read_text() for name in ("routers/batches.py", "operators.py"))
    codes = set(re.findall(r'HTTPStatus\.[A-Z_]+, "([a-z-]+)"', source)) - {"bad-request"}
    assert {"unknown-batch", "read-only"} < codes
    assert codes <= _IN_CHINESE.keys()


def test_something_else_at_the_address_is_no_workers_web() -> None:
    async def asking() -> None:
        async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")
            writer.close()

        async with await asyncio.start_server(other, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(CommandError, match="is no worker's web"):
                await _run(SETTINGS, url, Request(**OPTIONS | {"action": "list"}))
        with pytest.raises(CommandError, match=f"no worker's web answers at {url}"):
            await _run(SETTINGS, url, Request(**OPTIONS | {"action": "list"}))

    asyncio.run(asking())


@pytest.mark.parametrize(
    ("given", "option", "url"),
    [
        ({}, None, "http://127.0.0.1:6066"),
        ({"web_port": 80}, "https://w.lan/", "https://w.lan"),
        ({}, "http://w.lan:1/plant/a/", "http://w.lan:1/plant/a"),
        ({}, "http://[::1]:1", "http://[::1]:1"),
        ({}, "http://主机:1", "http://xn--tiq422d:1"),
        ({"web_host": "0.0.0.0", "web_token": "t", "web_port": 80}, None, "http://127.0.0.1:80"),  # noqa: S104
        ({"web_host": "::1"}, None, "http://[::1]:6066"),
        ({"web_advertised_url": "http://w.lan:1", "web_port": 0}, None, "http://w.lan:1"),
    ],
)
def test_the_address_is_made_of_the_settings(given: dict[str, Any], option: str | None, url: str) -> None:
    assert _url(Settings(**given), option) == url


def test_a_port_that_only_the_worker_knows_has_to_be_given() -> None:
    with pytest.raises(click.UsageError, match="give --url"):
        _url(Settings(web_port=0), None)


@pytest.mark.parametrize(
    "url",
    ["http://[bad", "http://", "http://h:99999", "http://h:0", "http://h:1?a=b", "http://h:1#a", "http://h h:1",
     "http://h:1/a b", "http://u:geheim@h:1", "ftp://h", "h:1", ""],
)  # fmt: skip
def test_what_is_no_url_of_a_web_is_refused_before_anything_is_asked(url: str) -> None:
    with pytest.raises(click.UsageError) as refused:
        _url(Settings(), url)
    assert refused.value.message == "--url must be http://host:port or https://host:port"
    assert told(refused.value.message, "zh") == "--url 必须为 http://host:port 或 https://host:port"


def found(monkeypatch: pytest.MonkeyPatch, urls: list[str] | Exception, **given: Any) -> str:
    """The address that is asked where the broker knows of these workers."""

    async def worker_urls(settings: Settings) -> list[str]:
        if isinstance(urls, Exception):
            raise urls
        return urls

    monkeypatch.setattr("app.cli.batches.worker_urls", worker_urls)
    return asyncio.run(_address(Settings(**given), None))


def test_workers_are_where_the_broker_says_that_those_of_the_app_id_are(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = two()

    async def test(live: list[Live]) -> None:
        first, second = (worker.url for worker in workers)
        nobody = f"http://127.0.0.1:{own_port()}"

        def ask(*urls: str, **given: Any) -> str:
            return found(monkeypatch, list(urls), **given)

        assert await asyncio.to_thread(ask, second, first) == second
        assert await asyncio.to_thread(ask, nobody, "no URL", second) == second
        # Of several the one of this machine with these settings; not what else listens there.
        port = int(first.rpartition(":")[2])
        assert await asyncio.to_thread(ask, second, first, web_port=port) == first
        assert await asyncio.to_thread(ask, second, web_port=port) == second
        with pytest.raises(
            CommandError, match=f"no worker's web answers at {nobody}, where the workers of AGG_APP_ID=x"
        ):
            await asyncio.to_thread(ask, nobody, app_id="x")

    on_cluster(workers, test)


def test_an_address_that_is_set_is_asked_without_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, KafkaConnectionError(), web_advertised_url="http://w.lan:1") == "http://w.lan:1"


def test_a_group_without_workers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match=r"no worker of AGG_APP_ID=x is in its group at b:1: start one"):
        found(monkeypatch, [], app_id="x", broker="kafka://b:1")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KafkaConnectionError(), "no broker answers at b:1: start it, or set AGG_BROKER"),
        (GroupAuthorizationFailedError(), "Kafka does not let "),
        (TimeoutError(), "the broker at b:1 has not said where workers are."),
    ],
)
def test_where_the_broker_does_not_tell_the_settings_do(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert found(monkeypatch, error, broker="kafka://b:1", web_port=7001) == "http://127.0.0.1:7001"
    told = capsys.readouterr().err
    assert told.startswith(said)
    assert told.endswith(" Asking http://127.0.0.1:7001, made of AGG_WEB_HOST and AGG_WEB_PORT\n")


def test_a_table_is_cut_at_the_terminals_width() -> None:
    row = {
        "batch_id": "T\n" + "a" * 300,
        "status": "open",
        "completed_by": None,
        "worker": "http://w",
        **dict.fromkeys(("expected_count", "arrived_count", "failed_count", "empty_count"), 0),
        **dict.fromkeys(("opened_at", "deadline"), 1e300),
    }
    lines = table_lines(HEADINGS, [row_cells(row, SHANGHAI, 0.0)], 80)
    assert [len(line) for line in lines] == [80, 80]
    assert "\n" not in lines[1]
    assert full(
        row | {"revision": 0, "partition": 0, "closed_at": None, "missing": [], "failed": [], "empty": []}, SHANGHAI
    )


def test_it_is_a_command_of_the_application(tmp_path: Path) -> None:
    workers = two()

    async def test(live: list[Live]) -> None:
        for arguments, token, code in (
            ([], TOKEN, 0),
            (["list", "--status", "open"], TOKEN, 0),
            (["complete", "T_2"], "wrong", 1),
            (["extend", "T_2"], TOKEN, 2),
        ):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", PATIENT.module, "-A", "app", "batches", *arguments),
                cwd=tmp_path,
                env=clean_environment(web_token=token, web_advertised_url=workers[0].url),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            try:
                out, _ = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            assert process.returncode == code, out
            assert (b"T_2" in out) == (code == 0)
            assert TOKEN.encode() not in out

    on_cluster(workers, test)
