"""The command `faust -A app batches`: a look at the batches, and an operator's actions, through a worker's web."""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import aiohttp
import click
import orjson
from aiokafka.errors import KafkaError
from faust.cli.base import argument
from yarl import URL

from app.cli.base import (
    FAILED,
    TEXT,
    CommandError,
    PlainCommand,
    Seconds,
    broker_problem,
    command,
    complain,
    json_option,
    option,
    say,
    shown_time,
    table_lines,
    terminal_width,
)
from app.kafka.members import worker_urls
from app.observability.log_lines import printable
from app.settings import Settings
from app.settings.types import web_url
from app.web.access import http_url
from app.words import Words, both_of, words
from tables.model.enums import Action

if TYPE_CHECKING:
    from app.worker.app import AggregatorApp

LIST: Final = "list"
SHOW: Final = "show"
SECONDS: Final = 10.0  # that a request may take
BROKER_SECONDS: Final = 10.0  # for which the broker is asked where workers are
PROBE_SECONDS: Final = 2.0  # for which a worker that the broker knows is asked whether it is there
PAGE: Final = 1000
HEADINGS: Final = ("BATCH", "STATUS", "BY", "ARRIVED", "FAILED", "EMPTY", "OPENED", "DEADLINE", "LEFT", "WORKER")
_NAME_SHOWN: Final = 120
# The API's errors by their code, which is for programs; its texts are in English.
_IN_CHINESE: Final = {
    "unknown-batch": "没有这个批次：从未建立，或已被遗忘",
    "being-recovered": "该批次的分区正由某个 worker 接手；请稍后再试",
    "no-owner": "被问到的 worker（还）不在消费组中",
    "owner-away": "该批次所在的 worker 没有应答",
    "batch-closed": "该批次已关闭；可用 show 查看",
    "not-confirmed": "Kafka 没有确认该操作：它仍有可能被执行；请查看该批次",
    "actions-disabled": "操作需要令牌：请为所有 worker 设置 AGG_WEB_TOKEN",
    "read-only": "此令牌是 AGG_WEB_READ_TOKEN，只能查看；操作需要 AGG_WEB_TOKEN",
    "unauthorized": "令牌未给出或有误：需要 worker 所设的 AGG_WEB_TOKEN 或 AGG_WEB_READ_TOKEN",
    "too-many-requests": "请求过于频繁；请稍后再试",
    "bad-host": "--url 中的主机必须是该 worker 的：回环地址、AGG_WEB_HOST，或 AGG_WEB_ADVERTISED_URL 中的主机",
    "internal-server-error": "这是程序缺陷；详情见 worker 的日志",
}
_SKIPPED: Final = "skipped"  # see `app.web.models.OutcomeStatus`, whose import costs a command a tenth of a second

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """The command's arguments."""

    action: str
    batch_id: str | None
    seconds: float | None
    status: str | None
    limit: int | None
    as_json: bool
    operator: str | None


def register_batches(app: AggregatorApp) -> None:
    """Make `batches` a command of `faust -A app`."""
    settings = app.settings

    @command(
        app,
        *_options(settings),
        zh="""列出批次，显示其中一个，或完成、丢弃、延长它。

        \b
        faust -A app batches [list] [--status open]
        faust -A app batches show BATCH_ID
        faust -A app batches complete BATCH_ID
        faust -A app batches discard BATCH_ID
        faust -A app batches extend BATCH_ID --seconds 10

        经 HTTP 询问任一 worker，由它代表全部作答；AGG_APP_ID 的 worker 在哪里由 Kafka 给出。
        worker 设有令牌时取自 AGG_WEB_TOKEN（操作需要它）或 AGG_WEB_READ_TOKEN。

        退出码：结果完整或操作已受理为 0，否则为 1，选项有误为 2。
        """,
    )
    def batches(self: PlainCommand, *, url: str | None, **given: Any) -> int:  # noqa: ARG001
        """List batches, show one, or complete, discard or extend it.

        \b
        faust -A app batches [list] [--status open]
        faust -A app batches show BATCH_ID
        faust -A app batches complete BATCH_ID
        faust -A app batches discard BATCH_ID
        faust -A app batches extend BATCH_ID --seconds 10

        Any worker is asked over HTTP and answers for all of them; the broker knows where those of AGG_APP_ID are.
        Where the workers have a token it is taken from AGG_WEB_TOKEN, which actions need, or from AGG_WEB_READ_TOKEN.

        The exit code is 0 when the answer is whole or the action is accepted, 1 when not, 2 when an option is wrong.
        """  # noqa: D301 - `\b` is click's
        request = Request(**given)
        _check(request)
        return asyncio.run(_find_and_run(settings, url, request))


def _options(settings: Settings) -> tuple[Any, ...]:
    """Make the arguments and options of the command."""
    actions = [LIST, SHOW, *(action.value for action in Action)]
    return (
        argument("action", type=click.Choice(actions), default=LIST),
        argument("batch_id", required=False, type=TEXT),
        option(
            settings,
            "--seconds",
            type=Seconds(),
            help=words("How far `extend` moves the deadline.", "`extend` 把截止时间推迟多少秒。"),
        ),
        option(
            settings,
            "--status",
            type=click.Choice(["open", "closed"]),
            help=words("`list` only these.", "`list` 只列出这些。"),
        ),
        option(
            settings,
            "--limit",
            type=click.IntRange(min=1),
            help=words("`list` so many, the newest; default 100.", "`list` 最新的多少个；默认 100。"),
        ),
        json_option(
            settings,
            words("JSON: an object a line for `list`, else the answer.", "JSON：`list` 每行一个对象，其他为应答。"),
        ),
        option(
            settings,
            "--url",
            help=words(
                "A worker's web; default: AGG_WEB_ADVERTISED_URL, or what the broker says of the group.",
                "某个 worker 的网页；默认为 AGG_WEB_ADVERTISED_URL，或由 Kafka 给出。",
            ),
        ),
        option(
            settings,
            "--operator",
            help=words("Who acts; default: the user's name on this machine.", "操作员姓名；默认为本机用户名。"),
        ),
    )


def _check(request: Request) -> None:
    action = request.action
    message: Words | None = None
    if (action == LIST) != (request.batch_id is None):
        message = (
            words("a batch id is for all but list", "list 不需要批次 id")
            if action == LIST
            else words("{action} needs a batch id", "{action} 需要批次 id", action=action)
        )
    elif (action == Action.EXTEND) != (request.seconds is not None):
        message = (
            words("extend needs --seconds", "extend 需要 --seconds")
            if request.seconds is None
            else words("--seconds is for extend", "--seconds 只用于 extend")
        )
    elif action != LIST and (request.status is not None or request.limit is not None):
        message = words("--status and --limit are for list", "--status 和 --limit 只用于 list")
    if message is not None:
        raise click.UsageError(message)


async def _find_and_run(settings: Settings, given: str | None, request: Request) -> int:
    return await _run(settings, await _address(settings, given), request)


async def _address(settings: Settings, given: str | None) -> str:
    """Return the URL of a worker's web: the one that is given or set, else one of the group's that answers.

    Where the broker does not tell, it is made of the settings: workers answer also when their broker is away.

    Raises:
        CommandError: no worker is in the group, or none of them answers.
        click.UsageError: it has to be given.
    """
    if given is not None or settings.web_advertised_url is not None:
        return _url(settings, given)
    servers = ", ".join(settings.bootstrap_servers)
    try:
        async with asyncio.timeout(BROKER_SECONDS):
            urls = await worker_urls(settings)
    except (KafkaError, OSError) as error:
        url = _url(settings, None)
        silent = words(
            "the broker at {servers} has not said where workers are",
            "{servers} 的 Kafka 没有给出 worker 的地址",
            servers=servers,
        )
        problem = silent if isinstance(error, TimeoutError) else await broker_problem(settings, error)
        complain(
            words(
                "{problem}. Asking {url}, made of AGG_WEB_HOST and AGG_WEB_PORT",
                "{problem}。改为询问 {url}（由 AGG_WEB_HOST 和 AGG_WEB_PORT 组成）",
                problem=problem,
                url=url,
            )
        )
        return url
    if not urls:
        message = words(
            "no worker of AGG_APP_ID={app_id} is in its group at {servers}: start one, or give --url",
            "{servers} 上没有 AGG_APP_ID={app_id} 的 worker：请启动一个，或给出 --url",
            app_id=settings.app_id,
            servers=servers,
        )
        raise CommandError(message)
    own = _own_url(settings)
    urls.sort(key=lambda url: url != own)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PROBE_SECONDS)) as session:
        for url in urls:
            if await _answers(session, url):
                return url
    message = words(
        "no worker's web answers at {urls}, where the workers of AGG_APP_ID={app_id} are: see the log whether one has "
        "ended, or is blocked by a callback; or give --url, by which this machine reaches one",
        "AGG_APP_ID={app_id} 的 worker 在 {urls}，但其网页没有应答：请查看日志，它是否已结束或被回调阻塞；"
        "或用 --url 给出本机可访问的地址",
        urls=", ".join(map(printable, urls)),
        app_id=settings.app_id,
    )
    raise CommandError(message)


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/healthz", allow_redirects=False):
            return True
    except (aiohttp.ClientError, OSError, ValueError):  # the last for what is no URL
        return False


def _url(settings: Settings, given: str | None) -> str:
    if given is not None:
        try:
            return web_url(given, prefix=True)
        except ValueError as error:
            message = words("--url {rule}", "--url {rule}", rule=both_of(error))
            raise click.UsageError(message) from error
    if settings.web_advertised_url is not None:
        return settings.web_advertised_url
    if settings.web_port == 0:
        message = words(
            "give --url: with AGG_WEB_PORT=0 each worker takes a port of its own, which its log names",
            "请给出 --url：AGG_WEB_PORT=0 时每个 worker 使用各自的端口，见其日志",
        )
        raise click.UsageError(message)
    return _own_url(settings)


def _own_url(settings: Settings) -> str:
    """Return where the web of a worker of this machine is that has these settings."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.web_host, settings.web_host)  # noqa: S104 - compared
    return http_url(host, settings.web_port)


async def _run(settings: Settings, url: str, request: Request) -> int:
    action = request.action
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as session:
        web = _WorkerWeb(session, url, settings, request.operator)
        if action == LIST:
            return await _list(web, settings.timezone, request)
        path = f"/batches/{quote(request.batch_id or '', safe='')}"
        if action == SHOW:
            batch = await web.ask("GET", path)
            if request.as_json:
                click.echo(orjson.dumps(batch))
                return 0
            skipped = await _skipped(web, path) if batch["missing"] else frozenset()
            click.echo("\n".join(full(batch, settings.timezone, skipped)))
            return 0
        body = None if request.seconds is None else {"seconds": request.seconds}
        accepted = await web.ask("POST", f"{path}/{action}", body)
        if request.as_json:
            click.echo(orjson.dumps(accepted))
        else:
            deadline = shown_time(accepted["deadline"], settings.timezone)
            by = printable(accepted["by"])
            say(
                words(
                    "{action} of {batch_id} by {by} is accepted; deadline {deadline}",
                    "{by} 对 {batch_id} 的 {action} 已受理；截止时间 {deadline}",
                    action=action,
                    batch_id=printable(accepted["batch_id"]),
                    by=by,
                    deadline=deadline,
                )
            )
        return 0


async def _skipped(web: _WorkerWeb, path: str) -> frozenset[str]:
    """Return the stations of a batch whose callback was not run: its deadline had passed before their turn came."""
    try:
        events = (await web.ask("GET", f"{path}/timeline"))["events"]
    except CommandError as error:
        complain(
            words(
                "which of the missing stations were skipped is not known: {error}",
                "无法得知缺失场站中哪些被跳过：{error}",
                error=both_of(error),
            )
        )
        return frozenset()
    return frozenset(event["station_id"] for event in events if event["status"] == _SKIPPED)


async def _list(web: _WorkerWeb, timezone: ZoneInfo, request: Request) -> int:
    limit = request.limit or 100
    rows: list[Row] = []
    incomplete: set[str] = set()
    cursor: str | None = ""
    while cursor is not None and len(rows) < limit:
        query = {"status": request.status or "", "limit": min(PAGE, limit - len(rows)), "cursor": cursor}
        page = await web.ask("GET", f"/batches?{urlencode(query)}")
        rows += page["batches"]
        incomplete.update(page["incomplete"])
        cursor = page["next"]
    if request.as_json:
        for row in rows:
            click.echo(orjson.dumps(row))
    elif rows:
        cells = [row_cells(row, timezone, time.time()) for row in rows]
        click.echo("\n".join(table_lines(HEADINGS, cells, terminal_width())))
    else:
        say(words("no batches", "没有批次"))
    if cursor is not None:
        complain(
            words(
                "only the newest {n:batch} listed; --limit takes more",
                "只列出最新的 {n} 个；--limit 可取更多",
                n=len(rows),
            )
        )
    for url in sorted(incomplete):
        complain(
            words(
                "not complete: the worker at {url} did not answer, or does not take the token of the one asked",
                "结果不完整：{url} 的 worker 没有应答，或不接受被询问的 worker 的令牌",
                url=printable(url),
            )
        )
    return FAILED if incomplete else 0


class _WorkerWeb:
    """A worker's web."""

    def __init__(self, session: aiohttp.ClientSession, url: str, settings: Settings, operator: str | None) -> None:
        self._session = session
        self._url = url
        self._headers = {"x-operator": quote(operator or _user())}
        if (token := settings.web_token or settings.web_read_token) is not None:
            self._headers["authorization"] = f"Bearer {token.get_secret_value()}"

    async def ask(self, method: str, path: str, body: Row | None = None) -> Row:
        """Return its answer.

        Raises:
            CommandError: it does not answer, or with an error.
        """
        url = URL(self._url + path, encoded=True)
        try:
            async with self._session.request(
                method, url, headers=self._headers, json=body, allow_redirects=False
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            message = words(
                "no worker's web answers at {url}: {error}; name one with --url",
                "{url} 没有 worker 的网页应答：{error}；请用 --url 指定",
                url=self._url,
                error=str(error) or repr(error),
            )
            raise CommandError(message) from error
        try:
            answered: Row = orjson.loads(content)
            if answer.ok and answer.status < 300:  # noqa: PLR2004 - a redirect is no answer
                return answered
            refusal = answered["error"]
            raise CommandError(_refusal_text(refusal["code"], refusal["message"]))
        except (ValueError, LookupError, TypeError) as error:
            message = words(
                "what answers at {url} with status {status} is no worker's web",
                "{url} 以状态码 {status} 应答的不是 worker 的网页",
                url=self._url,
                status=answer.status,
            )
            raise CommandError(message) from error


def _refusal_text(code: str, message: str) -> Words:
    """Return the API's text of an error, with the Chinese of its code where that has one."""
    text = printable(message)
    return Words(text, _IN_CHINESE.get(code, text))


def full(batch: Row, timezone: ZoneInfo, skipped: Collection[str] = ()) -> list[str]:
    """One batch with its stations, as lines; those of the missing that were skipped stand by themselves."""
    times = {name: shown_time(batch[name], timezone) for name in ("opened_at", "deadline", "closed_at") if batch[name]}
    named = {name: batch[name] for name in ("batch_id", "status", "completed_by", "revision", "partition", "worker")}
    lines = [
        f"{name}:".ljust(14) + printable(str(value)) for name, value in (named | times).items() if value is not None
    ]
    lines.append("arrived:".ljust(14) + f"{batch['arrived_count']} of {batch['expected_count']}")
    of_skipped = [station for station in batch["missing"] if station in skipped]
    missing = [station for station in batch["missing"] if station not in skipped]
    for name, stations in (("missing", missing), ("skipped", of_skipped), ("empty", batch["empty"])):
        if stations:
            lines.append(f"{name} ({len(stations)}):")
            lines += [f"    {printable(station, _NAME_SHOWN)}" for station in stations]
    if batch["failed"]:
        lines.append(f"failed ({len(batch['failed'])}):")
        lines += [
            f"    {printable(failure['station_id'], _NAME_SHOWN)}: {printable(failure['error'])}"
            for failure in batch["failed"]
        ]
    return lines


def row_cells(row: Row, timezone: ZoneInfo, now: float) -> tuple[str, ...]:
    """Return the cells of a batch under HEADINGS; `now` is Unix seconds."""
    return (
        printable(row["batch_id"], _NAME_SHOWN),
        row["status"],
        row["completed_by"] or "-",
        f"{row['arrived_count']}/{row['expected_count']}",
        str(row["failed_count"] or "-"),
        str(row["empty_count"] or "-"),
        shown_time(row["opened_at"], timezone),
        shown_time(row["deadline"], timezone),
        f"{row['deadline'] - now:.1f} s" if row["status"] == "open" else "-",
        printable(row["worker"], _NAME_SHOWN),
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a process whose user has no name
        return "shell"
