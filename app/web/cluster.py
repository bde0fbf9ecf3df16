"""The cluster as one worker sees it: it asks each other worker for its share of an answer, within a deadline.

It asks internal paths, which never ask further. A redirect is not followed, so that the token goes nowhere else than
to the URLs that the members of the group have announced.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, Generic, NamedTuple, TypeVar

import aiohttp
from yarl import URL

from app.observability.log_lines import Line, tell
from app.web.models import Answer
from app.web.state import WorkerState

logger = logging.getLogger(__name__)

T = TypeVar("T")

DEADLINE: Final = 1.4  # seconds that a worker has for its share, so that the whole is there within 2
INTERNAL: Final = "/internal"
_CONNECTIONS: Final = 16  # to one worker
_KEPT_ALIVE: Final = 4.0  # seconds; a worker's server closes what is idle for 5


class Share(Answer, Generic[T]):
    """A worker's own share of an answer, and the partitions that it covers: those that it owns and has recovered."""

    partitions: frozenset[int]
    answer: T


Reader = Callable[[bytes], Share[T]]  # raises ValueError for bytes that are no share


class Gathered(NamedTuple, Generic[T]):
    """The shares of the workers that have answered, ours first, and the URLs of those that have not, or not for all."""

    shares: list[T]
    incomplete: list[str]


def share_of(state: WorkerState, answer: T) -> Share[T]:
    """Return this worker's share; while it is not sure of its partitions, it covers none."""
    return Share(partitions=frozenset(state.working_sets()) if state.ready() else frozenset(), answer=answer)


class NoAnswer(Exception):  # noqa: N818 - says it
    """A worker has not answered in time, or its answer can't be used; the text says how."""


class Cluster:
    """The workers of the group, as one of them sees them."""

    def __init__(self, state: WorkerState, token: str | None) -> None:
        """Connects to nothing yet.

        Args:
            state: this worker.
            token: the bearer token that all workers share; None: they have none.
        """
        self._state = state
        self._headers = {"authorization": f"Bearer {token}"} if token is not None else {}
        self._session: aiohttp.ClientSession | None = None
        self._refusing: set[str] = set()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def gather(self, path: str, own: Awaitable[T], read: Reader[T], *, local: bool = False) -> Gathered[T]:
        """Return this worker's share and, unless `local`, those of all others.

        Args:
            path: the internal path, with its query, that answers with the share of a worker.
            own: makes this worker's share.
            read: reads the share of another.
            local: ask nobody else.
        """
        members = (
            {} if local else {url: owned for url, owned in self._state.members().items() if url != self._state.url}
        )
        asking = [asyncio.ensure_future(self.ask(url, path, read)) for url in members]
        try:
            gathered = Gathered([await own], [] if self._state.ready() else [self._state.url])
            for url, answer in zip(members, await asyncio.gather(*asking, return_exceptions=True), strict=True):
                if isinstance(answer, Share):
                    gathered.shares.append(answer.answer)
                elif not isinstance(answer, NoAnswer):
                    raise answer
                if isinstance(answer, NoAnswer) or not answer.partitions >= members[url]:
                    gathered.incomplete.append(url)
        finally:
            for task in asking:
                task.cancel()
        return gathered

    async def ask(self, url: str, path: str, read: Reader[T]) -> Share[T]:
        """Return the share of one worker.

        Raises:
            NoAnswer: It has not given it within the deadline.
        """
        try:
            async with asyncio.timeout(DEADLINE):
                body = await self._get(url, path)
            return read(body)
        except TimeoutError:
            message = f"the worker at {url} has not answered within {DEADLINE:g} s"
        except (aiohttp.ClientError, OSError) as error:
            message = f"the worker at {url} can't be asked: {error or repr(error)}"
        except ValueError:  # pydantic's is one
            message = f"the worker at {url} answers in another way: is it of another version?"
        raise NoAnswer(message)

    async def _get(self, url: str, path: str) -> bytes:
        address = URL(url + INTERNAL + path, encoded=True)
        async with self._connected().get(address, headers=self._headers, allow_redirects=False) as answer:
            self._note_refusal(url, refused=answer.status == HTTPStatus.UNAUTHORIZED)
            if answer.status != HTTPStatus.OK:
                message = f"the worker at {url} answers with status {answer.status}"
                raise NoAnswer(message)
            return await answer.read()

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, limit_per_host=_CONNECTIONS, keepalive_timeout=_KEPT_ALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session

    def _note_refusal(self, url: str, *, refused: bool) -> None:
        """Log once that a worker has another token: otherwise nobody would see why its share is always missing."""
        if refused and url not in self._refusing:
            tell(logger, logging.WARNING, self._state.settings.log_language, Line.TOKEN_REFUSED, url=url)
        (self._refusing.add if refused else self._refusing.discard)(url)
