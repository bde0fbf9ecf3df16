"""Dead letters and late results, read from their topics, and dead letters sent again.

Any worker reads the whole topics, so it answers for the cluster without asking the others.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.messages.dead_letters import Letter, Reason, last_line, place_of, read_letter
from app.messages.late import read_late
from app.messages.message import InMessage
from app.messages.partitioner import partition_of
from app.messages.replays import CLOCK_SLACK, Fate, Filters, Replay, ReplayLog, parse_place
from app.observability.log_lines import Line, names, tell
from app.web.backwards import ANSWER_SECONDS, Page, Readings, newest_first, read_cursor
from app.web.errors import Refusal, api_router, described
from app.web.filters import SinceQuery, UntilQuery, moment_of
from app.web.models import Answer
from app.web.operators import FORBIDDEN, action_route, operator_of
from app.web.paging import LIMIT, CursorQuery, LimitQuery, MayBeEmpty, Shape
from app.web.state import WorkerState
from app.web.topics import OpenTopic, Window

logger = logging.getLogger(__name__)

_PLACE: Final = r"^[0-9]{1,9}@[0-9]{1,18}$"
_ERROR_SHOWN: Final = 1000  # characters, in a list
VALUE_BYTES: Final = 1024 * 1024  # of a letter's value, in an answer
MOST_IDS: Final = 100  # letters that one request sends again
REPLAY_SECONDS: Final = 8.0
_LATE_SLACK: Final = 60.0  # seconds by which clocks may differ
_PAYLOADS: Final = frozenset({Reason.DISCARDED, Reason.HANDLER_FAILED})  # whose letters hold a batch's payload
_LOG_WINDOW: Final = 5_000  # records of what has been replayed that are read at once
_LOG_BYTES: Final = 4 * 1024 * 1024

_UNREADABLE: Final = described({503: "Kafka does not answer, or too many read from it just now"})
_UNKNOWN: Final = _UNREADABLE | described({404: "There is no such letter, or not any more"})
_REPLAY_ANSWERS: Final = described(
    {
        403: FORBIDDEN,
        404: "There is none of these letters, or not any more",
        503: "Kafka does not answer, or has not confirmed all of them: what has been sent has a `replayed_at`",
    }
)


class LetterRow(Answer):
    """One dead letter. What it does not tell is null."""

    id: str = Field(description="`PARTITION@OFFSET` in the dead-letter topic, as the command shows it")
    reason: str
    error: str = Field(description="In a list one line, the exception, which says what happened")
    failed_at: float = Field(description="Unix seconds")
    batch_id: str | None
    station_id: str | None
    source_topic: str | None
    source_partition: int | None
    source_offset: int | None
    replayed_at: float | None = Field(description="When it was sent again last, Unix seconds; null: never")


class LetterDetail(LetterRow):
    """One dead letter with what it holds. Of bytes that are no UTF-8 only the field `…_base64` is there."""

    written_at: float = Field(description="When it was appended, Unix seconds")
    key: str | None
    key_base64: str | None
    value: str | None
    value_base64: str | None
    value_bytes: int = Field(description="Length of the whole value")
    value_cut: bool = Field(description=f"Whether only the first {VALUE_BYTES} bytes of the value are here")


class LetterList(Answer):
    """One page of dead letters, newest written first. A page with few rows may not be the last one."""

    letters: list[LetterRow]
    next: str | None = Field(description="The `cursor` of the next page; null on the last one")


class LateRow(Answer):
    """One result that came too late for its batch. What its message does not tell is null."""

    batch_id: str
    station_id: str | None
    status: str | None = Field(description="What came of the callback: `result`, `failed`, `empty` or `skipped`")
    reason: str | None
    revision: int | None = Field(description="Of the output that went without it")
    closed_at: float | None = Field(description="When its batch was closed, Unix seconds")
    timestamp: float = Field(description="When it came, Unix seconds")


class LateList(Answer):
    """One page of late results, newest written first. A page with few rows may not be the last one."""

    late: list[LateRow]
    next: str | None = Field(description="The `cursor` of the next page; null on the last one")


LetterId = Annotated[str, Shape(_PLACE, "PARTITION@OFFSET, such as 3@17")]
LetterPath = Annotated[LetterId, Path(description="`PARTITION@OFFSET`, as the list shows it")]
ReasonQuery = Annotated[Reason | None, MayBeEmpty(), Query(description="Only letters with this reason")]
TextQuery = Annotated[str | None, MayBeEmpty(), Query(description="Only this one")]


class ReplayRequest(BaseModel):
    """Letters to be sent again."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[LetterId], Field(min_length=1, max_length=MOST_IDS)]
    dry_run: Annotated[bool, Field(strict=True)] = Field(True, description="Only say what would be done")
    again: Annotated[bool, Field(strict=True)] = Field(False, description="Send also what has been sent again before")


class ReplayRow(Answer):
    """What comes of one letter."""

    id: str
    to: str | None = Field(description="The topic it would go to; once it is sent, the places where it stands")
    would: Fate = Field(
        description="`send`: it would be sent; `sent`: the broker has confirmed it; `sent-before`: it was sent again "
        "before, and `again` is needed; `impossible`: nothing can be sent for it; `failed`: it could not be sent now; "
        "`unknown`: there is no such letter"
    )
    why: str | None = Field(description="Why it is not sent; null where it is")


class ReplayAnswer(Answer):
    """What comes of each letter, in the order in which they were named."""

    letters: list[ReplayRow]
    by: str = Field(description="The header X-Operator, else the address that asked")
    dry_run: bool


class Letters:
    """The dead letters and late results of the cluster, as one worker reads them."""

    def __init__(self, state: WorkerState) -> None:
        self._state = state
        self._readings = Readings()
        self._replays = _Replays(state)
        self._sending = asyncio.Lock()

    def router(self) -> APIRouter:
        """Serve `/dead-letters` and `/late`."""
        router = api_router("letters")
        router.get("/dead-letters", responses=_UNREADABLE)(self.listing)
        router.get("/dead-letters/{letter_id}", responses=_UNKNOWN)(self.letter)
        router.get("/late", responses=_UNREADABLE)(self.late)
        return router

    async def listing(
        self,
        *,
        reason: ReasonQuery = None,
        station: TextQuery = None,
        batch: TextQuery = None,
        since: SinceQuery = None,
        until: UntilQuery = None,
        limit: LimitQuery = None,
        cursor: CursorQuery = None,
    ) -> LetterList:
        """The dead letters, newest written first; `since` and `until` are compared with `failed_at`.

        A page ends early when much had to be read for few rows: go on with `next` until that is null.
        """
        now = time.time()
        filters = Filters(
            frozenset([reason] if reason else ()),
            frozenset([batch] if batch else ()),
            frozenset([station] if station else ()),
            moment_of(since, now),
            moment_of(until, now),
        )
        after = read_cursor(cursor)
        work = self._page(filters, after, limit or LIMIT)
        return await self._readings.within(ANSWER_SECONDS, work)

    async def _page(self, filters: Filters, after: dict[int, int] | None, limit: int) -> LetterList:
        earliest = None if filters.since is None else filters.since - CLOCK_SLACK
        async with self._state.open_topic(self._state.settings.dead_letter_topic, since=earliest) as topic:
            page = await newest_first(topic, after, limit, partial(_matching, filters))
        replays = await self._replays.read() if page.rows else None
        return LetterList(letters=[_row(letter, replays, whole=False) for letter in page.rows], next=page.next)

    async def letter(self, letter_id: LetterPath) -> LetterDetail:
        """One dead letter with its whole error and its value."""
        return await self._readings.within(ANSWER_SECONDS, self._one(*parse_place(letter_id)))

    async def _one(self, partition: int, offset: int) -> LetterDetail:
        async with self._state.open_topic(self._state.settings.dead_letter_topic) as topic:
            held = topic.held.get(partition)
            found: Sequence[InMessage] = ()
            if held is not None and held.start <= offset < held.end:
                found = (await topic.read({partition: Window(offset, offset + 1)}, VALUE_BYTES))[partition]
        if not found:
            message = f"there is no letter {place_of(partition, offset)}: there never was, or Kafka has let go of it"
            raise Refusal(HTTPStatus.NOT_FOUND, "unknown-letter", message)
        return _detail(read_letter(found[0]), await self._replays.read())

    async def late(
        self,
        *,
        batch: TextQuery = None,
        station: TextQuery = None,
        reason: TextQuery = None,
        since: SinceQuery = None,
        until: UntilQuery = None,
        limit: LimitQuery = None,
        cursor: CursorQuery = None,
    ) -> LateList:
        """The results that came after their batch had closed, newest written first.

        `since` and `until` are compared with `timestamp`. A page ends early when much had to be read for few rows: go
        on with `next` until that is null.
        """
        now = time.time()
        begin, end = moment_of(since, now), moment_of(until, now)

        def row_of(message: InMessage) -> LateRow | None:
            if batch is not None and message.key != batch.encode(errors="replace"):
                return None
            row = _late_row(message)
            is_asked = (station is None or row.station_id == station) and (reason is None or row.reason == reason)
            in_time = (begin is None or row.timestamp >= begin) and (end is None or row.timestamp < end)
            return row if is_asked and in_time else None

        async def work() -> Page[LateRow]:
            settings = self._state.settings
            # A batch's are in the partition of its id.
            only = None if batch is None else {partition_of(batch.encode(errors="replace"), settings.partitions)}
            earliest = None if begin is None else begin - _LATE_SLACK
            async with self._state.open_topic(settings.late_topic, since=earliest, partitions=only) as topic:
                return await newest_first(topic, after, limit or LIMIT, row_of)

        after = read_cursor(cursor)
        page = await self._readings.within(ANSWER_SECONDS, work())
        return LateList(late=page.rows, next=page.next)

    # -- sending again -----------------------------------------------------------------------------------------------

    async def payload_replayed_at(self, batch_id: str, since: float) -> float | None:
        """Return when the payload of a batch whose output was not published was last sent again; None: never.

        Args:
            batch_id: whose letters, which are in the partition of its id.
            since: when the batch was closed; its letters were written after that. All times are Unix seconds.

        Raises:
            NotReadable: Kafka does not answer.
        """
        filters = Filters(reasons=_PAYLOADS, batches=frozenset([batch_id]))
        settings = self._state.settings
        only = {partition_of(batch_id.encode(errors="replace"), settings.partitions)}
        earliest, after = since - _LATE_SLACK, None
        async with self._state.open_topic(settings.dead_letter_topic, since=earliest, partitions=only) as topic:
            while True:
                page = await newest_first(topic, after, MOST_IDS, partial(_matching, filters))
                replays = await self._replays.read() if page.rows else None
                times = [at for letter in page.rows if replays and (at := replays.replayed_at(letter)) is not None]
                if times or page.next is None:
                    return max(times, default=None)
                after = read_cursor(page.next)

    def replay_router(self, *, enabled: bool) -> APIRouter:
        """Serve the action; `enabled`: whether the workers have a token for operators."""
        router = api_router("actions", route_class=action_route(self._state.settings, enabled=enabled))

        @router.post(
            "/dead-letters/replay",
            status_code=HTTPStatus.ACCEPTED,
            responses=_REPLAY_ANSWERS | {200: {"model": ReplayAnswer, "description": "Of a dry run"}},
        )
        async def replay(request: Request, response: Response, wanted: ReplayRequest) -> ReplayAnswer:
            """Send dead letters again, or only say what that would do.

            A letter of a bad message or record, or of a failed station, goes to its source topic, where it never opens
            a batch; the payload of a discarded batch is published.
            """
            by = operator_of(request)
            places = list(dict.fromkeys(parse_place(one) for one in wanted.ids))
            replays = await self._readings.within(
                REPLAY_SECONDS, self._replay(places, by, wanted), goes_on=not wanted.dry_run
            )
            if all(one.fate is Fate.UNKNOWN for one in replays):
                message = f"there is no letter {replays[0].place}: there never was, or Kafka has let go of it"
                raise Refusal(HTTPStatus.NOT_FOUND, "unknown-letter", message)
            if wanted.dry_run:
                response.status_code = HTTPStatus.OK
            else:
                sent = [one.place for one in replays if one.fate is Fate.SENT]
                self._tell(by, sent)
            rows = [ReplayRow(id=one.place, to=one.to, would=one.fate, why=one.why or None) for one in replays]
            return ReplayAnswer(letters=rows, by=by, dry_run=wanted.dry_run)

        return router

    async def _replay(self, places: Sequence[tuple[int, int]], by: str, wanted: ReplayRequest) -> Sequence[Replay]:
        async with self._sending:  # one after the other: nothing is sent twice by two who ask at once
            return await self._state.replay(places, operator=by, dry_run=wanted.dry_run, again=wanted.again)

    def _tell(self, by: str, sent: Sequence[str]) -> None:
        language, topic = self._state.settings.log_language, self._state.settings.dead_letter_topic
        tell(logger, logging.INFO, language, Line.REPLAYED, by=by, topic=topic, letters=names(sent, len(sent)))


def _matching(filters: Filters, message: InMessage) -> Letter | None:
    letter = read_letter(message)
    return letter if filters.match(letter) else None


class _Replays:
    """What has been replayed, read on from where it was read before."""

    def __init__(self, state: WorkerState) -> None:
        self._state = state
        self._topic = state.settings.replayed_topic
        self._log = ReplayLog(self._topic)
        self._read: dict[int, int] = {}  # by partition, up to before which offset
        self._reading = asyncio.Lock()

    async def read(self) -> ReplayLog:
        """Return it as it is now; what has been read is kept also when this takes too long."""
        async with self._reading, self._state.open_topic(self._topic) as topic:
            if any(offset > topic.held[number].end for number, offset in self._read.items() if number in topic.held):
                self._log, self._read = ReplayLog(self._topic), {}  # the topic has been made again
            for partition, held in topic.held.items():
                await self._read_partition(topic, partition, held)
        return self._log

    async def _read_partition(self, topic: OpenTopic, partition: int, held: Window) -> None:
        start, size = max(held.start, self._read.get(partition, 0)), _LOG_WINDOW
        while start < held.end:
            window = Window(start, min(start + size, held.end))
            found = (await topic.read({partition: window}, _LOG_BYTES)).get(partition)
            if found is None:
                size = max(1, (window.end - window.start) // 8)
                continue
            self._log.take(found)
            start = self._read[partition] = window.end
            await asyncio.sleep(0)


def _row(letter: Letter, replays: ReplayLog | None, *, whole: bool) -> LetterRow:
    source = letter.source
    return LetterRow(
        id=letter.place,
        reason=letter.reason,
        error=letter.error if whole else last_line(letter.error)[:_ERROR_SHOWN],
        failed_at=letter.failed_at,
        batch_id=letter.batch_id,
        station_id=letter.station_id,
        source_topic=source.topic if source else None,
        source_partition=source.partition if source else None,
        source_offset=source.offset if source else None,
        replayed_at=replays.replayed_at(letter) if replays else None,
    )


def _detail(letter: Letter, replays: ReplayLog) -> LetterDetail:
    value, key = letter.value, letter.key
    value_text, value_base64 = _shown(value, VALUE_BYTES)
    key_text, key_base64 = _shown(key, VALUE_BYTES)
    return LetterDetail(
        **dict(_row(letter, replays, whole=True)),
        written_at=letter.written_at,
        key=key_text,
        key_base64=key_base64,
        value=value_text,
        value_base64=value_base64,
        value_bytes=letter.size,
        value_cut=letter.size > VALUE_BYTES,
    )


def _shown(data: bytes | None, most: int) -> tuple[str | None, str | None]:
    """Return bytes as text, or in base64 where they are none; a character that is cut off at the end is left out."""
    if data is None:
        return None, None
    cut = data[:most]
    try:
        return cut.decode(), None
    except UnicodeDecodeError as error:
        if len(data) > most and error.start > most - 4:  # of a character's bytes some are behind the cut
            return cut[: error.start].decode(), None
        return None, base64.b64encode(cut).decode()


def _late_row(message: InMessage) -> LateRow:
    late = read_late(message.key, message.value, message.headers)
    return LateRow(
        batch_id=late.batch_id,
        station_id=late.station_id,
        status=late.status,
        reason=late.reason,
        revision=late.revision,
        closed_at=late.closed_at,
        timestamp=message.timestamp if late.timestamp is None else late.timestamp,
    )
