"""The cluster as one worker sees it: it asks each other worker for its share of an answer, within a deadline.

It asks internal paths, which never ask further. A redirect is not followed, so that the token goes nowhere else than
to the URLs that the members of the group have announced.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
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

    def __init__(self, state: WorkerState, tokens: Sequence[str] = ()) -> None:
        """Connects to nothing yet.

        Args:
            state: this worker.
            tokens: the bearer tokens that all workers share, the operators' first. While they are being changed, a
                worker may have but one of them: the one that it takes is asked with.
        """
        self._state = state
        self._headers: list[dict[str, str]] = [{"authorization": f"Bearer {token}"} for token in tokens] or [{}]
        self._taken: dict[str, int] = {}  # by URL, which of these the worker has taken
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
        first = self._taken.get(url, 0)
        for number in (first, *(other for other in range(len(self._headers)) if other != first)):
            async with self._connected().get(address, headers=self._headers[number], allow_redirects=False) as answer:
                status = answer.status
                if status == HTTPStatus.UNAUTHORIZED:
                    continue
                self._taken[url] = number
                self._refusing.discard(url)
                if status == HTTPStatus.OK:
                    return await answer.read()
                break
        else:
            self._note_refusal(url)
        message = f"the worker at {url} answers with status {status}"
        raise NoAnswer(message)

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, limit_per_host=_CONNECTIONS, keepalive_timeout=_KEPT_ALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session

    def _note_refusal(self, url: str) -> None:
        """Log once that a worker has another token: otherwise nobody would see why its share is always missing."""
        self._taken.pop(url, None)
        if url not in self._refusing:
            tell(logger, logging.WARNING, self._state.settings.log_language, Line.TOKEN_REFUSED, url=url)
        self._refusing.add(url)
